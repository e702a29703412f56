"""What labels of a centre's own calls say of the shares in a report."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ser_batch.emotion.answers import DISTRESS
from ser_batch.errors import UsageError
from ser_batch.labelling.agreement import read_labels
from ser_batch.labelling.folder import SAME, Labelling, open_labelling
from ser_batch.reporting.figures.corrections import corrected_share
from ser_batch.reporting.figures.groups import Figures
from ser_batch.reporting.figures.labelled import Judged, judged
from ser_batch.reporting.figures.labelled_figures import figures_of
from ser_batch.reporting.figures.measures import share_names
from ser_batch.results.results import Results
from ser_batch.text import counted

LEAST_OVERLAP = 0.5
"""The share of a labelled segment that one of the results must cover."""
UNCHECKED = (
    "nobody has checked the emotions on these calls: `ser label start {directory} "
    "--out labels/` draws a sample to listen to"
)


@dataclass(frozen=True, slots=True)
class Checked:
    """How the emotions of results compare with what labellers heard."""

    folder: str
    segments: int
    """The number of labelled segments that were drawn at random."""
    recordings: int
    """The number of recordings that they come from."""
    unmatched: int
    """Labelled segments that the results no longer have."""
    uar: float
    uar_95: list[float] | None
    shares: dict[str, tuple[float, float, float]]
    """The true value of some shares, and its 95 % interval."""


def check_on_labels(
    results: Results,
    folder: Path,
    total: Figures,
    labels: Sequence[str],
    role: str | None,
) -> Checked:
    """Return what labels say of the shares in `total`.

    Segments that were labelled are found in the results by their time, whatever has
    been analysed anew since.

    Args:
        results: the results that `total` was measured on.
        folder: a folder of labels.
        total: the predicted shares.
        labels: those of the model.
        role: whose shares they are; None if roles are unknown.

    Raises:
        UsageError: the folder is not one of labels, has none yet, or was drawn with
            hashed names; or the model lacks a label.
    """
    labelling = open_labelling(folder)
    if labelling.record.key_check:
        raise UsageError(
            f"--labels {folder}: its recordings have hashed names, which these results "
            "do not have; draw without --hash-paths",
            path=folder,
            option="--labels",
        )
    given = read_labels(labelling)
    probabilities, kept = find_segments(results, labelling)
    missing = np.isnan(probabilities).any(axis=1)
    usable = ~missing
    if role is not None:
        usable &= labelling.segments.role.isin([role]).to_numpy()
    own = judged(labelling, given, np.nan_to_num(probabilities), kept, labels, usable)
    figures = figures_of(own)
    has_label = given.agreed().notna().to_numpy()
    return Checked(
        folder=str(folder),
        segments=figures["clips"],
        recordings=figures["recordings"],
        unmatched=int((missing & has_label).sum()),
        uar=figures["uar"],
        uar_95=figures["intervals_95"]["uar"],
        shares=_shares(own, total, labels),
    )


def _shares(
    own: Judged, total: Figures, labels: Sequence[str]
) -> dict[str, tuple[float, float, float]]:
    names = share_names(labels)
    measures: dict[str, set[str]] = {
        names[label]: {label} for label in own.labels if label not in SAME.values()
    }
    measures["distress_share"] = set(DISTRESS)
    found = {}
    for name, positive in measures.items():
        stated = total[name].value
        if stated is None:
            continue
        corrected = corrected_share(own, positive & set(own.labels), stated)
        if corrected is not None:
            found[name] = corrected
    return found


def find_segments(
    results: Results, labelling: Labelling
) -> tuple[np.ndarray, np.ndarray]:
    """Return the probabilities of labelled segments in results, and where it is sure.

    NaN where the results have no segment on the same side that covers at least
    `LEAST_OVERLAP` of it.

    Shape:
        (clips, labels) and (clips)
    """
    names = [f"p_{label}" for label in results.labels]
    columns = ["recording_id", "channel", "start_s", "end_s", "label", *names]
    wanted = labelling.segments
    ids = pa.array(wanted.recording_id.unique())
    parts = [
        table.filter(pc.is_in(table["recording_id"], ids)).to_pandas()
        for table in results.scan("segments", columns)
    ]
    known = pd.concat(parts) if parts else pd.DataFrame(columns=columns)
    by_side = dict(list(known.groupby(["recording_id", "channel"])))
    probabilities = np.full((len(wanted), len(names)), np.nan)
    kept = np.zeros(len(wanted), bool)
    where = ("recording_id", "channel", "start_s", "end_s")
    for i, (recording, channel, start_s, end_s) in enumerate(
        zip(*(wanted[name] for name in where), strict=True)
    ):
        side = by_side.get((recording, channel))
        if side is None:
            continue
        begin = np.maximum(side.start_s.to_numpy(), start_s)
        overlap = np.minimum(side.end_s.to_numpy(), end_s) - begin
        best = int(overlap.argmax())
        if overlap[best] >= LEAST_OVERLAP * (end_s - start_s):
            probabilities[i] = side[names].to_numpy(float)[best]
            kept[i] = pd.notna(side.label.iloc[best])
    return probabilities, kept


def checked_notes(checked: Checked, labels: Sequence[str]) -> list[str]:
    """Return notes that say on what trust rests, and what the shares truly are."""
    between = ""
    if checked.uar_95 is not None:
        low, high = checked.uar_95
        between = f" ({100 * low:.0f} to {100 * high:.0f})"
    notes = [
        f"checked on {counted(checked.segments, 'labelled segment')} of "
        f"{counted(checked.recordings, 'recording')} of these results: UAR "
        f"{checked.uar:.0%}{between}"
    ]
    if checked.shares:
        named = {name: label for label, name in share_names(labels).items()}
        named["distress_share"] = "distress"
        told = ", ".join(
            f"{named[name]} {value:.0%} ({100 * low:.0f} to {100 * high:.0f})"
            for name, (value, low, high) in checked.shares.items()
        )
        notes.append(f"corrected for what the model gets wrong on them: {told}")
    else:
        notes.append("these are too few labels to correct any share")
    if checked.unmatched:
        notes.append(
            f"{counted(checked.unmatched, 'labelled segment')} no longer in the "
            "results, left out"
        )
    return notes
