"""The nets: shapes, names, tracing, and the layers in time."""

from __future__ import annotations

import pytest
import torch
from torch import fx, nn

from neurodeploy.config.recipe import load_recipe
from neurodeploy.nn.layers import AvgPool2d, Conv2d, Repeat
from neurodeploy.nn.lif import record_lifs
from neurodeploy.nn.nets import build, parameter_count


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


def test_parameter_count_of_the_shipped_conv_net() -> None:
    recipe = load_recipe("digits/conv-vanilla", ["net.width=8"])
    expected = 9 * 8 + 2 * 8 + 8 * 16 * 9 + 2 * 16 + 16 * 16 * 9 + 2 * 16 + 64 * 10 + 10
    assert parameter_count(build(recipe)) == expected


def test_layers_act_on_each_step() -> None:
    torch.manual_seed(0)
    conv, pool = Conv2d(2, 3, 3, padding=1).double(), AvgPool2d(2)
    x = torch.randn(4, 5, 2, 6, 6, dtype=torch.float64)
    y = pool(conv(x))
    assert conv.bias is None
    for t in range(4):
        step = nn.functional.avg_pool2d(nn.functional.conv2d(x[t], conv.weight, padding=1), 2)
        assert torch.allclose(y[t], step, atol=1e-12)


def test_repeat_refuses_another_number_of_steps() -> None:
    assert Repeat(4)(torch.zeros(1, 2, 3)).shape == (4, 2, 3)
    with pytest.raises(ValueError, match="3 steps"):
        Repeat(4)(torch.zeros(3, 2, 3))
