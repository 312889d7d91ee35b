"""tdBN against Eq. 6-7 and torch's BatchNorm."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from neurodeploy.diagnostics import UsageError
from neurodeploy.nn.tdbn import TdBatchNorm


@pytest.mark.parametrize("shape", [(4, 6, 3, 5, 5), (4, 6, 3)])
def test_training_is_the_formula(shape) -> None:
    torch.manual_seed(0)
    x = torch.randn(shape, dtype=torch.float64) * 3 + 1
    norm = TdBatchNorm(3, alpha=0.7, v_threshold=0.4).double()
    norm.weight.data.uniform_(0.5, 2)
    norm.bias.data.normal_()
    axes = [0, 1, *range(3, x.dim())]
    view = [1, 1, 3] + [1] * (x.dim() - 3)
    mean = x.mean(axes, keepdim=True)
    variance = (x - mean).square().mean(axes, keepdim=True)
    normed = 0.7 * 0.4 * (x - mean) / (variance + 1e-5).sqrt()
    expected = norm.weight.view(view) * normed + norm.bias.view(view)
    # float64 sums of 600 numbers: a few hundred roundings of 1e-16.
    assert torch.allclose(norm(x), expected, atol=1e-12)
    assert torch.allclose(norm.running_mean, 0.1 * mean.flatten())
    assert torch.allclose(norm.running_var, 0.9 + 0.1 * variance.flatten())


def test_evaluation_uses_the_running_statistics() -> None:
    norm = TdBatchNorm(2, v_threshold=0.5).double().eval()
    norm.running_mean.copy_(torch.tensor([1.0, -2.0]))
    norm.running_var.copy_(torch.tensor([4.0, 0.25]))
    y = norm(torch.tensor([3.0, -2.0], dtype=torch.float64).view(1, 1, 2))
    assert y.flatten().tolist() == pytest.approx([0.5 * 2 / (4 + 1e-5) ** 0.5, 0.0])


def test_output_has_standard_deviation_alpha_times_threshold() -> None:
    torch.manual_seed(0)
    y = TdBatchNorm(4, alpha=1.0, v_threshold=0.5)(torch.randn(4, 32, 4, 8, 8) * 7)
    assert y.std((0, 1, 3, 4), correction=0).tolist() == pytest.approx([0.5] * 4, rel=1e-4)


def test_repetition_over_time_changes_nothing() -> None:
    torch.manual_seed(0)
    once, repeated = TdBatchNorm(3).double(), TdBatchNorm(3).double()
    x = torch.randn(1, 8, 3, 4, 4, dtype=torch.float64)
    assert torch.allclose(once(x).expand(4, -1, -1, -1, -1), repeated(x.expand(4, -1, -1, -1, -1)), atol=1e-12)
    assert torch.allclose(once.running_var, repeated.running_var)


def test_gradient() -> None:
    torch.manual_seed(0)
    norm = TdBatchNorm(2).double()
    x = torch.randn(2, 3, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(norm, (x,))


def test_one_value_per_channel_is_refused_in_training() -> None:
    """Its norm would be β whatever the value is: nothing behind it could learn."""
    norm = TdBatchNorm(3)
    with pytest.raises(UsageError, match="one value per channel") as caught:
        norm(torch.randn(1, 1, 3))
    assert (caught.value.code, caught.value.where) == ("ND102", "data.batch")
    assert norm.eval()(torch.ones(1, 1, 3)).shape == (1, 1, 3)


def test_channels_last_stays_channels_last() -> None:
    torch.manual_seed(0)
    x = torch.randn(8, 3, 4, 4)
    norm, other = TdBatchNorm(3), TdBatchNorm(3)
    y = norm(x.to(memory_format=torch.channels_last).unflatten(0, (2, 4)))
    assert y.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(y, other(x.unflatten(0, (2, 4))), atol=1e-6)
    assert torch.allclose(norm.running_var, other.running_var, rtol=1e-6)


def test_bfloat16_input_has_float32_statistics() -> None:
    torch.manual_seed(0)
    x = (torch.randn(2, 8, 3, 4, 4) * 2 + 1).bfloat16()
    norm, exact = TdBatchNorm(3), TdBatchNorm(3)
    y = norm(x.requires_grad_())
    expected = exact(x.detach().float())
    assert y.dtype == torch.bfloat16
    assert norm.running_var.dtype == torch.float32
    assert torch.allclose(norm.running_var, exact.running_var, rtol=1e-5)
    # One rounding to 8 bits.
    assert torch.allclose(y.float(), expected, rtol=2.0**-7, atol=1e-3)
    y.float().square().sum().backward()
    assert norm.weight.grad is not None
    assert norm.weight.grad.dtype == torch.float32
    assert x.grad is not None
    assert x.grad.dtype == torch.bfloat16


def batch(rank: int | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Input and gradient of the output: 5 samples for rank 0, 2 for rank 1, all for None."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 7, 4, 5, 5, generator=generator) * 3 + 2
    g = torch.randn(x.shape, generator=generator)
    part = slice(None) if rank is None else (slice(0, 5), slice(5, 7))[rank]
    return x[:, part], g[:, part]


def one_step(rank: int | None) -> dict[str, torch.Tensor]:
    norm = TdBatchNorm(4, alpha=0.8)
    norm.weight.data.copy_(torch.tensor([0.5, 1.0, 2.0, -1.0]))
    norm.bias.data.copy_(torch.tensor([0.1, 0.0, -0.1, 1.0]))
    x, g = batch(rank)
    x = x.clone().requires_grad_()
    y = norm(x)
    y.backward(g)
    assert x.grad is not None
    assert norm.weight.grad is not None
    assert norm.bias.grad is not None
    return {
        "y": y.detach(), "x": x.grad, "weight": norm.weight.grad, "bias": norm.bias.grad,
        "running_mean": norm.running_mean, "running_var": norm.running_var,
    }  # fmt: skip


def a_rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    try:
        torch.save(one_step(rank), f"{folder}/{rank}.pt")
    finally:
        dist.destroy_process_group()


def test_two_ranks_are_one_process_with_both_batches(tmp_path: Path) -> None:
    # A module of its own name, so that the spawned processes can import it.
    script = tmp_path / "ranks_of_tdbn.py"
    script.write_text(Path(__file__).read_text(encoding="utf-8"), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), str(tmp_path)])}
    code = "import sys; from ranks_of_tdbn import a_rank; a_rank(int(sys.argv[1]), sys.argv[2])"
    command = [sys.executable, "-c", code]
    ranks = [subprocess.Popen([*command, str(rank), str(tmp_path)], env=environment) for rank in range(2)]
    assert [rank.wait(timeout=120) for rank in ranks] == [0, 0]
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    one = one_step(None)

    def close(mine: torch.Tensor, theirs: torch.Tensor) -> bool:
        return bool((mine - theirs).abs().max() <= 1e-6 * theirs.abs().max())

    for name in ("y", "x"):
        assert close(torch.cat([first[name], second[name]], 1), one[name]), name
    for name in ("weight", "bias"):
        assert close(first[name] + second[name], one[name]), name
    for name in ("running_mean", "running_var"):
        assert torch.equal(first[name], second[name])
        assert close(first[name], one[name]), name
