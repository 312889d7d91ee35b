"""Inputs: what is refused before anything runs."""

import numpy as np
import pytest

from neurodeploy.diagnostics import UsageError
from neurodeploy.ir.nodes import Input
from neurodeploy.sim.inputs import check_inputs


def refusal(x, y=None, values="real", **how):
    with pytest.raises(UsageError) as caught:
        check_inputs(x, y, Input((2, 3), values), how.pop("timesteps", None), how.pop("known", 4), **how)
    return caught.value


def test_static_and_temporal():
    static = check_inputs(np.ones((5, 2, 3)), None, Input((2, 3)), None, 4)
    assert (static.static, static.timesteps, static.x.shape) == (True, 4, (5, 1, 2, 3))
    moving = check_inputs(np.ones((5, 7, 2, 3)), None, Input((2, 3)), None, 4)
    assert (moving.static, moving.timesteps) == (False, 7)


def test_more_than_float32_can_hold_is_refused_unless_the_run_is_double():
    assert refusal(np.full((1, 2, 3), 1e300)).code == "ND108"
    check_inputs(np.full((1, 2, 3), 1e300), None, Input((2, 3)), None, 4, double=True)


@pytest.mark.parametrize(
    ("labels", "words"), [([-1], "from -1"), ([3], "3 outputs"), ([0, 1], "shape (2,)"), ([0.5], "float")]
)
def test_labels_must_be_classes_of_the_network(labels, words):
    error = refusal(np.ones((1, 2, 3)), np.array(labels), classes=3)
    assert error.code == "ND105"
    assert words in error.message


def test_nothing_says_the_timesteps():
    assert refusal(np.ones((1, 2, 3)), known=None).code == "ND118"
