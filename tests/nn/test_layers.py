"""The layers in time: each step alone, borders of pools, memory order, precision of the classifier."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from neurodeploy.diagnostics import UsageError
from neurodeploy.nn.layers import AvgPool2d, Classifier, Conv2d, Flatten, MaxPool2d, ReLU, Repeat
from neurodeploy.nn.lif import Integrator
from neurodeploy.nn.tdbn import TdBatchNorm


def test_layers_act_on_each_step() -> None:
    torch.manual_seed(0)
    conv, pool = Conv2d(2, 3, 3, padding=1).double(), AvgPool2d(2)
    x = torch.randn(4, 5, 2, 6, 6, dtype=torch.float64)
    y = pool(conv(x))
    assert conv.bias is None
    for t in range(4):
        step = functional.avg_pool2d(functional.conv2d(x[t], conv.weight, padding=1), 2)
        assert torch.allclose(y[t], step, atol=1e-12)


def test_initial_weights_of_a_convolution() -> None:
    torch.manual_seed(0)
    conv = Conv2d(64, 50, 3, bias=True)
    # 28,800 samples: the standard error of the deviation is 0.4 %.
    assert conv.weight.std().item() == pytest.approx((2 / (9 * 50)) ** 0.5, rel=0.02)
    assert not conv.bias.any()


def test_padded_pools_at_the_border() -> None:
    """A 4x4 map of ones: the corner window of AvgPool2d(3, 2, 1) holds 4 ones and 5 counted zeros."""
    average = AvgPool2d(3, 2, 1)(torch.ones(1, 1, 1, 4, 4))
    assert torch.allclose(average[0, 0, 0], torch.tensor([[4.0, 6.0], [6.0, 9.0]]) / 9)
    lowest = MaxPool2d(3, 2, 1)(-torch.ones(1, 1, 1, 4, 4))
    assert torch.equal(lowest, -torch.ones(1, 1, 1, 2, 2))


def test_pools_take_oblong_windows() -> None:
    x = torch.randn(2, 1, 3, 4, 6)
    assert torch.allclose(AvgPool2d((4, 6))(x)[..., 0, 0], x.mean((3, 4)), atol=1e-6)


@given(st.integers(1, 12), st.integers(1, 4), st.integers(1, 4), st.integers(0, 2))
def test_a_pool_refuses_exactly_the_sizes_whose_rows_it_would_not_see(side, kernel, stride, padding) -> None:
    """Oracle: the rows that some window of torch's size formula covers."""
    if 2 * padding > kernel or stride > kernel:
        return  # torch refuses the first; the second leaves gaps between windows on purpose (no net has it)
    pool = AvgPool2d(kernel, stride, padding)
    windows = (side + 2 * padding - kernel) // stride + 1
    seen = {row for w in range(windows) for row in range(w * stride - padding, w * stride - padding + kernel)}
    size = (side, side)
    assert pool.leaves_out(size) == (not set(range(side)) <= seen)
    x = torch.zeros(1, 1, 1, *size)
    if pool.leaves_out(size):
        with pytest.raises(UsageError, match=rf"AvgPool2d\(kernel_size={kernel}.*{side}x{side}") as caught:
            pool(x)
        assert caught.value.code == "ND105"
    else:
        assert tuple(pool(x).shape[3:]) == pool.output_size(size)


def is_channels_last(x_TBCHW: torch.Tensor) -> bool:
    """Whether flatten(0, 1) is a view in channels_last order."""
    flat = x_TBCHW.flatten(0, 1)
    return flat.data_ptr() == x_TBCHW.data_ptr() and flat.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    "layer",
    [
        Conv2d(4, 6, 3, padding=1),
        Conv2d(4, 6, 1, stride=2),
        AvgPool2d(2),
        AvgPool2d(3, 2, 1),
        MaxPool2d(3, 2, 1),
        ReLU(),
        Repeat(3),
    ],
    ids=repr,
)
def test_layers_keep_channels_last_without_a_copy(layer) -> None:
    flat = torch.randn(6, 4, 8, 8).to(memory_format=torch.channels_last)
    x = flat.unflatten(0, (3, 2))
    assert is_channels_last(x)
    y = layer.to(memory_format=torch.channels_last)(x)
    assert y.shape[:2] == (3, 2)
    assert is_channels_last(y)
    assert is_channels_last(y + y.clone())
    contiguous = layer.to(memory_format=torch.contiguous_format)(x.contiguous())
    assert torch.allclose(y, contiguous, atol=1e-6)
    assert torch.equal(Flatten()(y), y.contiguous().flatten(2))


def test_repeat_refuses_another_number_of_steps() -> None:
    assert Repeat(4)(torch.zeros(1, 2, 3)).shape == (4, 2, 3)
    with pytest.raises(ValueError, match="3 steps"):
        Repeat(4)(torch.zeros(3, 2, 3))


def test_classifier_and_readout_stay_in_float32_under_autocast() -> None:
    torch.manual_seed(0)
    fc, readout = Classifier(64, 10), Integrator()
    x = torch.randn(4, 2, 64, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert nn.Linear(64, 10)(x).dtype == torch.bfloat16  # what it would be
        y = fc(x)
        u = readout(y)
        from_bf16 = fc(x.bfloat16())
    assert y.dtype == u.dtype == from_bf16.dtype == torch.float32
    assert torch.equal(y, functional.linear(x, fc.weight, fc.bias))
    assert torch.equal(u[-1], ((y[0] + y[1]) + y[2]) + y[3])
    u.sum().backward()
    assert x.grad is not None
    assert fc.double()(x.double()).dtype == torch.float64


def test_batchnorm_is_tdbn_with_gain_one() -> None:
    """In an ANN (T = 1) it is torch's BatchNorm2d, but for the running variance, which is biased here."""
    torch.manual_seed(0)
    ours, theirs = TdBatchNorm(3, 1.0, 1.0).double(), nn.BatchNorm2d(3).double()
    x = torch.randn(1, 4, 3, 5, 5, dtype=torch.float64) * 3 + 1
    assert torch.allclose(ours(x)[0], theirs(x[0]), atol=1e-12)
    assert torch.allclose(ours.running_mean, theirs.running_mean, atol=1e-12)
    unbiased = (ours.running_var - 0.9) * 100 / 99 + 0.9
    assert torch.allclose(unbiased, theirs.running_var, atol=1e-12)
