"""Every shipped recipe: it stands for a row of a paper, or serves one that does; it builds whole, and trains."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from neurodeploy.config.recipe import Recipe, load_recipe, recipe_names
from neurodeploy.data import describe
from neurodeploy.data.dataset import Dataset, Scale, from_arrays
from neurodeploy.nn.nets import build, parameter_count
from neurodeploy.training import loop

#: Every row of both papers' own results; `Table` and `accuracy` as printed there.
ROWS = list(csv.DictReader((Path(__file__).parents[1] / "golden" / "paper_results.csv").open(encoding="utf-8")))
METHODS = {
    "Without RMP-Loss": "vanilla",
    "With RMP-Loss": "rmp",
    "RMP-Loss": "rmp",
    "baseline": "enof",
    "w/ LAF": "laf",
    "w/ RepAct": "repact",
    "w/ LAF & RepAct": "laf-repact",
    "Our method (LAF + RepAct)": "laf-repact",
}
PAPER_DATASETS = ("cifar10", "cifar100", "cifar10-dvs", "imagenet")
RECIPES = {name: load_recipe(name) for name in recipe_names()}
OF_PAPERS = [name for name in RECIPES if name.partition("/")[0] in PAPER_DATASETS]


def name_of(row: dict[str, str]) -> str:
    """The recipe of a row: ``<dataset>/<net>-<method>[-t<T>]``."""
    dataset, net = row["dataset"].lower(), row["architecture"].lower()
    if dataset != "cifar10-dvs":
        dataset = dataset.replace("-", "")
    usual = "10" if dataset == "cifar10-dvs" else "4"
    steps = "" if row["timesteps"] == usual else f"-t{row['timesteps']}"
    return f"{dataset}/{net}-{METHODS[row['method']]}{steps}"


def label(row: dict[str, str]) -> str:
    return "-".join(row[key] for key in ("paper", "table", "dataset", "architecture", "timesteps", "method"))


@pytest.mark.parametrize("row", ROWS, ids=label)
def test_every_row_of_the_papers_is_a_recipe(row: dict[str, str]) -> None:
    recipe = RECIPES[name_of(row)]
    method = METHODS[row["method"]]
    assert recipe.data.name == name_of(row).partition("/")[0]
    assert (recipe.net.name, recipe.timesteps) == (row["architecture"].lower(), int(row["timesteps"]))
    assert (recipe.loss.rmp is not None) == (method == "rmp")
    assert (recipe.loss.laf is not None) == ("laf" in method)
    assert recipe.repact.enabled == ("repact" in method)
    figure = recipe.published
    assert figure is not None
    assert figure.source.startswith(f"{row['paper']}, Table")
    assert row["table"] in figure.source.partition("Table")[2]
    assert figure.accuracy == float(row["accuracy"])
    if row["std"]:
        assert (figure.std, figure.seeds) == (float(row["std"]), 3)
    if row["quantization_error"]:
        assert figure.quantization_error == float(row["quantization_error"])


def test_no_figure_is_made_up() -> None:
    """Each number in a recipe is in a row of its recipe; a figure without a row would be ours."""
    of_rows: dict[str, list[dict[str, str]]] = {}
    for row in ROWS:
        of_rows.setdefault(name_of(row), []).append(row)
    assert {name for name, recipe in RECIPES.items() if recipe.published} == set(of_rows)
    for name, rows in of_rows.items():
        figure = RECIPES[name].published
        assert figure is not None
        for key in ("accuracy", "std", "quantization_error"):
            value = getattr(figure, key)
            assert value is None or str(value) in {str(float(row[key])) for row in rows if row[key]}, (name, key)
        if figure.std is None:
            assert figure.seeds is None, "the papers say 3 trials of the tables with a ± alone"


@pytest.mark.parametrize("name", OF_PAPERS)
def test_the_papers_settings(name: str) -> None:
    """RMP-Loss section 5.1, EnOF-SNN section 5; weight decay and RMP-Loss's ImageNet batch are the released code's."""
    recipe = RECIPES[name]
    of_rmp = name.partition("-rmp")[1] or "-vanilla" in name
    imagenet, events = recipe.data.name == "imagenet", recipe.data.name == "cifar10-dvs"
    train = recipe.train
    assert (train.optimizer, train.momentum, train.schedule, train.weight_decay) == ("sgd", 0.9, "cosine", 1e-4)
    assert train.epochs == (320 if imagenet else 400)
    assert recipe.data.batch == (320 if imagenet and of_rmp else 128)
    assert train.lr == (0.01 if of_rmp and not imagenet else 0.1)
    assert recipe.neuron.surrogate == ("tanh" if of_rmp else "ste")
    assert recipe.loss.cross_entropy.per == ("mean_logits" if of_rmp else "per_step")
    assert (recipe.neuron.tau, recipe.neuron.v_threshold) == (0.25, 0.5)
    assert recipe.data.augment == ("resized-crop-flip" if imagenet else "roll-flip" if events else "cifar10-policy")
    if recipe.loss.rmp is not None:
        assert (recipe.loss.rmp.k, recipe.loss.rmp.p, recipe.loss.rmp.schedule) == (0.1, 2.0, "ramp")
    if recipe.loss.laf is not None:
        assert recipe.loss.laf.weight == (1.0 if imagenet else 0.1)
        assert (recipe.loss.laf.form, recipe.loss.laf.temperature) == ("paper", None)
    if events:
        assert recipe.data.size == 48
        assert recipe.data.binary
        assert (recipe.timesteps, recipe.data.stack) in ((10, False), (1, True))


def method_of(name: str) -> str:
    """``cifar10/resnet20-laf-repact-t2`` -> ``laf-repact``."""
    words = name.partition("/")[2].split("-")[1:]
    return "-".join(word for word in words if not (word.startswith("t") and word[1:].isdigit()))


@pytest.mark.parametrize("name", OF_PAPERS)
def test_no_recipe_without_a_purpose(name: str) -> None:
    """It is published, the baseline of one that is (and differs from it in the method alone), or a teacher."""
    recipe = RECIPES[name]
    if recipe.published is not None:
        return
    if method_of(name) == "ann":
        assert name in {other.loss.laf.teacher for other in RECIPES.values() if other.loss.laf is not None}
        return
    compared = {"vanilla": "rmp", "enof": "laf-repact"}[method_of(name)]
    other = RECIPES[name.replace(method_of(name), compared)]
    assert other.published is not None
    assert {key.split(".")[0] + "." + key.split(".")[1] for key, _, _ in recipe.diff(other)} <= {
        "loss.rmp", "loss.laf", "repact.enabled",
    }  # fmt: skip


@pytest.mark.parametrize("name", OF_PAPERS)
def test_every_method_has_its_baseline_and_every_student_its_teacher(name: str) -> None:
    recipe, method = RECIPES[name], method_of(name)
    if method == "rmp":
        baseline = RECIPES[name.replace("-rmp", "-vanilla")]
        assert {key.rpartition(".")[0] for key, _, _ in baseline.diff(recipe)} == {"loss.rmp"}
    elif method in ("laf", "repact", "laf-repact"):
        baseline = RECIPES[name.replace(method, "enof")]
        changed = {key.rpartition(".")[0] for key, _, _ in baseline.diff(recipe)}
        assert changed == {table for table, word in (("loss.laf", "laf"), ("repact", "repact")) if word in method}
    if recipe.loss.laf is not None:
        teacher = RECIPES[recipe.loss.laf.teacher]
        changed = {key for key, _, _ in teacher.diff(recipe)}
        assert changed - {"timesteps"} <= {
            "neuron.kind", "norm.kind", "data.frames", "data.stack", "repact.enabled",
            "loss.laf.weight", "loss.laf.form", "loss.laf.temperature", "loss.laf.teacher",
        }  # fmt: skip
        assert (teacher.neuron.kind, teacher.timesteps, teacher.norm.kind) == ("relu", 1, "batchnorm")


#: Parameters for 3 input channels and so many classes, and what one more input channel adds (kernel² x stem).
PARAMETERS = {
    ("resnet20", 10): (11_247_946, 9 * 64),
    ("resnet20", 100): (11_294_116, 9 * 64),
    ("resnet19", 10): (12_569_226, 9 * 128),
    ("resnet19", 100): (12_615_396, 9 * 128),
    ("vgg16", 10): (14_728_266, 9 * 64),
    ("vgg16", 100): (14_774_436, 9 * 64),
    ("resnet18", 1000): (11_689_512, 49 * 64),
    ("resnet34", 1000): (21_797_672, 49 * 64),
}


@pytest.mark.parametrize("name", OF_PAPERS)
def test_every_recipe_builds_at_full_size(name: str) -> None:
    recipe = RECIPES[name]
    info = describe(recipe.data, recipe.timesteps)
    whole, for_each_channel = PARAMETERS[recipe.net.name, info.classes]
    with torch.device("meta"):  # shapes without numbers: 82 networks in a moment
        model = build(recipe)
    assert parameter_count(model) == whole + (info.shape[0] - 3) * for_each_channel


#: Widths of the two steps. With less than 16 channels in, oneDNN's backward of a 1x1 convolution of stride 2 in
#: channels_last ends the process (torch 2.15 on a CPU), so the nets with such shortcuts are 16 wide.
NARROW = {"resnet20": 8, "resnet19": 16, "vgg16": 8, "resnet18": 16, "resnet34": 16}


def made_up(recipe: Recipe, split: str) -> Dataset:
    """Four samples in the form of the recipe's dataset."""
    info = describe(recipe.data, recipe.timesteps)
    shape = (recipe.data.frames or recipe.timesteps, *info.shape) if info.temporal else info.shape
    rng = np.random.default_rng([len(split)])
    top = 2 if info.temporal or recipe.data.stack else 256
    x = rng.integers(0, top, (4, *shape)).astype(np.uint8)
    scale = None if top == 2 else Scale(mean=(0.5,) * info.shape[0], std=(0.25,) * info.shape[0])
    return from_arrays(recipe.data.name, split, x, rng.integers(0, info.classes, 4), info.classes, scale=scale)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recipes")


def two_steps(name: str, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``train`` on four samples, two at a time; a teacher is trained in the same way when it is not there yet."""
    recipe = RECIPES[name]
    small = ["train.epochs=1", "data.batch=2", f"net.width={NARROW.get(recipe.net.name, 4)}"]
    if recipe.data.augment == "resized-crop-flip":
        small.append("data.augment=crop-flip")  # it reads boxes of image files, and these samples have none
    if recipe.loss.laf is not None and not (workplace / "runs" / recipe.loss.laf.teacher.replace("/", "-")).is_dir():
        two_steps(recipe.loss.laf.teacher, workplace, monkeypatch)
    monkeypatch.chdir(workplace)
    monkeypatch.setattr(
        loop, "load", lambda data, split, **how: made_up(recipe.model_copy(update={"data": data}), split)
    )
    seen: list[int] = []
    checkpoint = loop.train(
        load_recipe(name, small), Path("runs") / name.replace("/", "-"), progress=lambda p: seen.append(p.step)
    )
    assert checkpoint.finished
    assert max(seen) == 2


@pytest.mark.parametrize("name", [name for name in RECIPES if not name.startswith("digits/")])
def test_two_steps(name: str, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = torch.get_num_threads()
    two_steps(name, workplace, monkeypatch)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("name", [name for name in RECIPES if name.startswith("digits/")])
def test_digits_trains_on_its_own_data(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name, ["train.epochs=1", "net.width=4", "data.batch=512"])
    checkpoint = loop.train(recipe, tmp_path / "run")
    assert checkpoint.finished
    assert (recipe.loss.rmp is not None) == name.endswith("-rmp")
