"""Recipes: shipped ones load, ``extends`` and ``--set`` resolve, and nothing wrong passes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from neurodeploy.config.recipe import is_path, known_keys, load_recipe, recipe_names
from neurodeploy.diagnostics import UsageError

MINIMAL = '[data]\nname = "digits"\n[net]\nname = "conv"\n[train]\nepochs = 1\nlr = 0.1\n'


def test_the_rmp_recipe_is_the_vanilla_one_plus_rmp() -> None:
    vanilla, rmp = load_recipe("digits/conv-vanilla"), load_recipe("digits/conv-rmp")
    keys = ("k", "p", "schedule", "per", "layers", "potential", "weighting")
    assert {key for key, _, _ in vanilla.diff(rmp)} == {f"loss.rmp.{key}" for key in keys}
    assert rmp.loss.rmp is not None
    assert (rmp.loss.rmp.k, rmp.loss.rmp.p, rmp.neuron.tau, rmp.neuron.v_threshold) == (0.1, 2.0, 0.25, 0.5)
    assert vanilla.loss.rmp is None


@pytest.mark.parametrize("name", recipe_names())
def test_resolved_recipe_reads_back_the_same(name, tmp_path) -> None:
    recipe = load_recipe(name)
    path = tmp_path / "again.toml"
    path.write_text(recipe.to_toml())
    again = load_recipe(path)
    assert again.diff(recipe) == []
    assert again.to_toml() == recipe.to_toml()


def test_set_takes_toml_values_and_bare_words() -> None:
    recipe = load_recipe(
        "digits/conv-vanilla", ["train.epochs=3", "train.lr=1", "net.name=mlp", 'data.name="digits"', "loss.rmp.k=0.2"]
    )
    assert recipe.train.epochs == 3
    assert recipe.train.lr == 1.0
    assert recipe.net.name == "mlp"
    assert recipe.loss.rmp is not None
    assert recipe.loss.rmp.k == 0.2


def test_every_wrong_key_is_named_at_once() -> None:
    wrong = ["epochs=3", "train.epochs=x", "train.lr=-1", "net.name=cov", "data.nam=1", "seed=true", "norm=3", "name=a"]
    with pytest.raises(UsageError) as caught:
        load_recipe("digits/conv-rmp", wrong)
    error = caught.value
    assert (error.code, error.exit_code) == ("ND102", 2)
    nodes = {finding.node for finding in error.findings}
    assert nodes == {"epochs", "train.epochs", "train.lr", "net.name", "data.nam", "seed", "norm", "name"}
    assert all(node in error.message for node in nodes)
    fixes = {finding.node: finding.fix for finding in error.findings}
    assert "train.epochs" in fixes["epochs"]
    assert "conv" in fixes["net.name"]
    assert "data.name" in fixes["data.nam"]


CONTRADICTIONS = {
    "net.block=sew": "net.block",
    "net.stem=64": "net.stem",
    "net.head=fc256": "net.head",
    "net.stem_pool=max": "net.stem_pool",
    "neuron.kind=relu": "neuron.kind",
    "data.folder=pictures": "data.folder",
    "data.classes=3": "data.classes",
    "data.size=16": "data.size",
    "data.frames=4": "data.frames",
    "data.stack=true": "data.stack",
    "data.augment=roll-flip": "data.augment",
    "data.augment=resized-crop-flip": "data.augment",
}


@pytest.mark.parametrize("override", CONTRADICTIONS)
def test_keys_that_contradict_each_other_are_refused(override) -> None:
    with pytest.raises(UsageError) as caught:
        load_recipe("digits/conv-vanilla", [override])
    assert (caught.value.code, caught.value.exit_code) == ("ND102", 2)
    assert CONTRADICTIONS[override] in {finding.node for finding in caught.value.findings}


def test_contradictions_are_named_together() -> None:
    overrides = ["neuron.kind=relu", "repact.enabled=true", "net.block=sew", "data.name=image-folder"]
    with pytest.raises(UsageError) as caught:
        load_recipe("digits/conv-rmp", overrides)
    rules = [finding.rule for finding in caught.value.findings]
    assert sum("an ANN" in rule for rule in rules) >= 4  # T, RMP, RepAct, tdBN
    assert sum("image-folder needs" in rule for rule in rules) == 3
    assert len({finding.node for finding in caught.value.findings}) == 6


@pytest.mark.parametrize(
    "overrides",
    [
        ["net.name=resnet19", "net.head=fc256", "net.stem=64", "net.block=sew"],
        ["net.name=resnet18", "net.stem_pool=max", "data.name=imagenet", "data.augment=resized-crop-flip"],
        ["neuron.kind=relu", "timesteps=1", "norm.kind=batchnorm"],
        ["data.name=image-folder", "data.folder=pictures", "data.classes=3", "data.size=16"],
        ["data.name=nmnist", "data.augment=roll-flip", "timesteps=10", "data.slice=time", "data.binary=false"],
        ["data.name=cifar10-dvs", "data.frames=10", "data.stack=true", "timesteps=1"],
        ["train.optimizer=adamw", "train.schedule=step", "train.precision=bf16", "train.clip_norm=1.0"],
        ["loss.laf.teacher=t.onnx", "loss.laf.form=code", "loss.laf.temperature=20.0", "repact.enabled=true"],
        ["loss.feature.teacher=t", "loss.cross_entropy.per=sum_logits", "neuron.surrogate=triangle"],
    ],
)
def test_every_option_has_its_place(overrides) -> None:
    recipe = load_recipe("digits/conv-vanilla", overrides)
    assert recipe.diff(load_recipe("digits/conv-vanilla"))


@pytest.mark.parametrize(
    "override",
    ["timesteps=0", "timesteps=2.5", "neuron.tau=1.5", "neuron.v_threshold=0", "train.lr=nan", "train.lr=inf",
     "data.batch=0", "loss.rmp.p=0.5", "loss.rmp.layers=some", "readout.kind=lif", "seed=-1", "train.momentum=1"],
)  # fmt: skip
def test_values_out_of_range_are_refused(override) -> None:
    with pytest.raises(UsageError) as caught:
        load_recipe("digits/conv-vanilla", [override])
    assert caught.value.code == "ND102"
    assert caught.value.findings[0].node == override.split("=")[0]


@pytest.mark.parametrize("text", ["train.epochs", "=3", "a b=1", "extends=x", ".x=1"])
def test_a_set_that_is_no_key_and_value_is_refused(text) -> None:
    with pytest.raises(UsageError) as caught:
        load_recipe("digits/conv-vanilla", [text])
    assert caught.value.code == "ND102"


def test_a_value_cannot_smuggle_in_other_keys() -> None:
    with pytest.raises(UsageError):
        load_recipe("digits/conv-vanilla", ["train.epochs=1\nseed = 3"])


def test_extends_by_sibling_by_path_and_by_name(tmp_path) -> None:
    (tmp_path / "base.toml").write_text(MINIMAL)
    (tmp_path / "deep").mkdir()
    (tmp_path / "sibling.toml").write_text('extends = "base"\ntimesteps = 2\n')
    (tmp_path / "deep" / "path.toml").write_text('extends = "../sibling.toml"\n[train]\nlr = 0.5\n')
    (tmp_path / "named.toml").write_text('extends = "digits/conv-vanilla"\nseed = 7\n')
    assert load_recipe(tmp_path / "sibling.toml").timesteps == 2
    deep = load_recipe(tmp_path / "deep" / "path.toml")
    assert (deep.timesteps, deep.train.lr, deep.train.epochs) == (2, 0.5, 1)
    assert [key for key, _, _ in load_recipe(tmp_path / "named.toml").diff(load_recipe("digits/conv-vanilla"))] == [
        "seed"
    ]


def test_a_published_figure_is_of_one_recipe_alone(tmp_path) -> None:
    figure = '[published]\nsource = "Table 1"\naccuracy = 91.0\nstd = 0.1\n'
    (tmp_path / "base.toml").write_text(MINIMAL + figure)
    (tmp_path / "without.toml").write_text('extends = "base"\n')
    (tmp_path / "own.toml").write_text('extends = "base"\n[published]\nsource = "Table 2"\naccuracy = 92.0\n')
    below, own = load_recipe(tmp_path / "base.toml").published, load_recipe(tmp_path / "own.toml").published
    assert below is not None
    assert below.std == 0.1
    assert load_recipe(tmp_path / "without.toml").published is None
    assert own is not None
    assert (own.source, own.std) == ("Table 2", None)
    assert load_recipe(tmp_path / "own.toml").diff(load_recipe(tmp_path / "base.toml")) == []


def test_a_base_is_extended_and_never_named(tmp_path) -> None:
    assert not any("/_" in name for name in recipe_names())
    (tmp_path / "mine.toml").write_text('extends = "cifar10/_rmp"\n[net]\nname = "resnet20-slim"\n')
    assert load_recipe(tmp_path / "mine.toml").train.lr == 0.01
    (tmp_path / "wrong.toml").write_text('extends = "cifar10/_rpm"\n')
    for name in ("cifar10/_rmp", tmp_path / "wrong.toml"):
        with pytest.raises(UsageError) as caught:
            load_recipe(name)
        assert caught.value.code == "ND101"


def test_a_circle_is_refused(tmp_path) -> None:
    (tmp_path / "a.toml").write_text('extends = "b"\n')
    (tmp_path / "b.toml").write_text('extends = "./a.toml"\n')
    with pytest.raises(UsageError, match="circle"):
        load_recipe(tmp_path / "a.toml")


def test_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        load_recipe("digits/conv-rpm")
    assert caught.value.code == "ND101"
    assert "digits/conv-rmp" in caught.value.fix


BROKEN = [None, "seed = = 1", b"\xff\xfe", "extends = 3", 'extends = "./none.toml"']


@pytest.mark.parametrize("content", BROKEN)
def test_unreadable_files_are_one_message(content, tmp_path) -> None:
    path = tmp_path / "r.toml"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        path.write_text(content)
    with pytest.raises(UsageError) as caught:
        load_recipe(path)
    assert caught.value.code == "ND102"
    assert str(tmp_path) in caught.value.where


def test_a_folder_is_not_a_recipe(tmp_path) -> None:
    with pytest.raises(UsageError, match="folder"):
        load_recipe(tmp_path)


def test_path_rule(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    assert all(map(is_path, ["x.toml", "./x", "/x", "~/x", "here", "x.nir"]))
    assert not any(map(is_path, ["digits/conv-rmp", "loihi2"]))


def test_known_keys_are_those_of_the_contract() -> None:
    contract = """
        extends seed timesteps
        data.name data.batch data.augment data.folder data.classes data.size data.frames data.slice
        data.binary data.resize data.stack net.name net.width net.block net.stem net.head net.stem_pool net.pools
        neuron.kind neuron.tau neuron.v_threshold neuron.surrogate neuron.detach_reset
        norm.kind norm.alpha norm.residual_alpha norm.residual_where readout.kind
        train.epochs train.lr train.optimizer train.momentum train.weight_decay train.decay train.schedule
        train.precision train.clip_norm train.memory
        loss.cross_entropy.per
        loss.rmp.k loss.rmp.p loss.rmp.schedule loss.rmp.per loss.rmp.layers loss.rmp.potential loss.rmp.weighting
        loss.laf.weight loss.laf.form loss.laf.temperature loss.laf.teacher loss.feature.weight loss.feature.teacher
        repact.enabled metric.p
        published.source published.accuracy published.std published.quantization_error published.seeds published.note
    """
    assert set(known_keys()) == set(contract.split())


def test_recipes_load_without_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None; sys.modules['sklearn'] = None\n"
        "from neurodeploy.config.recipe import load_recipe\n"
        "import neurodeploy.data, neurodeploy.training.checkpoint, neurodeploy.manifest\n"
        "import neurodeploy.cli.train_command, neurodeploy.nn.nets\n"
        "load_recipe('digits/conv-rmp')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
