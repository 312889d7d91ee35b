"""The evaluation against plain recomputation in one batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from neurodeploy.config.recipe import load_recipe
from neurodeploy.data import Dataset, load
from neurodeploy.nn.lif import record_lifs
from neurodeploy.nn.nets import build
from neurodeploy.training.distributed import World
from neurodeploy.training.evaluate import evaluate


def test_against_numpy() -> None:
    torch.manual_seed(0)
    model = build(load_recipe("digits/conv-vanilla", ["net.width=4"]))
    dataset = load("digits", "test")
    result = evaluate(model, dataset)
    assert model.training, "the mode is restored"
    model.eval()
    with torch.no_grad(), record_lifs(model) as records:
        u_TBN = model(torch.from_numpy(dataset.x).unsqueeze(0)).double().numpy()
    assert result.accuracy == (u_TBN[-1].argmax(1) == dataset.y).mean()
    mean = u_TBN[-1] / 4
    log_softmax = mean - np.log(np.exp(mean).sum(1, keepdims=True))
    # float32 logits and a float32 mean of the batch: six digits.
    assert result.loss == pytest.approx(-log_softmax[np.arange(360), dataset.y].mean(), rel=1e-5)
    assert [layer["name"] for layer in result.layers] == ["lif1", "lif2", "lif3"]
    spikes = elements = 0
    for layer, record in zip(result.layers, records.values(), strict=True):
        u, o = record.u_pre_T.double().numpy(), record.o_T.double().numpy()
        assert layer["quantization_error"] == pytest.approx(((o - u) ** 2).mean(), rel=1e-6)
        assert layer["firing_rate"] == o.mean()
        assert layer["firing_rate_per_timestep"] == pytest.approx([o[t].mean() for t in range(4)])
        histogram = layer["membrane_histogram"]
        assert sum(histogram["counts"]) + histogram["below"] + histogram["above"] == u.size
        assert len(histogram["counts"]) == 60
        counts, _ = np.histogram(u, 60, (-1, 2))
        # a float32 value within one rounding of a bin's edge may fall on either side
        assert np.abs(counts - histogram["counts"]).sum() <= u.size // 10_000
        spikes, elements = spikes + o.sum(), elements + o.size
    assert result.firing_rate == spikes / elements
    errors = [layer["quantization_error"] for layer in result.layers]
    assert result.quantization_error == pytest.approx(sum(errors) / 3)


@dataclass
class Part:
    """Some samples of a dataset, as one."""

    whole: Dataset
    first: int
    last: int
    temporal: bool = False

    @property
    def y(self) -> np.ndarray:
        return self.whole.y[self.first : self.last]

    def __len__(self) -> int:
        return self.last - self.first

    def batch(self, indices: np.ndarray, **how: object) -> np.ndarray:
        return self.whole.batch(indices + self.first, **how)


def test_uneven_last_batch_counts_by_samples() -> None:
    torch.manual_seed(0)
    model = build(load_recipe("digits/mlp-vanilla", ["net.width=8"]))
    whole = load("digits", "test")
    first, second = (evaluate(model, Part(whole, *ends)) for ends in ((0, 256), (256, 360)))
    both = evaluate(model, whole)
    assert both.accuracy == pytest.approx((256 * first.accuracy + 104 * second.accuracy) / 360)
    assert both.loss == pytest.approx((256 * first.loss + 104 * second.loss) / 360)


def test_processes_share_blocks_and_change_no_bit(monkeypatch) -> None:
    """Each of three processes evaluates its blocks; what they gather is what one process finds."""
    monkeypatch.setattr("neurodeploy.training.evaluate.BATCH", 50)
    torch.manual_seed(0)
    model = build(load_recipe("digits/mlp-vanilla", ["net.width=8"]))
    whole = load("digits", "test")
    given = []

    class Listening(World):
        def gather(self, value):
            given.append(value)
            return [value]

    for rank in range(3):
        evaluate(model, whole, world=Listening(rank, 3))
    assert [sorted(part) for part in given] == [[0, 3, 6], [1, 4, 7], [2, 5]]

    class Gathering(World):
        def gather(self, value):
            return given

    assert evaluate(model, whole, world=Gathering(1, 3)) == evaluate(model, whole)


def test_the_exponent_of_the_error() -> None:
    torch.manual_seed(0)
    model = build(load_recipe("digits/mlp-vanilla", ["net.width=8"]))
    whole = Part(load("digits", "test"), 0, 100)
    squared, absolute = evaluate(model, whole), evaluate(model, whole, p=1.0)
    with torch.no_grad(), record_lifs(model.eval()) as records:
        model(torch.from_numpy(whole.batch(np.arange(100))).unsqueeze(0))
    expected = [float((r.o_T - r.u_pre_T).abs().double().mean()) for r in records.values()]
    assert absolute.quantization_error == pytest.approx(sum(expected) / 2, rel=1e-6)
    assert squared.quantization_error != absolute.quantization_error


def test_a_bin_counts_beyond_float32() -> None:
    """torch.histc alone stops at 2^24: a sum of the counts would be too small."""
    from neurodeploy.training.evaluate import _histogram

    counts = _histogram(torch.full((2**24 + 2**23,), 0.26))
    assert counts.sum() == 2**24 + 2**23
    assert counts.max() == counts.sum()
