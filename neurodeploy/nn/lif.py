"""The two neurons of the RMP-Loss paper: LIF with hard reset (Eq. 1-3) and the accumulating readout (Eq. 4).

Shape legend: ``x_T...`` has time first, ``(T, B, C, H, W)`` or ``(T, B, N)``; a name without T is one step of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from neurodeploy.nn.surrogate import SPIKES


def lif_step(
    u: Tensor, x: Tensor, tau: float, v_threshold: float, spike: Callable[[Tensor, float], Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """One step of the leaky integrate-and-fire neuron.

        u_pre[t] = τ·u[t−1] + x[t]            (Eq. 1)
        o[t]     = 1 if u_pre[t] ≥ V_th else 0 (Eq. 2)
        u[t]     = u_pre[t]·(1 − o[t])         (Eq. 3)

    The reset is not detached: gradient also flows through ``1 − o[t]``, as in the authors' code.

    Returns:
        ``(u_pre[t], o[t], u[t])``, each of the shape of ``x``.
    """
    u_pre = tau * u + x
    o = spike(u_pre, v_threshold)
    return u_pre, o, u_pre * (1 - o)


class LIF(nn.Module):
    """:func:`lif_step` over time from u[0] = 0; binary spikes out, of the shape of the input.

    Args:
        tau: Decay τ of a step, 0 to 1.
        v_threshold: Firing threshold V_th; fires at ``u_pre >= v_threshold``.
        surrogate: Name of the surrogate gradient.
    """

    def __init__(self, tau: float = 0.25, v_threshold: float = 0.5, surrogate: str = "tanh") -> None:
        super().__init__()
        self.tau = tau
        self.v_threshold = v_threshold
        self.surrogate = surrogate
        #: Set by :func:`record_lifs` only: receives what the last forward saw.
        self.recorder: Callable[[LIFRecord], None] | None = None

    def forward(self, x_T: Tensor) -> Tensor:
        spike = SPIKES[self.surrogate]
        u = torch.zeros_like(x_T[0])
        potentials, spikes = [], []
        for x in x_T.unbind(0):
            u_pre, o, u = lif_step(u, x, self.tau, self.v_threshold, spike)
            potentials.append(u_pre)
            spikes.append(o)
        o_T = torch.stack(spikes)
        if self.recorder is not None:
            self.recorder(LIFRecord(torch.stack(potentials), o_T, self.v_threshold))
        return o_T

    def extra_repr(self) -> str:
        return f"tau={self.tau}, v_threshold={self.v_threshold}, surrogate={self.surrogate!r}"


class Integrator(nn.Module):
    """The readout: u[t] = u[t−1] + x[t] from u[0] = 0 (Eq. 4), never fires; returns every u[t], ``(T, B, N)``."""

    def forward(self, x_TBN: Tensor) -> Tensor:
        u = torch.zeros_like(x_TBN[0])
        states = []
        for x in x_TBN.unbind(0):
            u = u + x
            states.append(u)
        return torch.stack(states)


@dataclass(frozen=True)
class LIFRecord:
    """What one LIF saw in one forward: ``u_pre`` before reset and spikes, both with time first."""

    u_pre_T: Tensor
    o_T: Tensor
    v_threshold: float


@contextmanager
def record_lifs(model: nn.Module) -> Iterator[dict[str, LIFRecord]]:
    """Record every hidden LIF of a model: module name -> record of the latest forward, in order of execution.

    The readout is an :class:`Integrator`, never fires and is not recorded.
    """
    records: dict[str, LIFRecord] = {}
    lifs = [(name, module) for name, module in model.named_modules() if isinstance(module, LIF)]
    try:
        for name, lif in lifs:
            lif.recorder = partial(records.__setitem__, name)
        yield records
    finally:
        for _, lif in lifs:
            lif.recorder = None
