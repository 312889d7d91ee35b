"""What is minimized: the sum of the terms that a recipe names.

Shape legend: T time, B batch, N classes, F features of the classifier's input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from torch import Tensor, nn

from neurodeploy.config.recipe import Recipe
from neurodeploy.losses.cross_entropy import cross_entropy
from neurodeploy.losses.feature import feature_loss
from neurodeploy.losses.laf import TEMPERATURE, laf_loss
from neurodeploy.losses.rmp import coefficient, rmp_loss
from neurodeploy.nn.features import record_features
from neurodeploy.nn.lif import LIFRecord, record_lifs
from neurodeploy.training.teacher import Teacher, load_teacher


@dataclass
class Seen:
    """What the terms look at, beside the output, filled by a forward pass inside :meth:`Objective.watching`."""

    records: dict[str, LIFRecord] = field(default_factory=dict)
    features: Callable[[], Tensor] | None = None


class Objective:
    """L = L_CE + λ(n)·L_RMP + λ·L_LAF + λ·L_feature, each where the recipe has its table.

    (RMP-Loss Eq. 11, EnOF-SNN Eq. 3.) The teachers are frozen and see the same augmented batch.
    """

    def __init__(self, recipe: Recipe, model: nn.Module, device: str) -> None:
        self.recipe = recipe
        self.teachers: dict[str, Teacher] = {}
        for table in (recipe.loss.laf, recipe.loss.feature):
            if table is not None and table.teacher not in self.teachers:
                classifier = model.get_submodule("fc")
                assert isinstance(classifier, nn.Linear)
                self.teachers[table.teacher] = load_teacher(
                    table.teacher,
                    recipe=recipe,
                    feature_size=classifier.in_features,
                    classes=classifier.out_features,
                    device=device,
                )

    @property
    def teacher_digests(self) -> dict[str, str]:
        """Teacher -> sha256 of its weights, for the manifest."""
        return {teacher.label: teacher.sha256 for teacher in self.teachers.values()}

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[Seen]:
        """Record, of the forward pass inside, what the recipe's terms need and nothing else."""
        seen = Seen()
        with ExitStack() as stack:
            if self.recipe.loss.rmp is not None:
                seen.records = stack.enter_context(record_lifs(model))
            if self.teachers:
                seen.features = stack.enter_context(record_features(model))
            yield seen

    def terms(self, x: Tensor, y_B: Tensor, u_TBN: Tensor, seen: Seen, epoch: int, share: float) -> dict[str, Tensor]:
        """The weighted terms of one batch, whose sum is the loss; means over this process's samples.

        Args:
            x: The batch as the dataset gives it.
            y_B: Labels.
            u_TBN: The readout's trajectory.
            seen: What the forward pass left.
            epoch: n = 1 … N.
            share: Share of the epoch that is done with this step; λ(n) of RMP-Loss takes the epoch n, or n − 1 + share
                where ``loss.rmp.per = "iteration"``.
        """
        loss = self.recipe.loss
        terms = {"cross_entropy": cross_entropy(u_TBN, y_B, loss.cross_entropy.per)}
        if loss.rmp is not None:
            epochs = self.recipe.train.epochs
            n = epoch - 1 + share if loss.rmp.per == "iteration" else epoch
            weight = coefficient(n, epochs, loss.rmp.k, loss.rmp.schedule)
            terms["rmp"] = weight * rmp_loss(
                list(seen.records.values()),
                loss.rmp.p,
                loss.rmp.layers,
                potential=loss.rmp.potential,
                weighting=loss.rmp.weighting,
            )
        told = {name: teacher(x) for name, teacher in self.teachers.items()}
        feature_TBF = seen.features().float() if seen.features is not None else None
        if loss.laf is not None and feature_TBF is not None:
            teacher = self.teachers[loss.laf.teacher]
            terms["laf"] = loss.laf.weight * laf_loss(
                feature_TBF,
                told[loss.laf.teacher][0],
                teacher.weight,
                teacher.bias,
                form=loss.laf.form,
                temperature=loss.laf.temperature or TEMPERATURE[loss.laf.form],
            )
        if loss.feature is not None and feature_TBF is not None:
            terms["feature"] = loss.feature.weight * feature_loss(feature_TBF, told[loss.feature.teacher][1])
        return terms
