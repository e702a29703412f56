r"""Train the voice model.

    python -m ser_batch.training.voices ravdess=DIR ... --readers DIR \
        --calibrate-on CORPUS/SPEAKER,... --out models/voices

Speakers named by --held-out take no part; on those named by --calibrate-on, whom the
network has not heard either, the confidence is calibrated.
"""

import argparse
from pathlib import Path

from tqdm import tqdm

from ser_batch.training.corpora.readers import read_corpora
from ser_batch.training.voices.building import build


def main() -> None:
    """Parse the command line, and train."""
    parser = argparse.ArgumentParser(
        prog="python -m ser_batch.training.voices",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("corpora", nargs="+", metavar="NAME=PATH")
    parser.add_argument("--readers", type=Path, help="folder of READER-*-*.flac")
    parser.add_argument("--held-out", default="", metavar="CORPUS/SPEAKER,...")
    parser.add_argument("--calibrate-on", required=True, metavar="CORPUS/SPEAKER,...")
    parser.add_argument("--steps", type=int, default=24000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    with tqdm(total=options.steps, unit="step", disable=None) as bar:

        def on_step(step: int, loss: float) -> None:
            bar.set_postfix(loss=f"{loss:.2f}", refresh=False)
            bar.update()

        build(
            read_corpora(options.corpora),
            options.readers,
            frozenset(filter(None, options.held_out.split(","))),
            frozenset(options.calibrate_on.split(",")),
            options.steps,
            options.seed,
            options.out,
            on_step,
        )


if __name__ == "__main__":
    main()
