"""The fused LIF against the plain loop: bits forward, gradients, layouts, threads, half precision, its other path."""

from __future__ import annotations

import shutil
import threading

import numpy as np
import pytest
import torch
from torch import Tensor

from neurodeploy.nn import fused_lif as module
from neurodeploy.nn import lif_kernels, lif_threads
from neurodeploy.nn.fused_lif import backward_in_torch, forward_in_torch, fused_lif, time_stride
from neurodeploy.nn.lif import plain_lif
from neurodeploy.nn.surrogate import SLOPES, tanh_slope


@pytest.fixture
def path(request, monkeypatch) -> str:
    """Run with the CPU kernels or with torch's operations, as where Numba is missing."""
    if request.param == "torch":
        monkeypatch.setattr(module, "_numba", lambda: None)
    else:
        assert module._numba() is not None, "the CPU kernels do not run here"
    return request.param


def gradients(function, x: Tensor, surrogate: str, detach: bool, tau: float, v_threshold: float) -> tuple[Tensor, ...]:
    """Spikes, potentials, gradient of x for given gradients of both."""
    x = x.detach().clone().requires_grad_()
    o, u_pre = function(x, tau, v_threshold, surrogate, detach)
    generator = torch.Generator().manual_seed(1)
    g_o, g_u = (torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x.dtype) for _ in range(2))
    torch.autograd.backward((o, u_pre), (g_o, g_u))
    assert x.grad is not None
    return o.detach(), u_pre.detach(), x.grad


@pytest.mark.parametrize("path", ["kernels", "torch"], indirect=True)
@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize("surrogate", SLOPES)
@pytest.mark.parametrize(("tau", "v_threshold"), [(0.25, 0.5), (0.9, 0.3)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_against_the_plain_loop(path, detach, surrogate, tau, v_threshold, dtype, tolerance) -> None:
    torch.manual_seed(0)
    x = torch.randn(5, 3, 7, 211, dtype=dtype) * v_threshold * 1.2  # 4431 neurons: several blocks and a rest
    mine = gradients(fused_lif, x, surrogate, detach, tau, v_threshold)
    theirs = gradients(plain_lif, x, surrogate, detach, tau, v_threshold)
    assert mine[0].mean() > 0.05
    assert torch.equal(mine[0], theirs[0])
    assert torch.equal(mine[1], theirs[1])
    # Relative to the largest terms of the sums: slopes of up to 2.8 and gradients of up to 4 over 5 steps.
    scale = 1 + theirs[2].abs().max() if tau > 0.5 else 1 + theirs[2].abs()
    assert ((mine[2] - theirs[2]).abs() / scale).max() < tolerance


@pytest.mark.parametrize("surrogate", SLOPES)
def test_float32_kernels_against_float64_autograd(surrogate) -> None:
    torch.manual_seed(0)
    # On a grid of 1/256 every u_pre of three steps with tau = 1/4 is exact in float32: same spikes in both precisions.
    x = torch.randint(-256, 256, (3, 5000)).double() / 256
    mine = gradients(fused_lif, x.float(), surrogate, False, 0.25, 0.5)
    theirs = gradients(plain_lif, x, surrogate, False, 0.25, 0.5)
    assert torch.equal(mine[1].double(), theirs[1])
    assert ((mine[2].double() - theirs[2]).abs() / (1 + theirs[2].abs())).max() < 1e-6


def test_the_polynomial_is_sech_squared_to_float32_precision() -> None:
    w = np.linspace(-lif_kernels.CENTER, lif_kernels.CENTER, 10001)
    exact = 1 - np.tanh(np.sqrt(w + lif_kernels.CENTER)) ** 2
    assert np.abs(np.polyval(lif_kernels.sech2_polynomial(11), w) / exact - 1).max() < 3e-8  # float32: 1.2e-7
    assert np.abs(np.polyval(lif_kernels.sech2_polynomial(21), w) / exact - 1).max() < 1e-14
    # One step, gradient 1: the kernel's own slope.
    u = torch.linspace(-0.2, 1.2, 5001, requires_grad=True)
    fused_lif(u.view(1, -1), 0.25, 0.5)[0].sum().backward()
    assert u.grad is not None
    assert torch.allclose(u.grad.double(), tanh_slope(u.detach().double()), rtol=1e-6, atol=0)


def test_values_at_the_edges_are_those_of_the_plain_loop() -> None:
    inf, nan = float("inf"), float("nan")
    x = torch.tensor([[0.5, 0.49999997, -0.0, inf, -inf, nan, 3e38], [0.5, 0.0, 0.0, 0.1, 0.1, 0.1, 1.0]])
    o, u_pre = fused_lif(x, 0.25, 0.5)
    assert u_pre is not None
    for a, b in zip((o, u_pre), plain_lif(x, 0.25, 0.5), strict=True):
        assert torch.equal(a.nan_to_num(7), b.nan_to_num(7))
        assert torch.equal(a.signbit(), b.signbit()) or a.isnan().any()


def channels_last(x: Tensor) -> Tensor:
    return x.flatten(0, 1).to(memory_format=torch.channels_last).unflatten(0, x.shape[:2])


LAYOUTS = {
    "contiguous": lambda x: x,
    "channels_last": channels_last,
    "expanded": lambda x: x[:1].expand_as(x),
    "expanded channels_last": lambda x: channels_last(x[:1]).expand_as(x),
    "every second step": lambda x: x.repeat_interleave(2, 0)[::2],
    "batch first": lambda x: x.transpose(0, 1).contiguous().transpose(0, 1),
    "sliced": lambda x: torch.cat([x, x], -1)[..., : x.shape[-1]],
}


@pytest.mark.parametrize("path", ["kernels", "torch"], indirect=True)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(path, layout) -> None:
    torch.manual_seed(0)
    base = torch.randn(4, 2, 3, 5, 6)
    x = LAYOUTS[layout](base).detach().requires_grad_()
    o, u_pre = fused_lif(x, 0.25, 0.5)
    p, v = plain_lif(x, 0.25, 0.5)
    assert torch.equal(o, p)
    assert torch.equal(u_pre, v)
    if layout == "channels_last":
        assert o.stride() == x.stride()
        assert o.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
    # Gradients come in any layout too: dense like x, contiguous, expanded over space or over time.
    for g in (torch.randn_like(x), torch.randn(x.shape), torch.randn(4, 2, 3, 1, 1).expand_as(x), x[:1].expand_as(x)):
        (mine,) = torch.autograd.grad(o, x, g.detach(), retain_graph=True)
        (theirs,) = torch.autograd.grad(p, x, g.detach(), retain_graph=True)
        assert torch.allclose(mine, theirs, rtol=1e-6, atol=1e-6)


def test_an_expanded_input_is_not_copied() -> None:
    assert time_stride(torch.empty(1, 3, 4).expand(5, 3, 4)) == 0
    assert time_stride(channels_last(torch.empty(4, 2, 3, 5, 6))) == 2 * 3 * 5 * 6
    assert time_stride(torch.empty(3, 4, 5).transpose(0, 1)) is None


@pytest.mark.parametrize("shape", [(1, 3), (4, 1), (4,), (2, 0, 3), (3, 1, 1, 1, 1)])
def test_small_shapes(shape) -> None:
    x = torch.rand(shape, requires_grad=True)
    o, u_pre = fused_lif(x, 0.25, 0.5)
    p, v = plain_lif(x, 0.25, 0.5)
    assert o.shape == x.shape
    assert torch.equal(o, p)
    assert u_pre is not None
    assert torch.equal(u_pre, v)
    o.sum().backward()
    assert x.grad is not None
    assert x.grad.shape == x.shape


def test_only_the_gradient_of_the_potential() -> None:
    x = torch.tensor([[0.25], [0.5]], requires_grad=True)
    _, u_pre = fused_lif(x, 0.5, 0.5, "ste")
    assert u_pre is not None
    (gradient,) = torch.autograd.grad(u_pre[1].sum(), x)
    # u_pre[1] = x[1] + (x[0]·(1 − o[0]))/2 with o[0] = 0 and φ′ = 1: ½·(1 − x[0]·1) = 0.375.
    assert gradient.flatten().tolist() == [0.375, 1]


def test_without_gradient_nothing_is_kept() -> None:
    x = torch.randn(4, 10)
    with torch.no_grad():
        o, u_pre = fused_lif(x.clone().requires_grad_(), 0.25, 0.5, keep=False)
    assert u_pre is None
    assert o.grad_fn is None
    assert torch.equal(o, plain_lif(x, 0.25, 0.5)[0])


def test_bits_do_not_depend_on_the_number_of_threads(monkeypatch) -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 300_001)
    monkeypatch.setattr(lif_threads, "PARALLEL_FROM", 0)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(gradients(fused_lif, x, "tanh", False, 0.25, 0.5))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_threads_of_the_caller_do_not_disturb_each_other(monkeypatch) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr(lif_threads, "PARALLEL_FROM", 0)
    inputs = [torch.randn(4, 50_000) for _ in range(3)]
    expected = [gradients(plain_lif, x, "ste", False, 0.25, 0.5) for x in inputs]
    found: dict[int, list[tuple[Tensor, ...]]] = {}

    def work(index: int) -> None:
        found[index] = [gradients(fused_lif, inputs[index], "ste", False, 0.25, 0.5) for _ in range(5)]

    threads = [threading.Thread(target=work, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, runs in found.items():
        for run in runs:
            assert torch.equal(run[0], expected[index][0])
            assert torch.allclose(run[2], expected[index][2], rtol=1e-6, atol=1e-6)
    assert len(found) == 3


@pytest.mark.parametrize("path", ["kernels", "torch"], indirect=True)
@pytest.mark.parametrize("v_threshold", [0.5, 0.3])
def test_bfloat16(path, v_threshold) -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 20_000).bfloat16()
    x[0, :2000] = torch.linspace(0.9 * v_threshold, 1.1 * v_threshold, 2000).bfloat16()
    x[1, :2000] = 0.0
    o, u_pre = fused_lif(x, 0.9, v_threshold)
    assert u_pre is not None
    p, v = plain_lif(x.float(), 0.9, v_threshold)  # the membrane is float32
    assert o.dtype == u_pre.dtype == torch.bfloat16
    assert torch.equal(o.float(), p)
    # The comparison in float32, as the backward pass does it: never another spike than the one that was sent.
    assert torch.equal(u_pre.float() >= v_threshold, p == 1)
    # bfloat16 has 8 bits: half a unit in the last place, a whole one where the threshold is between.
    assert ((u_pre.float() - v).abs() <= v.abs() * 2.0**-8).float().mean() > 0.999
    assert ((u_pre.float() - v).abs() <= v.abs() * 2.0**-7).all()
    # The gradient is that of the kept potentials, computed in float32 and rounded once.
    mine = gradients(fused_lif, x, "tanh", False, 0.9, v_threshold)
    generator = torch.Generator().manual_seed(1)
    g_o, g_u = (torch.randn(x.shape, generator=generator, dtype=torch.float64).bfloat16().float() for _ in range(2))
    expected = backward_in_torch(u_pre.float(), g_o, g_u, 0.9, v_threshold, "tanh", False)
    assert torch.allclose(mine[2].float(), expected, rtol=2.0**-7, atol=1e-6)


def test_bfloat16_rounding_is_torchs() -> None:
    # One step, far from the threshold: u_pre is x, so every bfloat16 comes back, infinities and NaN too.
    x = torch.arange(-(1 << 15), 1 << 15, dtype=torch.int32).to(torch.int16).view(torch.bfloat16).view(1, -1)
    _, u_pre = fused_lif(x, 0.25, 0.5)
    assert u_pre is not None
    same = (u_pre.view(torch.int16) == x.view(torch.int16)) | (x.isnan() & u_pre.isnan()) | ((x == 0) & (u_pre == 0))
    assert same.all()


def test_autocast_gives_bfloat16_spikes() -> None:
    x = torch.randn(3, 8, requires_grad=True)
    weight = torch.randn(8, 8, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        o, _ = fused_lif(torch.nn.functional.linear(x, weight), 0.25, 0.5)
    assert o.dtype == torch.bfloat16
    o.float().sum().backward()
    assert weight.grad is not None
    assert weight.grad.dtype == torch.float32


def test_float16_takes_torchs_operations() -> None:
    x = torch.randn(3, 50).half()
    o, u_pre = fused_lif(x, 0.25, 0.5)
    assert u_pre is not None
    assert torch.equal(o.float(), plain_lif(x.float(), 0.25, 0.5)[0])
    assert torch.equal(u_pre >= 0.5, o == 1)


def test_without_openmp_one_thread_does_the_work(monkeypatch) -> None:
    monkeypatch.setattr(lif_threads, "_openmp", dict)
    monkeypatch.setattr(lif_threads, "PARALLEL_FROM", 0)
    x = torch.randn(3, 5000)
    assert torch.equal(fused_lif(x, 0.25, 0.5)[0], plain_lif(x, 0.25, 0.5)[0])


def test_a_broken_numba_is_told_once_and_survived(monkeypatch) -> None:
    def broken() -> None:
        raise OSError("no LLVM")

    monkeypatch.setattr(lif_threads, "self_test", broken)
    module._numba.cache_clear()
    try:
        x = torch.randn(3, 50)
        with pytest.warns(UserWarning, match="no LLVM"):
            o, _ = fused_lif(x, 0.25, 0.5)
        assert torch.equal(o, plain_lif(x, 0.25, 0.5)[0])
    finally:
        module._numba.cache_clear()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile on the CPU needs a C++ compiler (g++)")
def test_the_torch_path_compiles() -> None:
    torch.manual_seed(0)
    forward, backward = module.compiled(forward_in_torch), module.compiled(backward_in_torch)
    for neurons in (1000, 777):
        x, g_o = torch.randn(3, neurons), torch.randn(3, neurons)
        o, u_pre = forward(x, 0.25, 0.5, 0.0, 0.0, True)
        p, v = plain_lif(x, 0.25, 0.5)
        # The compiler fuses u·τ + x into one rounding: equal but for the last bit.
        assert torch.allclose(u_pre, v, rtol=1e-6, atol=1e-7)
        assert (o == p).float().mean() > 0.999
        g_x = backward(u_pre, g_o, None, 0.25, 0.5, "tanh", False)
        expected = backward_in_torch(u_pre, g_o, None, 0.25, 0.5, "tanh", False)
        assert torch.allclose(g_x, expected, rtol=1e-5, atol=1e-6)
