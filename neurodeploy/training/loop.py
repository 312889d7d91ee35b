"""Training: a recipe in, a run folder and a checkpoint out. Read it from the top.

SGD with momentum; the learning rate is a function of the epoch alone. The order of samples is a function of seed and
epoch, so an epoch does not depend on whether the run was interrupted before it: on the CPU a resumed run gives the same
bits as one that was never stopped.

Shape legend: T time, B batch, C H W image, N classes.
"""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from neurodeploy import manifest
from neurodeploy.config.recipe import Recipe, load_recipe
from neurodeploy.data import Dataset, load
from neurodeploy.diagnostics import UsageError
from neurodeploy.files import MANIFEST, folder_in_place, write_json, write_text
from neurodeploy.losses.cross_entropy import cross_entropy
from neurodeploy.losses.rmp import coefficient, rmp_loss
from neurodeploy.nn.lif import LIF, LIFRecord, record_lifs
from neurodeploy.nn.nets import build, parameter_count
from neurodeploy.training.checkpoint import (
    RECIPE,
    Checkpoint,
    is_finished,
    is_run,
    load_checkpoint,
    load_state,
    publish,
    save_state,
    sweep,
)
from neurodeploy.training.evaluate import evaluate
from neurodeploy.training.run_files import EVALUATION, read_manifest


@dataclass(frozen=True)
class Progress:
    """Where a training stands: ``step`` of ``steps`` in ``epoch`` of ``epochs``; ``metrics`` once the epoch is done.

    The first one of a call has step 0 and the epoch that comes next, so a resumed run starts above 1.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    metrics: dict[str, Any] | None = None


def train(
    recipe: Recipe,
    out: str | Path,
    *,
    device: str = "cpu",
    data_root: str | Path | None = None,
    download: bool = False,
    fresh: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> Checkpoint:
    """Train a recipe, or go on where an interrupted run of it stopped. The result is the last epoch.

    Args:
        recipe: What to train.
        out: The run's folder. A finished run of the same recipe is returned at once, an interrupted one resumed.
        device: ``cpu``, or what torch finds on this machine.
        data_root, download: See ``neurodeploy.data.load``.
        fresh: Start over; the old run is deleted.
        progress: Called before the first step, after every step and after every epoch.

    Raises:
        UsageError: ND109 where ``out`` holds a run of another recipe, ND110 where it holds something else,
            ND106 for missing data, ND111 where the training diverges (the last good epoch is kept).
    """
    out = Path(out)
    refuse_device(device)
    resumes = is_run(out) and not fresh
    if resumes:
        refuse_other_recipe(out, recipe)
        if is_finished(out):
            return load_checkpoint(out)
    data = {split: load(recipe.data.name, split, root=data_root, download=download) for split in ("train", "test")}
    if resumes:
        refuse_other_data(out, data)
        sweep(out)
    state = load_state(out) if resumes else None

    with _quiet_machine(recipe.seed, device):
        model = build(recipe).to(device)
        torch.set_num_threads(state["threads"] if state else sensible_threads(model))
        refuse_rmp_without_layers(recipe, model)
        if not resumes:
            start_run(out, recipe, data, device)
        optimizer = torch.optim.SGD(
            model.parameters(), recipe.train.lr, recipe.train.momentum, weight_decay=recipe.train.weight_decay
        )
        metrics: list[dict[str, Any]] = []
        if state is not None:
            publish(out, state)
            model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
            torch.set_rng_state(state["rng"])
            metrics = state["metrics"]

        for epoch in range(len(metrics) + 1, recipe.train.epochs + 1):
            began = time.perf_counter()
            lr = learning_rate(recipe, epoch)
            for group in optimizer.param_groups:
                group["lr"] = lr
            loss, accuracy = _train_epoch(recipe, model, optimizer, data["train"], epoch, device, progress)
            test = evaluate(model, data["test"], device=device, per=recipe.loss.cross_entropy.per)
            metrics.append(
                {
                    "epoch": epoch,
                    "lr": lr,
                    "train_loss": loss,
                    "train_accuracy": accuracy,
                    "test_loss": test.loss,
                    "test_accuracy": test.accuracy,
                    "quantization_error": test.quantization_error,
                    "firing_rate": test.firing_rate,
                    "seconds": round(time.perf_counter() - began, 3),
                }
            )
            save_state(
                out,
                {
                    "epoch": epoch,
                    "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "scheduler": {"kind": recipe.train.schedule, "epoch": epoch, "lr": lr},
                    "rng": torch.get_rng_state(),
                    "threads": torch.get_num_threads(),
                    "metrics": metrics,
                },
            )
            _report(progress, recipe, epoch, data["train"], metrics[-1])

        final = evaluate(model, data["test"], device=device, per=recipe.loss.cross_entropy.per)
        write_json(out / EVALUATION, final.to_json())
    return load_checkpoint(out)


def learning_rate(recipe: Recipe, epoch: int) -> float:
    """Rate of an epoch n = 1 … N. ``cosine``: lr·(1 + cos(π(n − 1)/N))/2, lr in the first, 0 only after the last."""
    if recipe.train.schedule == "constant":
        return recipe.train.lr
    return recipe.train.lr * (1 + math.cos(math.pi * (epoch - 1) / recipe.train.epochs)) / 2


def sample_order(seed: int, epoch: int, samples: int) -> np.ndarray:
    """The permutation of training samples in an epoch: a function of seed and epoch alone."""
    return np.random.default_rng([seed, epoch]).permutation(samples)


def total_loss(recipe: Recipe, u_TBN: Tensor, y_B: Tensor, records: dict[str, LIFRecord], epoch: int) -> Tensor:
    """Cross-entropy, plus λ(n)·L_RMP where the recipe has ``[loss.rmp]`` (Eq. 11)."""
    loss = cross_entropy(u_TBN, y_B, recipe.loss.cross_entropy.per)
    rmp = recipe.loss.rmp
    if rmp is None:
        return loss
    weight = coefficient(epoch, recipe.train.epochs, rmp.k, rmp.schedule)
    return loss + weight * rmp_loss(list(records.values()), rmp.p, rmp.layers)


def _train_epoch(
    recipe: Recipe,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    dataset: Dataset,
    epoch: int,
    device: str,
    progress: Callable[[Progress], None] | None,
) -> tuple[float, float]:
    """One pass over the training samples; mean loss and accuracy as seen on the way."""
    model.train()
    order = sample_order(recipe.seed, epoch, len(dataset))
    starts = range(0, len(order), recipe.data.batch)
    loss_sum, correct = 0.0, 0
    _report(progress, recipe, epoch, dataset, step=0)
    for step, start in enumerate(starts, 1):
        batch = order[start : start + recipe.data.batch]
        x_BCHW = torch.from_numpy(dataset.x[batch]).to(device)
        y_B = torch.from_numpy(dataset.y[batch]).to(device)
        recording: AbstractContextManager[dict[str, LIFRecord]]
        recording = record_lifs(model) if recipe.loss.rmp else nullcontext({})
        with recording as records:
            u_TBN = model(x_BCHW.unsqueeze(0))
        loss = total_loss(recipe, u_TBN, y_B, records, epoch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        # A NaN potential gives spike 0 and the loss stays finite, so weights and statistics are looked at as well.
        tensors = [loss, *model.parameters(), *model.buffers()]
        if not bool(torch.stack([torch.isfinite(tensor).all() for tensor in tensors]).all()):
            raise _diverged(model, x_BCHW, epoch, step)
        loss_sum += float(loss.detach()) * len(batch)
        correct += int((u_TBN[-1].argmax(1) == y_B).sum())
        _report(progress, recipe, epoch, dataset, step=step)
    return loss_sum / len(order), correct / len(order)


def _diverged(model: nn.Module, x_BCHW: Tensor, epoch: int, step: int) -> UsageError:
    """ND111 with the first layer, in order of execution, that holds or gives a number that is not finite."""
    first: list[str] = []

    def look(name: str, module: nn.Module, output: Tensor) -> None:
        if first:
            return
        held = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        bad = next((key for key, value in held.items() if not torch.isfinite(value).all()), None)
        if bad is not None:
            first.append(f"`{bad}` of layer `{name}`")
        elif not torch.isfinite(output).all():
            first.append(f"the output of layer `{name}`")

    leaves = [(name, module) for name, module in model.named_modules() if name and not any(module.children())]
    handles = [
        module.register_forward_hook(lambda module, _inputs, output, name=name: look(name, module, output))
        for name, module in leaves
    ]
    with torch.no_grad():
        # In evaluation mode, so that looking does not touch the running statistics that are looked at.
        model.eval()
        model(x_BCHW.unsqueeze(0))
    for handle in handles:
        handle.remove()
    what = first[0] if first else "the loss"
    return UsageError(
        "ND111",
        f"the training diverged: in epoch {epoch}, step {step}, {what} is not finite",
        where=f"the epochs before it are kept: {epoch - 1}",
        fix="lower train.lr and start over with --fresh",
    )


def _report(
    progress: Callable[[Progress], None] | None,
    recipe: Recipe,
    epoch: int,
    dataset: Dataset,
    metrics: dict[str, Any] | None = None,
    step: int | None = None,
) -> None:
    if progress is not None:
        steps = math.ceil(len(dataset) / recipe.data.batch)
        progress(Progress(epoch, recipe.train.epochs, steps if step is None else step, steps, metrics))


@contextmanager
def _quiet_machine(seed: int, device: str) -> Iterator[None]:
    """Seeds and deterministic kernels; they and the number of threads are put back afterwards."""
    threads = torch.get_num_threads()
    benchmark, deterministic = torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic
    devices = [device] if device.startswith("cuda") else []
    with torch.random.fork_rng(devices=devices):
        try:
            torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True
            torch.manual_seed(seed)
            yield
        finally:
            torch.set_num_threads(threads)
            torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = benchmark, deterministic


def sensible_threads(model: nn.Module) -> int:
    """Threads of a new run: ``OMP_NUM_THREADS`` if set, else one for a small net and all for a large one.

    Under 100,000 parameters a second thread gained 20 % on an idle machine and cost up to eight times on a busy one.
    Sums are split by thread, so the number can change bits: a run keeps the one it began with.
    """
    if os.environ.get("OMP_NUM_THREADS") or parameter_count(model) >= 100_000:
        return torch.get_num_threads()
    return 1


def start_run(out: Path, recipe: Recipe, data: dict[str, Dataset], device: str) -> None:
    """Make the run's folder, whole or not at all; an old run there is replaced, anything else refused."""
    text = recipe.to_toml()
    with folder_in_place(out, replaces=is_run) as folder:
        write_text(folder / RECIPE, text)
        write_json(
            folder / MANIFEST,
            manifest.collect(
                "train",
                recipe=recipe.name,
                recipe_sha256=hashlib.sha256(text.encode()).hexdigest(),
                data={"name": recipe.data.name, **{split: part.sha256 for split, part in data.items()}},
                data_note=data["train"].note,
                seed=recipe.seed,
                device=device,
            ),
        )


def refuse_other_recipe(out: Path, recipe: Recipe) -> None:
    """ND109 where a run's recipe differs from this one, with every key that does."""
    differences = load_recipe(out / RECIPE).diff(recipe)
    if differences:
        shown = "; ".join(f"{key}: {old} there, {new} now" for key, old, new in differences)
        raise UsageError(
            "ND109",
            f"the run exists with a different recipe: {shown}",
            where=str(out),
            fix="--out another folder, or --fresh to start over (deletes this run)",
        )


def refuse_other_data(out: Path, data: dict[str, Dataset]) -> None:
    """ND109 where a run was begun on other bytes of the same dataset."""
    recorded = read_manifest(out).get("data", {})
    changed = [split for split, part in data.items() if recorded.get(split) != part.sha256]
    if changed:
        raise UsageError(
            "ND109",
            f"the run was begun on other data: the {' and '.join(changed)} split has changed since",
            where=str(out),
            fix="restore the data, or --fresh to start over (deletes this run)",
        )


def refuse_rmp_without_layers(recipe: Recipe, model: nn.Module) -> None:
    """ND102 where ``exclude_first_last`` leaves no layer to regularize."""
    lifs = sum(isinstance(module, LIF) for module in model.modules())
    if recipe.loss.rmp is not None and recipe.loss.rmp.layers == "exclude_first_last" and lifs < 3:
        raise UsageError(
            "ND102",
            f'loss.rmp.layers = "exclude_first_last" leaves none of the {lifs} LIF layers of {recipe.net.name}',
            where="loss.rmp.layers",
            fix='use loss.rmp.layers = "all"',
        )


def refuse_device(device: str) -> None:
    """ND101 for a device that torch does not know or that this machine does not have."""
    found = ["cpu"]
    if torch.cuda.is_available():
        found += ["cuda", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        found.append("mps")
    if device not in found:
        raise UsageError("ND101", f"no such device here: {device}", where="--device", fix=f"known: {', '.join(found)}")


def dry_run(recipe: Recipe) -> int:
    """Build the net of a recipe, write nothing, and give its number of parameters."""
    model = build(recipe)
    refuse_rmp_without_layers(recipe, model)
    return parameter_count(model)
