"""Training beside SpikingJelly and snnTorch, in one run: ratios, never absolute times.

    python benchmarks/train.py [--quick] [--repeats N] [--threads N] [--nets resnet20-slim,resnet20] [--no-keep]

Every contender has the same net, weights, batch of 32 images (3x32x32), T = 4, optimizer and process. In the nets of
the others, our LIF is replaced by theirs (multi-step, decay 1/4, threshold 1/2, hard reset to 0 with gradient through
it, arctangent surrogate; SpikingJelly with its default backend, snnTorch in its loop over steps) and tdBN by torch's
BatchNorm2d; everything else is one code, so they too compute the first convolution of the image once. A step is
forward, cross-entropy of the mean logits, backward and SGD with momentum. Contenders take turns; the figure is the
median over turns of their wall-clock time, divided by ours. Saved memory is what autograd keeps for the backward pass,
each storage once, without parameters. Freed memory is kept by the process (``--no-keep``: glibc's default), for all
alike. On a busy machine take ``--threads 1``: a team of threads waits for its slowest.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from neurodeploy.config.recipe import Recipe
from neurodeploy.nn.allocator import keep_freed_memory
from neurodeploy.nn.lif import LIF, plain_lif
from neurodeploy.nn.nets import build_for
from neurodeploy.nn.tdbn import TdBatchNorm
from neurodeploy.reporting.text import table

T, BATCH, TAU, V_THRESHOLD = 4, 32, 0.25, 0.5


class PlainLIF(LIF):
    """Ours as a loop of torch's operations: the definition."""

    def forward(self, x_T: Tensor) -> Tensor:
        return plain_lif(x_T, self.tau, self.v_threshold, self.surrogate)[0]


class SpikingJellyLIF(nn.Module):
    """SpikingJelly's multi-step LIF."""

    def __init__(self) -> None:
        super().__init__()
        from spikingjelly.activation_based import neuron, surrogate

        # V[t] = V[t-1] - V[t-1]/tau + X[t]: a decay of 1/4 is tau = 4/3.
        self.node = neuron.LIFNode(
            tau=1 / (1 - TAU), decay_input=False, v_threshold=V_THRESHOLD, v_reset=0.0,
            surrogate_function=surrogate.ATan(), detach_reset=False, step_mode="m",
        )  # fmt: skip

    def forward(self, x_T: Tensor) -> Tensor:
        self.node.reset()
        o_T: Tensor = self.node(x_T)
        return o_T


class SnnTorchLIF(nn.Module):
    """snnTorch's Leaky, stepped over time as its tutorials do."""

    def __init__(self) -> None:
        super().__init__()
        import snntorch
        from snntorch import surrogate

        self.node = snntorch.Leaky(
            beta=TAU, threshold=V_THRESHOLD, reset_mechanism="zero", spike_grad=surrogate.atan()
        )  # fmt: skip

    def forward(self, x_T: Tensor) -> Tensor:
        membrane, spikes = self.node.init_leaky(), []
        for x in x_T.unbind(0):
            o, membrane = self.node(x, membrane)
            spikes.append(o)
        return torch.stack(spikes)


class TorchNorm(nn.BatchNorm2d):
    """BatchNorm2d over time and batch; the parameters are tdBN's, the gain in γ."""

    def forward(self, x_TBCHW: Tensor) -> Tensor:
        return super().forward(x_TBCHW.flatten(0, 1)).unflatten(0, x_TBCHW.shape[:2])


NEURONS: dict[str, Callable[[], nn.Module]] = {
    "fused": LIF,
    "plain loop": PlainLIF,
    "SpikingJelly": SpikingJellyLIF,
    "snnTorch": SnnTorchLIF,
}


def translated(net: nn.Module, neuron: Callable[[], nn.Module]) -> nn.Module:
    """The net with other neurons and torch's norm, of the same weights."""
    net = copy.deepcopy(net)
    for module in list(net.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, LIF):
                setattr(module, name, neuron())
            elif isinstance(child, TdBatchNorm):
                norm = TorchNorm(child.num_features, eps=child.eps)
                norm.weight.data.copy_(child.weight.data * child.alpha * child.v_threshold)
                norm.bias.data.copy_(child.bias.data)
                setattr(module, name, norm)
    return net


def interleaved(runs: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds of every turn of every contender, after two warm-up turns each."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(repeats + 2):
        for name, run in runs.items():
            began = time.perf_counter()
            run()
            if turn > 1:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def saved_bytes(forward: Callable[[], object], net: nn.Module | None = None) -> int:
    """Bytes that autograd keeps after ``forward``: every storage once, parameters not counted."""
    own = {p.untyped_storage().data_ptr() for p in net.parameters()} if net is not None else set()
    storages: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        kept = forward()
    del kept
    return sum(storages.values())


def rows(seconds: dict[str, list[float]], memory: dict[str, int], ours: str) -> list[tuple[Any, ...]]:
    """Per contender: its median over ours, the quartiles of the ratio turn by turn, saved memory over ours."""
    found = []
    for name, times in seconds.items():
        ratio = statistics.median(times) / statistics.median(seconds[ours])
        by_turn = sorted(a / b for a, b in zip(times, seconds[ours], strict=True))
        low, high = by_turn[len(by_turn) // 4], by_turn[-1 - len(by_turn) // 4]
        found.append((name, f"{ratio:.2f}", f"{low:.2f}-{high:.2f}", f"{memory[name] / memory[ours]:.2f}"))
    return found


HEAD = ("contender", "time, ours = 1", "middle half of turns", "saved memory, ours = 1")


def compare_neurons(shape: tuple[int, ...], repeats: int) -> None:
    """LIF alone, forward and backward."""
    torch.manual_seed(0)
    x = (torch.randn(T, *shape) * 0.5).requires_grad_()
    g = torch.randn_like(x)
    runs: dict[str, Callable[[], object]] = {}
    memory = {}
    for name, make in NEURONS.items():
        neuron = make()

        def run(neuron: nn.Module = neuron) -> None:
            torch.autograd.grad(neuron(x), x, g)

        runs[name] = run
        # The input is a leaf here; in a net it is the norm's output, which a neuron's graph may keep as well.
        memory[name] = saved_bytes(lambda neuron=neuron: neuron(x))  # type: ignore[misc]
    size = x.numel() * 4 / 2**20
    title = f"LIF forward and backward, T = {T}, {size:g} MiB of float32 input ({'x'.join(map(str, shape))} per step)"
    print(table(title, HEAD, rows(interleaved(runs, repeats), memory, "fused")), "\n")


def training_step(net: nn.Module, precision: str, layout: str) -> tuple[Callable[[], None], Callable[[], Tensor]]:
    """A call that does one training step, and one that does its forward pass and gives the loss."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(BATCH, 3, 32, 32, generator=generator)
    y = torch.randint(10, (BATCH,), generator=generator)
    if layout == "channels_last":
        net, x = net.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), 0.01, 0.9)
    net.train()

    def forward() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            u_TBN = net(x.unsqueeze(0))
        return nn.functional.cross_entropy(u_TBN[-1].float() / T, y)

    def step() -> None:
        optimizer.zero_grad()
        forward().backward()
        optimizer.step()

    return step, forward


def compare_steps(name: str, repeats: int) -> None:
    """Full training steps of one net."""
    torch.manual_seed(0)
    recipe = Recipe.model_validate(
        {"name": name, "timesteps": T, "data": {"name": "cifar10"}, "net": {"name": name},
         "train": {"epochs": 1, "lr": 0.01}}
    )  # fmt: skip
    ours = build_for(recipe, (3, 32, 32), 10)
    nets = {
        "ours, channels_last, float32": (ours, "float32", "channels_last"),
        "ours, contiguous, float32": (ours, "float32", "contiguous"),
        "ours, channels_last, bf16": (ours, "bf16", "channels_last"),
        "SpikingJelly, contiguous, float32": (translated(ours, SpikingJellyLIF), "float32", "contiguous"),
        "SpikingJelly, channels_last, float32": (translated(ours, SpikingJellyLIF), "float32", "channels_last"),
        "SpikingJelly, contiguous, bf16": (translated(ours, SpikingJellyLIF), "bf16", "contiguous"),
        "SpikingJelly, channels_last, bf16": (translated(ours, SpikingJellyLIF), "bf16", "channels_last"),
        "snnTorch, contiguous, float32": (translated(ours, SnnTorchLIF), "float32", "contiguous"),
        "snnTorch, contiguous, bf16": (translated(ours, SnnTorchLIF), "bf16", "contiguous"),
    }
    runs: dict[str, Callable[[], object]] = {}
    memory = {}
    for label, (net, precision, layout) in nets.items():
        net = copy.deepcopy(net)
        runs[label], forward = training_step(net, precision, layout)
        memory[label] = saved_bytes(forward, net)
    seconds = interleaved(runs, repeats)
    best, fast = "ours, channels_last, float32", "ours, channels_last, bf16"
    print(table(f"{name}, one training step, batch {BATCH}, T = {T}", HEAD, rows(seconds, memory, best)))
    theirs = statistics.median(seconds["SpikingJelly, contiguous, float32"])
    for label in (best, fast):
        times = theirs / statistics.median(seconds[label])
        share = memory[label] / memory["SpikingJelly, contiguous, float32"]
        print(f"{label}: {times:.2f} times as fast as SpikingJelly in float32, {share:.0%} of its saved memory")
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few turns, resnet20-slim only")
    parser.add_argument("--repeats", type=int, default=0, help="turns of each contender; 0: 21 for neurons, 7 for nets")
    parser.add_argument("--threads", type=int, default=0, help="torch's threads; 0: its default")
    parser.add_argument("--nets", default="resnet20-slim,resnet20", help="recipe names of nets; empty: neurons only")
    parser.add_argument("--no-keep", action="store_true", help="leave glibc's allocator as it is")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    kept = False if options.no_keep else keep_freed_memory()
    memory = "kept" if kept else "handed back"
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, freed memory is {memory}\n")
    for shape in ((32, 16, 32, 32), (8, 16, 32, 32)):
        compare_neurons(shape, options.repeats or (9 if options.quick else 21))
    nets = [name for name in options.nets.split(",") if name]
    for name in nets[:1] if options.quick else nets:
        compare_steps(name, options.repeats or (3 if options.quick else 7))


if __name__ == "__main__":
    try:
        import snntorch  # noqa: F401
        import spikingjelly  # noqa: F401
    except ImportError as error:
        sys.exit(f"{error}: pip install 'neurodeploy[peers]'")
    main()
