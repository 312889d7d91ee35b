"""Wall-clock seconds per timestep of an artifact in Lava, as JSON on the last line; ``with_lava.py`` runs it.

    python lava_clock.py FOLDER INPUT.npz

Needs Python 3.10 with Lava. The processes are those of the artifact's ``run_lava.py``, without its recorders.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi2SimCfg

BLOCKS = 4


def main() -> None:
    folder = Path(sys.argv[1])
    sys.path.insert(0, str(folder))
    from lava_network import Network
    from run_lava import RingBuffer, Simulation

    network = Network(folder / "network.nir")
    with np.load(sys.argv[2]) as archive:
        spikes = archive["input"]
    steps = spikes.shape[1]
    # Sample after sample; the first block fills the pipeline of delays.
    simulation = Simulation(network, BLOCKS + 1, steps)
    source = RingBuffer(data=simulation._stream(np.repeat(spikes[:1], BLOCKS + 1, axis=0)))
    neurons = {name: simulation._neurons(name) for name in network.populations}
    outlets = {network.entry[0]: source, **neurons}
    for path in network.paths:
        simulation._connect(path, outlets[path.source].s_out, neurons[path.target].a_in)
    how = Loihi2SimCfg(select_tag="fixed_pt")
    source.run(condition=RunSteps(num_steps=steps), run_cfg=how)
    seconds = []
    try:
        for _ in range(BLOCKS):
            began = time.perf_counter()
            source.run(condition=RunSteps(num_steps=steps), run_cfg=how)
            seconds.append((time.perf_counter() - began) / steps)
    finally:
        source.stop()
    print(json.dumps(seconds))


if __name__ == "__main__":
    main()
