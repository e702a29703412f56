"""Results with recordings that can be heard, and folders of labels."""

from pathlib import Path

import numpy as np
import soundfile

from ser_batch.labelling.answers import Answer, answer_file
from ser_batch.labelling.folder import Labelling
from ser_batch.labelling.starting import start_labelling
from tests.support.results import call, write_results

RATE = 8000
LABELS = ("neutral", "happy", "angry", "fearful")
CALLS = 12
SEGMENTS = 10
LENGTH_S = 2.0


def write_calls(folder: Path, calls: int = CALLS, seed: int = 0) -> Path:
    """Write results and their stereo recordings, and return the results.

    Customers speak on the second channel; the amplitude there at second t is t / 100.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(calls):
        name = f"{number:03}.wav"
        scored = [
            (
                (3 * i), (3 * i + LENGTH_S),
                dict(zip(LABELS[1:], rng.dirichlet([0.4] * 4)[1:], strict=True)),
            )
            for i in range(SEGMENTS)
        ]  # fmt: skip
        length_s = 3 * SEGMENTS
        rows.append(
            call(
                name, agent=[(0, 1)], customer=[(s, e) for s, e, _ in scored],
                scored=scored, duration_s=length_s, input_root=str(folder / "in"),
            )
        )  # fmt: skip
        ramp = np.arange(length_s * RATE) / RATE / 100
        (folder / "in").mkdir(parents=True, exist_ok=True)
        soundfile.write(
            folder / "in" / name, np.stack([-ramp, ramp], axis=1), RATE, "PCM_16"
        )
    return write_results(folder / "out", *rows)


def labelled(folder: Path, n: int = 40) -> Labelling:
    """Return a folder of labels to be given, drawn from new results."""
    return start_labelling(write_calls(folder), folder / "labels", n).labelling


def answer_all(labelling: Labelling, labeller: str, label_of) -> None:
    """Answer every clip with what a function of its row gives; None skips it."""
    rows = labelling.segments.to_dict("records")
    answer_file(labelling.folder, labeller).append(
        [Answer(row["clip"], label_of(row)) for row in rows]
    )
