"""What drawing the profile of a place costs, in a first run over new recordings.

    python tests/benchmarks/drawing.py [--calls 60] [--seconds 180] [--repeat 3]

Analyses the same simulated stereo calls with and without drawing the profile, in turn,
each into a new results directory. Prints CPU time and wall-clock time of the first
relative to the second, as medians over the repetitions.
"""

import argparse
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from ser_batch.config.options import Config
from ser_batch.pipeline import run
from tests.benchmarks.speed import cpu_s, make_calls
from tests.support.paths import EXAMPLES


def measured(calls: Path, out: Path, config: Config) -> tuple[float, float]:
    """Return the CPU time and the wall-clock time of a run (s)."""
    cpu, wall = cpu_s(), time.monotonic()
    run([str(calls)], out, config, threading.Event())
    return cpu_s() - cpu, time.monotonic() - wall


def main() -> None:
    """Compare runs that draw a profile with runs that are given one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=60)
    parser.add_argument("--seconds", type=int, default=180)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    drawing = Config().updated({"run": {"device": "cpu"}})
    ratios: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        calls = work / "calls"
        calls.mkdir()
        make_calls(
            calls, options.calls, EXAMPLES / "billing" / "1001.wav", options.seconds
        )
        measured(calls, work / "first", drawing)
        profile = next((work / "first").glob("profile-*.json"))
        given = drawing.updated({"score": {"profile": str(profile)}})
        for number in range(options.repeat):
            with_it = measured(calls, work / f"drawn-{number}", drawing)
            without = measured(calls, work / f"given-{number}", given)
            ratios.append((with_it[0] / without[0], with_it[1] / without[1]))
    cpu, wall = (statistics.median(own) for own in zip(*ratios, strict=True))
    print(
        f"{options.calls} calls of {options.seconds} s, {options.repeat} repetitions: "
        f"a run that draws its profile takes {cpu:.2f} x the CPU time and {wall:.2f} x "
        "the wall-clock time of a run that is given one   (limit: 1.05)"
    )


if __name__ == "__main__":
    main()
