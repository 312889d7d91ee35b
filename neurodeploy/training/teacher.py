"""The frozen network that a student's feature is aligned with (EnOF-SNN): a run of ours, or any ANN as an ONNX file.

The paper's teacher is the ANN of the same topology, ReLU in the place of each LIF, trained by its own recipe
(``cifar10/resnet20-ann``). It sees the same augmented batch as the student.

A spiking run is allowed as a teacher too, which the papers do not try. Its logits are the mean over its own T and its
feature is averaged over time; as the classifier is linear, the one is still the classifier of the other.

Shape legend: B batch, T time, C H W image, N classes, F features of the classifier's input.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from neurodeploy.config.recipe import EVENT_DATASETS, Recipe, recipe_names
from neurodeploy.diagnostics import UsageError, nearest
from neurodeploy.files import RUNS, find_in_runs, sha256
from neurodeploy.nn.features import record_features
from neurodeploy.training.checkpoint import MODEL, RECIPE, load_checkpoint
from neurodeploy.training.teacher_onnx import OnnxTeacher


@dataclass(frozen=True)
class Teacher:
    """A frozen network in evaluation mode.

    Attributes:
        label: As the recipe names it.
        sha256: Of the file that holds its weights.
        weight: W_a of its classifier, float32 ``(N, F)``, on the student's device.
        bias: b_a, ``(N,)``.
        forward: ``x -> (logits, feature)``; call the teacher itself instead.
    """

    label: str
    sha256: str
    weight: Tensor
    bias: Tensor
    forward: Callable[[Tensor], tuple[Tensor, Tensor]]

    def __call__(self, x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """``(logits (B, N), feature (B, F))`` of a batch, float32 also under autocast, without gradient.

        Args:
            x_BCHW: The student's batch as the dataset gives it: ``(B, C, H, W)``, or ``(B, T, C, H, W)`` of frames.
        """
        with torch.no_grad(), torch.autocast(x_BCHW.device.type, enabled=False):
            logits_BN, feature_BF = self.forward(x_BCHW.float())
            device = self.weight.device
            return logits_BN.to(device, torch.float32), feature_BF.to(device, torch.float32)


def load_teacher(spec: str, *, recipe: Recipe, feature_size: int, classes: int, device: str) -> Teacher:
    """The teacher that a recipe names, checked against the student.

    Args:
        spec: A path that ends in ``.onnx``; else the folder of a run, its name under ``runs/``, or the recipe that it
            was trained by (``cifar10/resnet20-ann`` is looked up as ``runs/cifar10-resnet20-ann``).
        recipe: The student's.
        feature_size: F of the student, what enters its classifier.
        classes: N of the student.
        device: Of the student. An ONNX teacher runs on the CPU wherever the student is.

    Raises:
        UsageError: ND101 or ND103 where there is no such teacher, or none in the file; ND107 for a run that cannot
            be read; ND123 for one that has not finished; ND102 where teacher and student do not go together.
    """
    where = _keys(spec, recipe)
    if spec.endswith(".onnx"):
        teacher = _from_onnx(spec, device, where)
    else:
        teacher = _from_run(spec, recipe, device, where)
    found = tuple(teacher.weight.shape)
    if found != (classes, feature_size):
        raise UsageError(
            "ND102",
            f"the classifier of the teacher {spec} takes {found[1]} features and gives {found[0]} classes; "
            f"the student's takes {feature_size} and gives {classes}",
            where=where,
            fix="take a teacher of the same topology, width and number of classes as the student",
        )
    return teacher


def _keys(spec: str, recipe: Recipe) -> str:
    """The keys of the recipe that name this teacher."""
    tables = {"loss.laf.teacher": recipe.loss.laf, "loss.feature.teacher": recipe.loss.feature}
    return ", ".join(key for key, table in tables.items() if table is not None and table.teacher == spec)


def _from_onnx(spec: str, device: str, where: str) -> Teacher:
    path = Path(spec).expanduser()
    if not path.is_file():
        raise UsageError(
            "ND103",
            f"there is no teacher: {spec}",
            where=where or spec,
            fix="correct the path, or name a recipe of ours that has an ANN: " + _known_anns(recipe=None),
        )
    network = OnnxTeacher(path)
    weight, bias = network.weight_NF.to(device), network.bias_N.to(device)
    return Teacher(spec, network.sha256, weight, bias, network)


def _from_run(spec: str, recipe: Recipe, device: str, where: str) -> Teacher:
    folder = _folder(spec, recipe, where)
    seeds = sorted(str(seed) for seed in folder.glob("seed-*"))
    if seeds and not (folder / RECIPE).is_file():
        raise UsageError(
            "ND107",
            f"the teacher {spec} is a folder of several seeds; one run is needed",
            where=str(folder),
            fix="name one: " + ", ".join(seeds),
        )
    checkpoint = load_checkpoint(folder)
    if not checkpoint.finished:
        raise UsageError(
            "ND123",
            f"the teacher {spec} has not finished its {checkpoint.recipe.train.epochs} epochs",
            where=str(folder),
            fix=f"neurodeploy train {folder / RECIPE} --out {folder}   (it resumes)",
        )
    _refuse_other_samples(spec, checkpoint.recipe, recipe, where)
    model = checkpoint.model.to(device).eval().requires_grad_(False)
    classifier = model.get_submodule("fc")
    assert isinstance(classifier, nn.Linear)
    weight = classifier.weight.detach().clone()
    bias = torch.zeros(len(weight), device=device) if classifier.bias is None else classifier.bias.detach().clone()
    stack = checkpoint.recipe.data.stack

    def forward(x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        with record_features(model) as feature_TBF:
            u_TBN = model(_time_first(x_BCHW.to(device), stack))
        return u_TBN[-1] / len(u_TBN), feature_TBF().float().mean(0)

    return Teacher(spec, sha256(folder / MODEL), weight, bias, forward)


def _time_first(x_BCHW: Tensor, stack: bool) -> Tensor:
    """What the teacher's net takes, ``(1 or T, B, C, H, W)``; frames are laid along the channels for a stacked one."""
    if x_BCHW.dim() == 5:
        if not stack:
            return x_BCHW.transpose(0, 1)
        x_BCHW = x_BCHW.flatten(1, 2)
    return x_BCHW.unsqueeze(0)


def _folder(spec: str, recipe: Recipe, where: str) -> Path:
    """The folder of the run; where there is none, the error says how to train it."""
    try:
        return find_in_runs(spec, what="teacher")
    except UsageError as error:
        names = recipe_names()
        if spec in names:
            fix = f"neurodeploy train {spec}   (or name the folder of its run, or an .onnx file)"
        elif RUNS.is_dir():
            fix = nearest(spec, [*names, *(path.name for path in RUNS.iterdir() if path.is_dir())])
        else:
            fix = f"give a run, an .onnx file, or a recipe: {_known_anns(recipe)}"
        raise UsageError(error.code, f"there is no teacher: {spec}", where=where or error.where, fix=fix) from error


def _known_anns(recipe: Recipe | None) -> str:
    """The ANN recipes that ship, of the student's dataset where it is known."""
    prefix = "" if recipe is None else f"{recipe.data.name}/"
    names = [name for name in recipe_names() if name.endswith("-ann")]
    return ", ".join([name for name in names if name.startswith(prefix)] or names) or "none ships in this version"


def _refuse_other_samples(spec: str, teacher: Recipe, student: Recipe, where: str) -> None:
    """ND102 where the teacher would not be shown what it was trained on: it would answer all the same, and wrongly."""
    there, here = teacher.data, student.data
    # The JPEG copy holds the same images on the same scale: a teacher of either can teach a student of the other.
    differ: list[tuple[str, object, object]] = []
    if _original(there.name) != _original(here.name):
        differ.append(("data.name", there.name, here.name))
    differ += [
        (f"data.{key}", getattr(there, key), getattr(here, key))
        for key in ("size", "slice", "binary")
        if getattr(there, key) != getattr(here, key)
    ]
    if here.name in EVENT_DATASETS:
        frames = there.frames or teacher.timesteps, here.frames or student.timesteps
        if frames[0] != frames[1]:
            differ.append(("data.frames", *frames))
        if here.stack and not there.stack:
            differ.append(("data.stack", there.stack, here.stack))
    if differ:
        raise UsageError(
            "ND102",
            f"the teacher {spec} was trained on other samples than the student is: "
            + "; ".join(f"{key} is {old} there, {new} here" for key, old, new in differ),
            where=where,
            fix="take a teacher of the same data",
        )


def _original(dataset: str) -> str:
    return dataset.removesuffix("-jpeg")
