"""What enters the classifier, recorded."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from neurodeploy.config.recipe import load_recipe
from neurodeploy.nn.features import record_features
from neurodeploy.nn.nets import build


@pytest.fixture
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    return build(load_recipe("digits/mlp-vanilla", ["net.width=8", "timesteps=3"]))


def test_the_classifier_of_the_feature_is_the_readout(model: torch.nn.Module) -> None:
    x = torch.randn(1, 5, 1, 8, 8)
    with record_features(model) as feature_TBF:
        u_TBN = model(x)
    h = feature_TBF()
    assert h.shape == (3, 5, 8)
    fc = model.get_submodule("fc")
    torch.testing.assert_close(functional.linear(h, fc.weight, fc.bias).cumsum(0), u_TBN)


def test_latest_forward_with_its_gradient(model: torch.nn.Module) -> None:
    with record_features(model) as feature_TBF:
        model(torch.randn(1, 5, 1, 8, 8))
        model(torch.randn(1, 2, 1, 8, 8))
        assert feature_TBF().shape == (3, 2, 8)
    first = next(model.parameters())
    (gradient,) = torch.autograd.grad(feature_TBF().sum(), first)
    assert gradient.abs().sum() > 0


def test_without_gradient_and_without_forward(model: torch.nn.Module) -> None:
    with record_features(model) as feature_TBF:
        with pytest.raises(AssertionError, match="no forward"):
            feature_TBF()
        with torch.no_grad():
            model(torch.randn(1, 2, 1, 8, 8))
        assert not feature_TBF().requires_grad


def test_nothing_is_left_on_the_model(model: torch.nn.Module) -> None:
    with pytest.raises(RuntimeError, match="stop"), record_features(model):
        raise RuntimeError("stop")
    assert not model.get_submodule("fc")._forward_pre_hooks
