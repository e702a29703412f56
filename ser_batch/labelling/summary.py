"""How far the labelling of a folder is, and how far labellers agree."""

from typing import Any

from ser_batch.labelling.agreement import (
    alpha,
    alphas,
    confusions,
    counts_of,
    read_labels,
)
from ser_batch.labelling.folder import Labelling

MOST_CONFUSED = 5


def labelling_status(labelling: Labelling) -> dict[str, Any]:
    """Return counts, agreement and what labellers confuse, as plain values.

    `alpha` is Krippendorff's over all clips, drawn at random or not, with its 95 %
    interval; null where fewer than two labellers answered the same clips.

    Raises:
        UsageError: a file of answers is damaged.
    """
    labels, segments = read_labels(labelling), labelling.segments
    names = labelling.record.labels
    recordings = list(segments.recording_id)
    agreed = labels.agreed()
    counts = counts_of(labels.of, names)
    pairs = confusions(counts)
    confused = sorted(
        (
            (int(pairs[i, j]), names[i], names[j])
            for i in range(len(names))
            for j in range(i)
            if pairs[i, j]
        ),
        reverse=True,
    )
    return {
        "clips": len(segments),
        "at_random": int(labelling.is_random.sum()),
        "with_a_label": int(agreed.notna().sum()),
        "unusable": len(labels.unusable),
        "no_majority": len(
            set(agreed.index[labels.of.notna().any(axis=1) & agreed.isna()])
            - labels.unusable
        ),
        "recordings": int(segments.recording_id[agreed.notna().to_numpy()].nunique()),
        "answers_to_other_clips": labels.unknown,
        "labels": {name: int((agreed == name).sum()) for name in names},
        "labellers": {
            name: {
                "labelled": sum(a.label is not None for a in own.values()),
                "skipped": sum(not (a.label or a.unusable) for a in own.values()),
                "unusable": sum(a.unusable for a in own.values()),
                "last": max((a.at for a in own.values()), default=None),
            }
            for name, own in labels.answers.items()
        },
        "alpha": _measured(alpha(counts, recordings)),
        "alpha_by_label": {
            name: _measured(own)
            for name, own in zip(names, alphas(counts, recordings), strict=True)
        },
        "both_labelled": int((labels.of.notna().sum(axis=1) > 1).sum()),
        "confused": [
            {"labels": [one, other], "times": n}
            for n, one, other in confused[:MOST_CONFUSED]
        ],
    }


def _measured(
    found: tuple[float, tuple[float, float] | None] | None,
) -> dict[str, float | None] | None:
    if found is None:
        return None
    value, interval = found
    low, high = interval or (None, None)
    return {"value": value, "low": low, "high": high}
