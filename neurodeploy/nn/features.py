"""The feature: what enters the classifier, ``model.fc``, at each step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


@contextmanager
def record_features(model: nn.Module) -> Iterator[Callable[[], Tensor]]:
    """Record the output feature h of a net: yields a function that gives that of the latest forward.

    Args:
        model: A net of ours: ``model.fc`` is its classifier, the last linear layer before the readout.

    The feature is ``(T, B, F)``, with gradient where the forward had one, and of the type that entered the classifier
    (bfloat16 under autocast, if what is before it gives that). With RepAct it is real-valued, without it the pooled
    spikes.
    """
    latest: list[Tensor] = []

    def keep(_module: nn.Module, inputs: tuple[Any, ...]) -> None:
        latest[:] = [inputs[0]]

    def feature_TBF() -> Tensor:
        assert latest, "no forward pass was made while recording"
        return latest[0]

    handle = model.get_submodule("fc").register_forward_pre_hook(keep)
    try:
        yield feature_TBF
    finally:
        handle.remove()
