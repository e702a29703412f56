"""Training a profiled bundle on many corpora. Start reading at `train_on_places`."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ser_batch.emotion.bundle_files import read_json
from ser_batch.emotion.bundles import load_bundle
from ser_batch.emotion.calibration import Calibration
from ser_batch.training.corpora.labels import neutral_or_calm
from ser_batch.training.evaluation.plots import draw_reliability
from ser_batch.training.places.bundling import write_bundle
from ser_batch.training.places.holdout import LEFT_OUT
from ser_batch.training.places.places_card import RELIABILITY
from ser_batch.training.places.preparing import (
    PlacesOptions,
    fitted,
    prepare,
    work_folder,
)


def train_on_places(
    options: PlacesOptions, say: Callable[[str], None] = print
) -> dict[str, Any]:
    """Train on all corpora, write the bundle to `options.out`, and return its metrics.

    If `leave_corpora_out` was run before in the same folder, its figures go into the
    card, and its calibration decides when the model abstains. An interrupted training
    run resumes.

    Raises:
        CorpusError: a corpus is missing or cannot be parsed.
        UsageError: `out` cannot be written.
    """
    began = time.monotonic()
    prepared = prepare(options, say)
    work, recipe = work_folder(options.out), options.recipe
    everything = np.arange(len(prepared.segments.clip))
    members = []
    for number in range(recipe.network.members):
        name = f"everyone, seed {options.seed + number}"
        members.append(
            fitted(prepared, everything, options, options.seed + number, work, name)
        )
        say(f"{name}: loss {members[-1].losses[-1]:.3f}")
    left_out = _left_out(options.out)
    calibration = Calibration(
        **left_out.get("calibration", {}),
        answers=left_out.get("answers", {}),
        alike=neutral_or_calm(prepared.labels),
    )
    seconds = round(time.monotonic() - began, 1)
    metrics = write_bundle(
        options.out, options, prepared, members, prepared.corpora, calibration,
        left_out, seconds=seconds,
    )  # fmt: skip
    if left_out:
        draw_reliability(options.out / RELIABILITY, left_out)
    shutil.rmtree(work, ignore_errors=True)
    return metrics | {"model_id": load_bundle(str(options.out)).model_id}


def _left_out(out: Path) -> dict[str, Any]:
    return read_json(out / LEFT_OUT) if (out / LEFT_OUT).is_file() else {}
