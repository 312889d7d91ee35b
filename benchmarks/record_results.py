"""Keep what finished runs of shipped recipes gave, for ``neurodeploy list models`` and for readers of models/results.

    python benchmarks/record_results.py runs/cifar10-resnet20-vanilla runs/cifar10-resnet20-rmp [--out models/results]

Each argument is a run or a folder of seeds, each becomes ``<out>/<recipe>.json``: mean and standard deviation over
seeds of the last epoch, the keys in which the runs' recipe differs from the shipped one, data, commit and command.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from neurodeploy.diagnostics import UsageError
from neurodeploy.reporting.record import recipe_result, write_result
from neurodeploy.reporting.text import error_text


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", help="a run, or a folder with the runs of several seeds")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "models" / "results")
    options = parser.parse_args()
    try:
        results = [recipe_result(run) for run in options.runs]
    except UsageError as error:
        print(error_text(error), file=sys.stderr)
        return error.exit_code
    for result in results:
        print(f"wrote {write_result(result, options.out)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
