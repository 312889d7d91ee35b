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

from neurodeploy.diagnostics import UsageError
from neurodeploy.nn.fused_lif import fused_lif, membrane_dtype
from neurodeploy.nn.surrogate import SPIKES


def lif_step(
    u: Tensor,
    x: Tensor,
    tau: float,
    v_threshold: float,
    spike: Callable[[Tensor, float], Tensor],
    detach_reset: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """One step of the leaky integrate-and-fire neuron.

        u_pre[t] = τ·u[t−1] + x[t]            (Eq. 1)
        o[t]     = 1 if u_pre[t] ≥ V_th else 0 (Eq. 2)
        u[t]     = u_pre[t]·(1 − o[t])         (Eq. 3)

    Unless ``detach_reset``, gradient also flows through ``1 − o[t]``, as in the authors' code.

    Returns:
        ``(u_pre[t], o[t], u[t])``, each of the shape of ``x``.
    """
    u_pre = tau * u + x
    o = spike(u_pre, v_threshold)
    return u_pre, o, u_pre * (1 - (o.detach() if detach_reset else o))


def plain_lif(
    x_T: Tensor, tau: float, v_threshold: float, surrogate: str = "tanh", detach_reset: bool = False
) -> tuple[Tensor, Tensor]:
    """:func:`lif_step` over time from u[0] = 0, written out: ``(o_T, u_pre_T)``, both of the shape of ``x_T``.

    The definition that :func:`neurodeploy.nn.fused_lif.fused_lif` is tested against. The membrane of half-precision
    inputs is float32.
    """
    dtype = membrane_dtype(x_T.dtype)
    u = torch.zeros_like(x_T[0], dtype=dtype)
    potentials, spikes = [], []
    for x in x_T.unbind(0):
        u_pre, o, u = lif_step(u, x.to(dtype), tau, v_threshold, SPIKES[surrogate], detach_reset)
        potentials.append(u_pre)
        spikes.append(o)
    return torch.stack(spikes).to(x_T.dtype), torch.stack(potentials).to(x_T.dtype)


class LIF(nn.Module):
    """:func:`lif_step` over time from u[0] = 0; binary spikes out, of the shape and memory layout of the input.

    Args:
        tau: Decay τ of a step, 0 to 1.
        v_threshold: Firing threshold V_th; fires at ``u_pre >= v_threshold``.
        surrogate: Name of the surrogate gradient (:mod:`neurodeploy.nn.surrogate`).
        detach_reset: Cut the gradient through the reset.
    """

    def __init__(
        self, tau: float = 0.25, v_threshold: float = 0.5, surrogate: str = "tanh", detach_reset: bool = False
    ) -> None:
        super().__init__()
        if surrogate not in SPIKES:
            known = ", ".join(SPIKES)
            raise UsageError(
                "ND101", f"no such surrogate: {surrogate}", where="neuron.surrogate", fix=f"known: {known}"
            )
        self.tau = tau
        self.v_threshold = v_threshold
        self.surrogate = surrogate
        self.detach_reset = detach_reset
        #: Set by :func:`record_lifs` only: receives what the last forward saw.
        self.recorder: Callable[[LIFRecord], None] | None = None

    def forward(self, x_T: Tensor) -> Tensor:
        keep = self.recorder is not None
        o_T, u_pre_T = fused_lif(x_T, self.tau, self.v_threshold, self.surrogate, self.detach_reset, keep)
        if self.recorder is not None and u_pre_T is not None:
            self.recorder(LIFRecord(u_pre_T, o_T, self.v_threshold, x_T))
        return o_T

    def extra_repr(self) -> str:
        detached = ", detach_reset=True" if self.detach_reset else ""
        return f"tau={self.tau}, v_threshold={self.v_threshold}, surrogate={self.surrogate!r}{detached}"


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
    """What one LIF saw in one forward: ``u_pre`` before reset, spikes and input current, all with time first.

    In training ``u_pre_T`` carries gradient and is the tensor that the backward pass keeps anyway. Under bfloat16
    autocast all are bfloat16, ``u_pre_T`` rounded so that comparing it with the threshold gives ``o_T``.
    """

    u_pre_T: Tensor
    o_T: Tensor
    v_threshold: float
    x_T: Tensor | None = None


@contextmanager
def record_lifs(model: nn.Module) -> Iterator[dict[str, LIFRecord]]:
    """Record every hidden LIF of a model: module name -> record of the latest forward, in order of execution.

    The readout is an :class:`Integrator`, never fires and is not recorded.
    """
    records: dict[str, LIFRecord] = {}
    with watch_lifs(model, records.__setitem__):
        yield records


@contextmanager
def watch_lifs(model: nn.Module, watch: Callable[[str, LIFRecord], None]) -> Iterator[None]:
    """Call ``watch(module name, record)`` as each hidden LIF is executed; what it does not keep is freed."""
    lifs = [(name, module) for name, module in model.named_modules() if isinstance(module, LIF)]
    try:
        for name, lif in lifs:
            lif.recorder = partial(watch, name)
        yield
    finally:
        for _, lif in lifs:
            lif.recorder = None
