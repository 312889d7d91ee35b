"""Where a training that diverged first held a number that is none."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from neurodeploy.diagnostics import UsageError


def all_finite(tensors: list[Tensor]) -> bool:
    """Whether every number of every tensor is finite."""
    return bool(torch.stack([torch.isfinite(tensor).all() for tensor in tensors]).all())


def diverged(model: nn.Module, x_TBCHW: Tensor, epoch: int, step: int, term: str = "the loss") -> UsageError:
    """ND111 with the first layer, in order of execution, that holds or gives a number that is not finite.

    The forward pass is made once more, in training mode as it was, on the weights that the step began with or, where
    only the update broke them, ended with. ``term`` is what was not finite where no layer is found.
    """
    first = _first_layer(model, x_TBCHW) or term
    kept = f"the epochs before it are kept: {epoch - 1}"
    return UsageError(
        "ND111",
        f"the training diverged: in epoch {epoch}, step {step}, {first} is not finite",
        where=kept,
        fix="lower train.lr, or set train.clip_norm, and start over with --fresh",
    )


def _first_layer(model: nn.Module, x_TBCHW: Tensor) -> str:
    found: list[str] = []

    def look(name: str, module: nn.Module, output: Tensor) -> None:
        if found:
            return
        held = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        bad = next((key for key, value in held.items() if not torch.isfinite(value).all()), None)
        # A norm updates its statistics on the way: what it gives comes first where its input was broken already.
        if not torch.isfinite(output).all() and (bad is None or bad.startswith("running_")):
            found.append(f"the output of layer `{name}`")
        elif bad is not None:
            found.append(f"`{bad}` of layer `{name}`")

    leaves = [(name, module) for name, module in model.named_modules() if name and not any(module.children())]
    handles = [
        module.register_forward_hook(lambda module, _inputs, output, name=name: look(name, module, output))
        for name, module in leaves
    ]
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    with torch.no_grad():
        model(x_TBCHW)
        for name, buffer in model.named_buffers():
            buffer.copy_(before[name])
    for handle in handles:
        handle.remove()
    return found[0] if found else ""
