"""The nets: parameter counts, names, wiring, options, and the sizes they refuse."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from small_nets import CIFAR, inputs_of, recipe, settled, small
from torch import fx, nn

from neurodeploy.config.recipe import load_recipe
from neurodeploy.config.recipe_sections import Net
from neurodeploy.diagnostics import UsageError
from neurodeploy.nn.layers import Conv2d, Linear, ReLU
from neurodeploy.nn.lif import LIF, Integrator, record_lifs
from neurodeploy.nn.nets import build, build_for, parameter_count
from neurodeploy.nn.nets.table import NETS
from neurodeploy.nn.tdbn import TdBatchNorm

DVS, IMAGENET = (2, 48, 48), (3, 224, 224)


class Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return not any(m.children())


@pytest.mark.parametrize(("name", "lifs"), [("digits/conv-rmp", 3), ("digits/mlp-rmp", 2)])
def test_net(name, lifs) -> None:
    torch.manual_seed(0)
    model = build(load_recipe(name)).eval()
    x = torch.randn(1, 5, 1, 8, 8)
    with record_lifs(model) as records:
        u_TBN = model(x)
    assert u_TBN.shape == (4, 5, 10)
    assert list(records) == [f"lif{index + 1}" for index in range(lifs)]
    for record in records.values():
        assert record.u_pre_T.shape == record.o_T.shape
        assert torch.equal(record.o_T, (record.u_pre_T >= 0.5).float())
    # A static input repeated by hand is the same network.
    assert torch.allclose(model(x.expand(4, -1, -1, -1, -1)), u_TBN, atol=1e-5)


@pytest.mark.parametrize("name", ["digits/conv-rmp", "digits/mlp-rmp"])
def test_nets_trace_to_module_calls_only(name) -> None:
    graph = Tracer().trace(build(load_recipe(name)))
    assert {node.op for node in graph.nodes} == {"placeholder", "call_module", "output"}
    assert [node.target for node in graph.nodes][-2] == "readout"


@pytest.mark.parametrize("name", ["digits/conv-rmp", "digits/mlp-rmp"])
def test_initial_weights_of_the_digits_nets_are_pinned(name) -> None:
    """Seeded results of these nets are published: oracle is torch alone, in the order of the layers."""
    torch.manual_seed(3)
    weights = [p for key, p in build(load_recipe(name)).state_dict().items() if not key.startswith("norm")]
    torch.manual_seed(3)
    expected: list[torch.Tensor] = []
    if "conv" in name:
        for inputs, outputs in ((1, 12), (12, 24), (24, 24)):
            conv = nn.Conv2d(inputs, outputs, 3, bias=False)
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
            expected.append(conv.weight)
        fc = nn.Linear(96, 10)
    else:
        expected += [nn.Linear(64, 128, bias=False).weight, nn.Linear(128, 128, bias=False).weight]
        fc = nn.Linear(128, 10)
    expected += [fc.weight, fc.bias]
    assert len(weights) == len(expected)
    assert all(torch.equal(a, b) for a, b in zip(weights, expected, strict=True))


def test_parameter_count_of_the_shipped_conv_net() -> None:
    expected = 9 * 8 + 2 * 8 + 8 * 16 * 9 + 2 * 16 + 16 * 16 * 9 + 2 * 16 + 64 * 10 + 10
    assert parameter_count(build(load_recipe("digits/conv-vanilla", ["net.width=8"]))) == expected


TET = {"stem": 64, "head": "fc256"}


@pytest.mark.parametrize(
    ("what", "name", "net", "shape", "classes", "count"),
    [
        ("the papers' ResNet20 on CIFAR-10", "resnet20", {}, CIFAR, 10, 11_247_946),
        ("the papers' ResNet20 on CIFAR-100", "resnet20", {}, CIFAR, 100, 11_294_116),
        ("the papers' ResNet20 on CIFAR10-DVS: two input channels", "resnet20", {}, DVS, 10, 11_247_370),
        ("the papers' ResNet19 on CIFAR-10", "resnet19", {}, CIFAR, 10, 12_569_226),
        ("the papers' ResNet19 on CIFAR-100", "resnet19", {}, CIFAR, 100, 12_615_396),
        ("ResNet19 of TET's code, CIFAR-10", "resnet19", TET, CIFAR, 10, 12_630_858),
        ("ResNet19 of TET's code, CIFAR-100", "resnet19", TET, CIFAR, 100, 12_653_988),
        ("ResNet19 of the tdBN paper, CIFAR-10", "resnet19", {"head": "fc256"}, CIFAR, 10, 12_697_994),
        ("ResNet19 of the tdBN paper, CIFAR-100", "resnet19", {"head": "fc256"}, CIFAR, 100, 12_721_124),
        ("the papers' VGG16 on CIFAR-10", "vgg16", {}, CIFAR, 10, 14_728_266),
        ("the papers' VGG16 on CIFAR-100", "vgg16", {}, CIFAR, 100, 14_774_436),
        ("ResNet18 on ImageNet (torchvision's has as many)", "resnet18", {}, IMAGENET, 1000, 11_689_512),
        ("ResNet34 on ImageNet (torchvision's has as many)", "resnet34", {}, IMAGENET, 1000, 21_797_672),
        # He's 0.27 M with a convolution and a norm in the two shortcuts that change shape: 269,722 without, and
        # 16·32 + 2·32 + 32·64 + 2·64 with.
        ("He's ResNet20", "resnet20-slim", {}, CIFAR, 10, 269_722 + 2_752),
    ],
)
def test_parameter_counts(what, name, net, shape, classes, count) -> None:
    with torch.device("meta"):
        assert parameter_count(build_for(recipe(name, net=net), shape, classes)) == count, what


def test_sew_and_ann_have_the_parameters_of_the_net_they_stand_for() -> None:
    ann = {"timesteps": 1, "neuron": {"kind": "relu"}, "norm": {"kind": "batchnorm"}}
    with torch.device("meta"):
        for tables in ({"net": {"block": "sew"}}, ann, {"repact": True}):
            assert parameter_count(build_for(recipe("resnet20", **tables), CIFAR, 10)) == 11_247_946


def test_every_name_of_the_recipe_has_an_entry() -> None:
    assert set(get_args(Net.model_fields["name"].annotation)) == set(NETS)


def test_width_0_is_the_published_form_and_other_widths_scale() -> None:
    def channels(name: str, width: int) -> list[int]:
        with torch.device("meta"):
            model = build_for(recipe(name, net={"width": width}), CIFAR, 10)
        return [m.out_channels for m in model.modules() if isinstance(m, Conv2d)]

    published = {"conv": 16, "resnet20": 64, "resnet20-slim": 16, "resnet19": 128, "vgg16": 64, "resnet18": 64}
    for name, width in published.items():
        assert channels(name, 0) == channels(name, width)
        assert [2 * c for c in channels(name, 8)] == channels(name, 16)
    assert channels("vgg16", 0) == [64, 64, 128, 128, *[256] * 3, *[512] * 6]
    assert channels("resnet19", 0)[0::20] == [128]
    head = small("resnet19", net={"width": 8, "head": "fc256", "stem": 5})
    assert (head.head.in_features, head.head.out_features, head.fc.in_features) == (32, 16, 16)
    assert (head.conv1.out_channels, head.stage1.block1.conv1.in_channels) == (5, 5)
    assert isinstance(head.stage1.block1.shortcut, nn.Sequential)  # the stem differs: a shortcut where none was


FORMS = [
    ("conv", CIFAR, {}),
    ("mlp", CIFAR, {}),
    ("resnet20", CIFAR, {}),
    ("resnet20", DVS, {}),
    ("resnet20", CIFAR, {"block": "sew"}),
    ("resnet20-slim", (1, 28, 28), {}),
    ("resnet20-slim", (1, 9, 13), {}),
    ("resnet20-slim", CIFAR, {"block": "sew", "stem": 6}),
    ("resnet19", (3, 16, 16), {"head": "fc256"}),
    ("vgg16", CIFAR, {}),
    ("resnet18", (3, 33, 33), {}),
    ("resnet18", (3, 32, 32), {"stem_pool": "max"}),
    ("resnet34", (3, 64, 64), {"block": "sew"}),
]


@pytest.mark.parametrize(("name", "shape", "net"), FORMS, ids=lambda value: str(value))
@pytest.mark.parametrize("kind", ["lif", "repact", "relu"])
def test_every_net_in_every_form(name, shape, net, kind) -> None:
    if kind == "relu" and net.get("block") == "sew":
        return
    tables: dict[str, Any] = {"repact": True} if kind == "repact" else {}
    if kind == "relu":
        tables = {"timesteps": 1, "neuron": {"kind": "relu"}, "norm": {"kind": "batchnorm"}}
    model = small(name, shape, net=net, **tables)
    steps = 1 if kind == "relu" else 4
    x = torch.randn(1, 3, *shape)
    settled(model, x)
    with record_lifs(model) as records:
        u_TBN = model(x)
    assert u_TBN.shape == (steps, 3, 10)
    assert torch.allclose(model(x.expand(steps, -1, -1, -1, -1)), u_TBN, atol=1e-4)
    # The classifier is `fc`, the last Linear; what enters it is (T, B, F).
    assert isinstance(model.fc, Linear)
    assert [m for m in model.modules() if isinstance(m, nn.Linear)][-1] is model.fc
    assert isinstance(model.readout, Integrator)
    feature = inputs_of(model, "fc", x)
    assert feature.shape == (steps, 3, model.fc.in_features)
    assert torch.allclose(model.fc(feature).cumsum(0), u_TBN, atol=1e-5)
    # LIFs run in the order of their names in the model; every one of them is recorded.
    neurons = [key for key, m in model.named_modules() if isinstance(m, (LIF, ReLU))]
    lifs = [key for key, m in model.named_modules() if isinstance(m, LIF)]
    assert set(records) == set(lifs)
    assert len(lifs) == {"lif": len(neurons), "repact": len(neurons) - 1, "relu": 0}[kind]
    if net.get("block") != "sew":
        assert list(records) == lifs
    operations = {node.op for node in Tracer().trace(model).nodes}
    assert operations <= {"placeholder", "call_module", "call_function", "output"}


@pytest.mark.parametrize("name", ["conv", "mlp", "resnet20", "resnet20-slim", "resnet19", "vgg16", "resnet18"])
def test_the_ann_is_the_same_topology_with_relus(name) -> None:
    spiking = small(name)
    ann = small(name, timesteps=1, neuron={"kind": "relu"}, norm={"kind": "batchnorm"})
    assert list(ann.state_dict()) == list(spiking.state_dict())
    kinds = {key: type(m) for key, m in ann.named_modules()}
    for key, m in spiking.named_modules():
        assert kinds[key] is (ReLU if isinstance(m, LIF) else type(m))
    gains = {m.alpha * m.v_threshold for m in ann.modules() if isinstance(m, TdBatchNorm)}
    assert gains == {1.0}


@pytest.mark.parametrize("name", ["resnet20", "resnet19", "vgg16", "resnet34", "resnet20-slim"])
def test_initial_weights_of_the_papers_nets(name) -> None:
    torch.manual_seed(0)
    model = build_for(recipe(name, net={"width": 32}), CIFAR, 100)
    for key, m in model.named_modules():
        if isinstance(m, Conv2d):
            # The deviation of n samples has a standard error of 1/sqrt(2n); five of them.
            spread = 5 / (2 * m.weight.numel()) ** 0.5
            expected = (2 / (m.kernel_size[0] ** 2 * m.out_channels)) ** 0.5
            assert m.weight.std().item() == pytest.approx(expected, rel=spread), key
            assert (m.bias is not None) == (name == "vgg16")
            assert m.bias is None or not m.bias.any()
        if isinstance(m, TdBatchNorm):
            assert torch.equal(m.weight, torch.ones(m.num_features))  # no zero at the end of a block either
            assert not m.bias.any()
    assert model.fc.weight.std().item() == pytest.approx(1 / model.fc.in_features, rel=0.05)
    assert not model.fc.bias.any()


def test_no_norm_means_a_bias() -> None:
    for name in ("conv", "mlp", "resnet20", "vgg16"):
        model = small(name, norm={"kind": "none"})
        assert not any(isinstance(m, TdBatchNorm) for m in model.modules())
        assert all(m.bias is not None for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear)))
        assert model(torch.randn(1, 2, *CIFAR)).isfinite().all()


@pytest.mark.parametrize(
    ("name", "shape", "layer", "multiple"),
    [
        ("vgg16", (1, 8, 8), "pool4", 32),
        ("vgg16", DVS, "pool5", 32),
        ("resnet20", (1, 28, 28), "stage3.block1.shortcut.pool", 16),
        ("resnet20", (1, 8, 8), "stage4.block1.shortcut.pool", 16),
        ("resnet20", (1, 32, 31), "pool", 16),
        ("conv", (1, 34, 34), "pool3", 4),
    ],
)
def test_a_size_whose_rows_would_be_left_out_is_refused(name, shape, layer, multiple) -> None:
    with pytest.raises(UsageError, match=f"{name} does not take samples of {shape[1]}x{shape[2]}") as caught:
        build_for(recipe(name), shape, 10)
    assert caught.value.code == "ND102"
    assert f"`{layer}`" in caught.value.message
    assert f"multiples of {multiple} " in caught.value.fix
    side = multiple * -(-max(shape[1:]) // multiple)
    assert small(name, (shape[0], side, side))(torch.zeros(1, 1, shape[0], side, side)).shape == (4, 1, 10)


@pytest.mark.parametrize(
    ("key", "tables"),
    [
        ("norm.alpha", {"norm": {"kind": "batchnorm", "alpha": 0.5}}),
        ("norm.residual_alpha", {"norm": {"kind": "none", "residual_alpha": 0.5}}),
        ("norm.residual_alpha", {"net": {"block": "sew"}, "norm": {"residual_alpha": 0.5}}),
    ],
)
def test_an_alpha_without_effect_is_refused(key, tables) -> None:
    with pytest.raises(UsageError) as caught:
        build_for(recipe("resnet20", **tables), CIFAR, 10)
    assert (caught.value.code, caught.value.where) == ("ND102", key)
    with pytest.raises(UsageError, match="vgg16 has no residual add"):
        build_for(recipe("vgg16", norm={"residual_alpha": 0.5}), CIFAR, 10)


def test_options_of_the_neuron_reach_every_lif() -> None:
    model = small("resnet20", neuron={"tau": 0.5, "v_threshold": 0.75, "surrogate": "ste", "detach_reset": True})
    lifs = [m for m in model.modules() if isinstance(m, LIF)]
    assert len(lifs) == 3 + 2 * 8
    assert {(m.tau, m.v_threshold, m.surrogate, m.detach_reset) for m in lifs} == {(0.5, 0.75, "ste", True)}
    assert {m.v_threshold for m in model.modules() if isinstance(m, TdBatchNorm)} == {0.75}


def test_the_readout_is_float32_under_autocast() -> None:
    model = small("resnet20-slim")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        u_TBN = model(torch.randn(1, 2, *CIFAR))
    assert u_TBN.dtype == torch.float32
