"""What Lava itself does, without a word, with numbers it cannot hold: printed as JSON for test_traps.py.

Run by Lava's Python; nothing of neurodeploy. One-hot spikes read a synapse's weights back as Lava uses them.
"""

from __future__ import annotations

import json
import warnings

import numpy as np
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.proc.conv.process import Conv
from lava.proc.dense.process import Dense
from lava.proc.io.sink import RingBuffer as Sink
from lava.proc.io.source import RingBuffer as Source
from lava.proc.lif.process import LIF
from lava.utils.weightutils import SignMode

warnings.simplefilter("ignore")


def dense(weights: list[int], **options) -> Dense:
    return Dense(weights=np.array([weights]), **options)


def as_used() -> dict:
    """Four weights each, read back by one-hot spikes."""
    found = {
        "even": dense([254, -254, 2, 0], num_weight_bits=8, sign_mode=SignMode.MIXED),
        "odd": dense([253, -255, 127, -1], num_weight_bits=8, sign_mode=SignMode.MIXED),
        # Nine bits do not exist on the chip; Lava takes them, and lava-dl's netx asks for them.
        "odd-nine-bits": dense([253, -255, 127, -1], num_weight_bits=9, sign_mode=SignMode.MIXED),
        "large": dense([300, -300, 0, 2], num_weight_bits=8, sign_mode=SignMode.MIXED),
        "excitatory": dense([300, 1, 2, 3]),
        "non-positive": dense([-199, 0, -7, -1], num_weight_bits=9),
        "non-positive-told": dense([-199, 0, -7, -1], num_weight_bits=9, sign_mode=SignMode.MIXED),
        "fraction": Dense(weights=np.array([[1.99, -1.99, 0.5, 3.0]]), num_weight_bits=9, sign_mode=SignMode.MIXED),
    }
    source, steps = Source(data=np.eye(4, dtype=np.int32)), 6
    sinks = {}
    for name, process in found.items():
        sinks[name] = Sink(shape=(1,), buffer=steps)
        source.s_out.connect(process.s_in)
        process.a_out.connect(sinks[name].a_in)
    source.run(condition=RunSteps(num_steps=steps), run_cfg=Loihi2SimCfg(select_tag="fixed_pt"))
    weights = {name: sink.data.get()[0, 1:5].astype(int).tolist() for name, sink in sinks.items()}
    source.stop()
    return weights


def convolutions() -> dict:
    """The largest sum of convolutions of one pixel; all inputs spike, one with a payload of 3."""
    found = {}
    for groups in (127, 128):
        ones = np.full((groups, 1, 1, 1), 6)
        found[f"groups-{groups}"] = Conv(weight=ones, input_shape=(1, 1, groups), groups=groups), np.ones(groups)
    fraction = np.full((1, 1, 1, 1), 1.99)
    found["fraction-and-graded"] = Conv(weight=fraction, input_shape=(1, 1, 1)), np.full(1, 3)
    sums = {}
    for name, (process, data) in found.items():
        source = Source(data=data.reshape(1, 1, -1, 1).astype(np.int32))
        sink = Sink(shape=process.a_out.shape, buffer=2)
        source.s_out.connect(process.s_in)
        process.a_out.connect(sink.a_in)
        source.run(condition=RunSteps(num_steps=2), run_cfg=Loihi2SimCfg(select_tag="fixed_pt"))
        sums[name] = int(sink.data.get()[..., 1].max())
        source.stop()
    return sums


def neurons() -> dict:
    """v and u of neurons after one or two steps of an input of 10."""
    found = {
        "bias-4095": {"bias_mant": 4095},
        "bias-40000": {"bias_mant": 40000},
        "no-current": {"du": 4095, "dv": 4096},
        "du-4096": {"du": 4096, "dv": 4096},
        "threshold-17-bits": {"vth": 2**17 - 1, "bias_mant": 4095, "bias_exp": 7},
        "threshold-18-bits": {"vth": 2**17 + 1, "bias_mant": 4095, "bias_exp": 7},
    }
    states = {}
    for name, options in found.items():
        process = LIF(shape=(1,), **{"du": 4095, "dv": 0, "vth": 2**17 - 1, "bias_exp": 0, **options})
        source, sink = Source(data=np.array([[64 * 4096] + [0] * 29], np.int32) // 64), Sink(shape=(1,), buffer=30)
        source.s_out.connect(process.a_in)
        process.s_out.connect(sink.a_in)
        states[name] = []
        for _ in range(2):
            source.run(condition=RunSteps(num_steps=1), run_cfg=Loihi2SimCfg(select_tag="fixed_pt"))
            states[name].append([int(process.u.get()[0]), int(process.v.get()[0])])
        source.run(condition=RunSteps(num_steps=28), run_cfg=Loihi2SimCfg(select_tag="fixed_pt"))
        states[name].append(int(sink.data.get().sum()))
        source.stop()
    return states


if __name__ == "__main__":
    print(json.dumps({"weights": as_used(), "sums": convolutions(), "neurons": neurons()}))
