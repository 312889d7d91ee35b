"""Our engine beside other simulators, in one run: ratios, never absolute times alone.

    python benchmarks/simulate.py nets [ARTIFACT ...] [--net resnet20-slim,vgg16] [--rates 15] [--batch 1,32]
    python benchmarks/simulate.py layer       # one wide layer: operations per second against the L1 roofline
    python benchmarks/simulate.py counting    # what the counts cost
    python benchmarks/simulate.py startup ARTIFACT    # from a fresh process to the first result
    python benchmarks/simulate.py lava        # 100,000 neurons in Lava's CPU simulation (needs Python 3.10 with Lava)

``nets`` simulates the same network with the same weights on the same input in every simulator, and stops where a spike
differs: random networks of integers whose layers fire at a chosen rate (exact in float32 too), or exported artifacts of
trained networks on their golden inputs (of a float network, the spikes that differ are counted). Files are read and
networks built before the clock starts. Contenders take turns; a figure is the median over turns of process CPU time
(of wall-clock time with ``--threads 2``), divided by ours. What is the same at every step, the convolution of a static
image, is computed once by all (``--stem once``), at every step by all (``every``), or before the clock starts
(``spikes``).
Dense simulators get pools in front of small kernels in place of the composed kernels that a chip needs.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

SECTIONS = ("nets", "layer", "counting", "startup", "lava")
PEERS = ("eager", "compile", "spikingjelly", "snntorch", "norse")


def words(text: str) -> list[str]:
    """``a,b`` as a list."""
    return [word for word in text.split(",") if word]


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("section", choices=SECTIONS)
    parser.add_argument("artifacts", nargs="*", type=Path, help="artifact folders (nets, startup)")
    parser.add_argument("--net", type=words, help="random networks [resnet20-slim,vgg16; none with ARTIFACT]")
    parser.add_argument("--rates", type=words, help="firing rates in percent; default: 15 (layer: 1,2,5,10,15,25,40)")
    parser.add_argument("--batch", type=words, default=["1", "32"], help="batch sizes [1,32]")
    parser.add_argument("--threads", type=int, default=1, help="threads of all contenders [1]")
    parser.add_argument("--repeats", type=int, default=9, help="turns of each contender [9]")
    parser.add_argument("--peers", type=words, default=list(PEERS), help=f"simulators beside ours [{','.join(PEERS)}]")
    parser.add_argument("--dense", choices=("on", "off", "both"), default="both", help="our dense path [both]")
    parser.add_argument("--stem", choices=("once", "every", "spikes"), default="once", help="see above [once]")
    parser.add_argument("--isa", choices=("native", "avx2"), default="native", help="instructions that all may use")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    found = parser.parse_intermixed_args()
    for name in set(found.peers) - set(PEERS):
        parser.error(f"no peer {name}; choose from {','.join(PEERS)}")
    if found.section == "startup" and not found.artifacts:
        parser.error("startup needs an artifact: neurodeploy export RUN --target loihi2")
    return found


def set_environment(threads: int, isa: str) -> None:
    """What the libraries read when they are imported."""
    for key in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[key] = str(threads)
    if isa == "avx2":
        os.environ |= {
            "NEURODEPLOY_KERNELS": "avx2",
            "ONEDNN_MAX_CPU_ISA": "AVX2",
            "ATEN_CPU_CAPABILITY": "avx2",
            "MKL_ENABLE_INSTRUCTIONS": "AVX2",
            "NUMBA_CPU_NAME": "haswell",
        }


def main() -> None:
    given = options()
    set_environment(given.threads, given.isa)
    from simulation import sections  # imports what reads the environment

    results = getattr(sections, given.section)(given)
    if given.json is not None:
        given.json.write_text(json.dumps({"isa": given.isa, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
