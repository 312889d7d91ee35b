"""Residual blocks, their SEW form, RepAct: what they compute, against torch's functions."""

from __future__ import annotations

import torch
from small_nets import CIFAR, inputs_of, settled, small
from torch.nn import functional

from neurodeploy.nn.layers import AvgPool2d, Conv2d, MaxPool2d, ReLU
from neurodeploy.nn.lif import LIF
from neurodeploy.nn.tdbn import TdBatchNorm


def test_alpha_of_the_norms_that_end_in_a_residual_add() -> None:
    def alphas(where: str, block: str = "basic", residual: float = 0.5) -> dict[str, float]:
        norm = {"alpha": 2.0, "residual_alpha": residual, "residual_where": where}
        model = small("resnet20-slim", norm=norm, net={"block": block})
        return {key: m.alpha for key, m in model.named_modules() if isinstance(m, TdBatchNorm)}

    every, some = alphas("all"), alphas("downsample")
    ends = [f"stage{s}.block{b}.norm2" for s in (1, 2, 3) for b in (1, 2, 3)]
    shortcuts = [f"stage{s}.block1.shortcut.norm" for s in (2, 3)]
    assert {key for key, alpha in every.items() if alpha == 0.5} == {*ends, *shortcuts}
    changing = {"stage2.block1.norm2", "stage3.block1.norm2", *shortcuts}
    assert {key for key, alpha in some.items() if alpha == 0.5} == changing
    assert set(every.values()) == set(some.values()) == {0.5, 2.0}
    # In a SEW block a neuron stands between norm and add; residual_alpha is refused below, 1.0 does not count.
    assert set(alphas("all", "sew", residual=1.0).values()) == {2.0}


def test_a_basic_block_is_the_equation_of_the_papers() -> None:
    """LIF(norm(conv(LIF(norm(conv(x))))) + norm(conv1x1(avgpool(x)))), with functions of torch on each side."""
    block = small("resnet20").double().stage2.block1
    s = (torch.rand(4, 2, 4, 8, 8) > 0.5).double()
    settled(block, s)

    def synapse(conv: Conv2d, norm: TdBatchNorm, x: torch.Tensor) -> torch.Tensor:
        y = functional.conv2d(x.flatten(0, 1), conv.weight, stride=conv.stride, padding=conv.padding)
        mean, deviation = norm.running_mean.view(-1, 1, 1), (norm.running_var + 1e-5).sqrt().view(-1, 1, 1)
        return (0.5 * (y - mean) / deviation).unflatten(0, x.shape[:2])  # α·V_th = 1/2, λ = 1, β = 0

    def lif(x: torch.Tensor) -> torch.Tensor:
        u, out = torch.zeros_like(x[0]), []
        for x_t in x:
            u = 0.25 * u + x_t
            out.append((u >= 0.5).double())
            u = u * (1 - out[-1])
        return torch.stack(out)

    main = synapse(block.conv2, block.norm2, lif(synapse(block.conv1, block.norm1, s)))
    averaged = functional.avg_pool2d(s.flatten(0, 1), 2).unflatten(0, (4, 2))
    assert block.shortcut.conv.stride == (1, 1)
    expected = lif(main + synapse(block.shortcut.conv, block.shortcut.norm, averaged))
    assert 0.05 < expected.mean() < 0.95
    assert torch.equal(block(s), expected)


def test_sew_blocks_add_spikes_and_basic_blocks_stay_binary() -> None:
    x = torch.randn(1, 4, *CIFAR)
    values = {}
    for form in ("basic", "sew"):
        model = settled(small("resnet20-slim", net={"block": form}), x)
        values[form] = set(inputs_of(model, "stage3.block3.conv1", x).unique().tolist())
    assert values["basic"] == {0.0, 1.0}
    assert {0.0, 1.0, 2.0, 3.0} == values["sew"]  # stage3.block1's lif + its shortcut's lif, then block2's


def test_repact_is_the_relu_of_the_last_pre_activation() -> None:
    x = torch.randn(1, 3, *CIFAR)
    resnet = settled(small("resnet20", repact=True), x)
    block = resnet.stage4.block2
    seen: dict[str, torch.Tensor] = {}
    block.norm2.register_forward_hook(lambda module, args, output: seen.update(norm=output))
    block.register_forward_pre_hook(lambda module, args: seen.update(shortcut=args[0]))
    feature = inputs_of(resnet, "fc", x)
    expected = functional.relu(seen["norm"] + seen["shortcut"]).mean((3, 4))
    assert torch.allclose(feature, expected, atol=1e-6)
    assert ((feature * 4) % 1 != 0).any()  # not spikes, whose mean over 2x2 is a multiple of 1/4
    vgg = settled(small("vgg16", repact=True), x)
    vgg.norm13.register_forward_hook(lambda module, args, output: seen.update(vgg=output))
    feature = inputs_of(vgg, "fc", x)
    assert feature.any()
    assert torch.allclose(feature, functional.relu(seen["vgg"]).mean((3, 4)), atol=1e-6)
    head = small("resnet19", (3, 16, 16), repact=True, net={"head": "fc256"})
    assert isinstance(head.head_lif, ReLU)
    assert isinstance(head.stage3.block2.lif2, LIF)


def test_stem_pool() -> None:
    assert isinstance(small("resnet18").pool, AvgPool2d)
    assert isinstance(small("resnet18", net={"stem_pool": "max"}).pool, MaxPool2d)
