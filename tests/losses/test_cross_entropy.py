"""Cross-entropy on the readout's mean or sum."""

from __future__ import annotations

import math

import pytest
import torch

from neurodeploy.losses.cross_entropy import cross_entropy, logits


def test_mean_and_sum_differ_by_the_factor_t_in_the_logits() -> None:
    u_TBN = torch.tensor([[[1.0, 0.0]], [[2.0, 0.0]]], dtype=torch.float64)
    assert logits(u_TBN, "sum_logits").tolist() == [[2.0, 0.0]]
    assert logits(u_TBN, "mean_logits").tolist() == [[1.0, 0.0]]
    label = torch.tensor([0])
    assert cross_entropy(u_TBN, label).item() == pytest.approx(math.log(1 + math.exp(-1)))
    assert cross_entropy(u_TBN, label, "sum_logits").item() == pytest.approx(math.log(1 + math.exp(-2)))
