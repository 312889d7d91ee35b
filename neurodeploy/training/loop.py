"""Training: a recipe in, a run folder and a checkpoint out. Read it from the top.

The learning rate is a function of the epoch, the order of samples of (seed, epoch), the augmentation of a sample of
(seed, epoch, sample). So nothing depends on whether the run was interrupted: on the CPU a resumed run gives the same
bits as one that was never stopped, also when it was stopped in the middle of an epoch.

Shape legend: T time, B batch, C H W image, N classes.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from neurodeploy import manifest
from neurodeploy.config.recipe import Recipe
from neurodeploy.data import Dataset, load
from neurodeploy.diagnostics import NeurodeployError, UsageError
from neurodeploy.files import MANIFEST, folder_in_place, write_json, write_text
from neurodeploy.nn.nets import build, parameter_count
from neurodeploy.training import distributed
from neurodeploy.training.batches import batches, steps_of, time_first
from neurodeploy.training.checkpoint import (
    RECIPE,
    STATE,
    Checkpoint,
    is_finished,
    is_run,
    load_checkpoint,
    load_state,
    publish,
    save_state,
    sweep,
)
from neurodeploy.training.distributed import World
from neurodeploy.training.divergence import all_finite, diverged
from neurodeploy.training.evaluate import Evaluation, evaluate
from neurodeploy.training.interruption import Interruption, interruption
from neurodeploy.training.objective import Objective
from neurodeploy.training.optimizer import learning_rate, make_optimizer
from neurodeploy.training.preflight import (
    refuse_batch_too_small,
    refuse_crashing_layout,
    refuse_device,
    refuse_other_data,
    refuse_other_recipe,
    refuse_rmp_without_layers,
)
from neurodeploy.training.run_files import EVALUATION


@dataclass(frozen=True)
class Progress:
    """Where a training stands: ``step`` of ``steps`` in ``epoch`` of ``epochs``; ``metrics`` once the epoch is done.

    The first one of a call has the step and epoch that were done before, so a resumed run starts above 1.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    metrics: dict[str, Any] | None = None


@dataclass
class EpochSums:
    """What an epoch has seen so far; saved with a run that is stopped inside it."""

    step: int = 0
    samples: int = 0
    correct: int = 0
    terms: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0


def train(
    recipe: Recipe,
    out: str | Path,
    *,
    device: str = "cpu",
    data_root: str | Path | None = None,
    download: bool = False,
    fresh: bool = False,
    workers: int = 0,
    progress: Callable[[Progress], None] | None = None,
) -> Checkpoint:
    """Train a recipe, or go on where an interrupted run of it stopped. The result is the last epoch.

    Under ``torchrun`` every process calls this with the same arguments; see ``training/distributed.py``.

    Args:
        recipe: What to train.
        out: The run's folder. A finished run of the same recipe is returned at once, an interrupted one resumed.
        device: ``cpu``, or what torch finds on this machine.
        data_root, download: See ``neurodeploy.data.load``.
        fresh: Start over; the old run is deleted.
        workers: Processes that prepare batches beside each training process; the numbers do not depend on it.
        progress: Called before the first step, after every step and after every epoch, in the main process only.

    Raises:
        UsageError: ND109 where ``out`` holds a run of another recipe, ND110 where it holds something else,
            ND106 for missing data, ND111 where the training diverges (the last good epoch is kept).
        KeyboardInterrupt: After SIGINT; what was trained so far is saved.
    """
    out = Path(out)
    refuse_device(device)
    world = distributed.join(device)
    resumes = is_run(out) and not fresh
    if resumes:
        refuse_other_recipe(out, recipe)
        if is_finished(out):
            return load_checkpoint(out)
    data = _load(recipe, data_root, download, world)
    refuse_batch_too_small(recipe, len(data["train"]), world)

    with _quiet_machine(recipe.seed, world.device), interruption() as interrupted:
        model = build(recipe).to(world.device)
        refuse_rmp_without_layers(recipe, model)
        refuse_crashing_layout(recipe, model, world.device)
        objective = Objective(recipe, model, world.device)
        if resumes:
            refuse_other_data(out, data, objective.teacher_digests)
        state = load_state(out) if resumes else None
        torch.set_num_threads(state["threads"] if state else sensible_threads(model))
        world.wait()  # everyone has read what was there before the main process changes it
        if world.main and not resumes:
            start_run(out, recipe, data, world, objective.teacher_digests)
        if world.main and resumes:
            sweep(out)
        trainer = _Trainer(recipe, model, objective, data, world, workers, interrupted, progress)
        if state is not None:
            trainer.restore(state)
            if world.main and not trainer.sums.step:
                publish(out, state)

        try:
            while trainer.epoch < recipe.train.epochs:
                trainer.run_epoch(save=lambda: save_state(out, trainer.state()))
        except NeurodeployError:
            if world.main and not resumes and not (out / STATE).exists():  # begun here, nothing kept: leave nothing
                shutil.rmtree(out, ignore_errors=True)
            raise
        if world.main:
            trainer.finish(out)
        world.wait()
        if interrupted.signal:  # during the last evaluation
            interrupted.stop()
    return load_checkpoint(out)


def _load(recipe: Recipe, root: str | Path | None, download: bool, world: World) -> dict[str, Dataset]:
    """Both splits; the main process downloads before the others look."""

    def read(download: bool) -> dict[str, Dataset]:
        return {
            split: load(recipe.data, split, timesteps=recipe.timesteps, root=root, download=download)
            for split in ("train", "test")
        }

    if world.size == 1 or not download:
        return read(download)
    data = read(download=True) if world.main else {}
    world.wait()
    return data or read(download=False)


class _Trainer:
    """The state of a run between two steps, and how it moves on."""

    def __init__(
        self,
        recipe: Recipe,
        model: nn.Module,
        objective: Objective,
        data: dict[str, Dataset],
        world: World,
        workers: int,
        interrupted: Interruption,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self.recipe, self.objective, self.data, self.world = recipe, objective, data, world
        self.workers, self.interrupted, self.progress = workers, interrupted, progress
        self.channels_last = recipe.train.memory == "channels_last"
        if self.channels_last:
            model = model.to(memory_format=torch.channels_last)
        self.model = model
        self.forward = DistributedDataParallel(model) if world.size > 1 else model
        self.optimizer = make_optimizer(recipe, model)
        self.epoch = 0  # the last that is finished
        self.sums = EpochSums()  # of the one that is not
        self.metrics: list[dict[str, Any]] = []
        self.last_evaluation: dict[str, Any] | None = None

    def state(self) -> dict[str, Any]:
        """Everything that a resumed run needs; plain values and tensors."""
        return {
            "epoch": self.epoch,
            "sums": vars(self.sums),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": {"kind": self.recipe.train.schedule, "epoch": self.epoch},
            "rng": torch.get_rng_state(),
            "threads": torch.get_num_threads(),
            "metrics": self.metrics,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to a saved state."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["rng"])
        self.metrics = state["metrics"]
        self.epoch = state["epoch"]
        self.sums = EpochSums(**state.get("sums", {}))

    def run_epoch(self, save: Callable[[], None]) -> None:
        """The rest of an epoch, its evaluation and its checkpoint."""
        recipe, epoch, sums = self.recipe, self.epoch + 1, self.sums
        train_set = self.data["train"]
        steps = steps_of(recipe, len(train_set))
        lr = learning_rate(recipe, epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        began = time.perf_counter() - sums.seconds
        self._report(epoch, sums.step, steps)
        self.model.train()
        drawn = batches(recipe, train_set, epoch, self.world, after=sums.step, workers=self.workers)
        for x, y_B, samples in drawn:
            terms, correct, stop = self._step(x, y_B, samples, epoch, sums.step + 1, steps)
            sums.step += 1
            sums.samples += samples
            sums.correct += correct
            for name, value in terms.items():
                sums.terms[name] = sums.terms.get(name, 0.0) + value * samples
            sums.seconds = time.perf_counter() - began
            self._report(epoch, sums.step, steps)
            if stop:
                if self.world.main:
                    save()
                self.world.wait()
                self.interrupted.stop()

        try:
            test = self._evaluate(self.world)
        except UsageError:  # a damaged test sample, say: the epoch's work is kept, and the next call evaluates it
            if self.world.main:
                save()
            raise
        self.last_evaluation = test.to_json()
        means = {name: value / sums.samples for name, value in sums.terms.items()}
        self.metrics.append(
            {
                "epoch": epoch,
                "lr": lr,
                "train_loss": sum(means.values()),
                "train_accuracy": sums.correct / sums.samples,
                "test_loss": test.loss,
                "test_accuracy": test.accuracy,
                "quantization_error": test.quantization_error,
                "firing_rate": test.firing_rate,
                "seconds": round(time.perf_counter() - began, 3),
                **({f"train_{name}": value for name, value in means.items()} if len(means) > 1 else {}),
            }
        )
        self.epoch, self.sums = epoch, EpochSums()
        if self.world.main:
            save()
        self._report(epoch, steps, steps, self.metrics[-1])

    def _step(
        self, x: torch.Tensor, y_B: torch.Tensor, samples: int, epoch: int, step: int, steps: int
    ) -> tuple[dict[str, float], int, bool]:
        """One batch: forward, loss, backward, update.

        Returns:
            ``(mean of each term, correct predictions, whether a signal asks to stop)``, over all processes.
        """
        device = self.world.device
        x, y_B = x.to(device, non_blocking=True), y_B.to(device, non_blocking=True)
        x_TBCHW = time_first(x, temporal=self.data["train"].temporal, channels_last=self.channels_last)
        with self.objective.watching(self.model) as seen, self._autocast():
            u_TBN = self.forward(x_TBCHW)
        u_TBN = u_TBN.to(torch.promote_types(u_TBN.dtype, torch.float32))
        terms = self.objective.terms(x, y_B, u_TBN, seen, epoch, step / steps)
        loss = torch.stack(list(terms.values())).sum()
        # DDP averages gradients over processes: weighted like this, the average is that of the whole batch.
        weight = len(y_B) * self.world.size / samples
        self.optimizer.zero_grad()
        (loss * weight).backward()

        share = len(y_B) / samples
        seen_here = [value.detach().double() * share for value in terms.values()]
        correct_here = (u_TBN[-1].argmax(1) == y_B).sum().double()
        asked = torch.tensor(float(self.interrupted.signal), dtype=torch.float64, device=device)
        *means, correct, stop = self.world.sum(torch.stack([*seen_here, correct_here, asked])).tolist()
        totals = dict(zip(terms, means, strict=True))
        bad = next((name for name, mean in totals.items() if mean != mean or abs(mean) == float("inf")), None)
        if bad is not None:
            raise diverged(self.model, x_TBCHW, epoch, step, f"the {bad} loss")
        if self.recipe.train.clip_norm:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.train.clip_norm)
        self.optimizer.step()
        # A NaN potential gives spike 0 and the loss stays finite, so weights and statistics are looked at as well.
        if not all_finite([*self.model.parameters(), *self.model.buffers()]):
            raise diverged(self.model, x_TBCHW, epoch, step)
        return totals, int(correct), stop > 0

    def _autocast(self) -> torch.autocast:
        enabled = self.recipe.train.precision == "bf16"
        return torch.autocast(self.world.device.split(":")[0], torch.bfloat16, enabled=enabled)

    def _evaluate(self, world: World) -> Evaluation:
        recipe = self.recipe
        per, p = recipe.loss.cross_entropy.per, recipe.metric.p
        return evaluate(self.model, self.data["test"], per=per, p=p, world=world, workers=self.workers)

    def finish(self, out: Path) -> None:
        """Write the evaluation of the last epoch, with the best one as a side note."""
        if self.last_evaluation is None:  # a run that was stopped between its last epoch and this file
            test = self._evaluate(World(device=self.world.device))
            self.last_evaluation = test.to_json()
        best = max(self.metrics, key=lambda line: (line["test_accuracy"], -line["epoch"]))
        note = {"epoch": best["epoch"], "accuracy": best["test_accuracy"]}
        write_json(out / EVALUATION, {**self.last_evaluation, "best": note})

    def _report(self, epoch: int, step: int, steps: int, metrics: dict[str, Any] | None = None) -> None:
        if self.progress is not None and self.world.main:
            self.progress(Progress(epoch, self.recipe.train.epochs, step, steps, metrics))


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


def start_run(out: Path, recipe: Recipe, data: dict[str, Dataset], world: World, teachers: dict[str, str]) -> None:
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
                teachers=teachers,
                seed=recipe.seed,
                device=world.device,
                processes=world.size,
            ),
        )


def dry_run(recipe: Recipe) -> int:
    """Build the net of a recipe, write nothing, and give its number of parameters."""
    model = build(recipe)
    refuse_rmp_without_layers(recipe, model)
    return parameter_count(model)
