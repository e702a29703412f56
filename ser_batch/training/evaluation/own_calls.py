"""Evaluation of a bundle on labelled segments of a centre's own calls."""

from collections import defaultdict
from typing import Any

import numpy as np
import soxr
from jaxtyping import Bool, Float

from ser_batch.emotion.answers import certainty
from ser_batch.emotion.loading import load_scorer
from ser_batch.emotion.scorer import Scorer
from ser_batch.errors import AudioError, UsageError
from ser_batch.labelling.agreement import read_labels
from ser_batch.labelling.clips import read_clip
from ser_batch.labelling.folder import Labelling
from ser_batch.reporting.figures.corrections import alert_threshold
from ser_batch.reporting.figures.labelled import Judged, judged, missing
from ser_batch.reporting.figures.labelled_figures import ceiling, figures_of, in_words
from ser_batch.text import counted


def evaluate_on_labels(
    name: str,
    labelling: Labelling,
    device: str = "auto",
    alert: tuple[str, float] | None = None,
) -> dict[str, Any]:
    """Return all figures of a bundle on labelled segments.

    The model that the segments were drawn by has its own predictions from the analysis.
    Any other scores the clips, with a profile of the same clips if it takes one.

    Args:
        name: the name of a shipped bundle, or the path of any bundle.
        labelling: a folder of segments with labels.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        alert: a label and the precision that an alert on it shall have.

    Raises:
        BundleError: there is no such bundle.
        UsageError: no segment has a label, a clip is gone, or the bundle has none of
            the labels.
    """
    labels = read_labels(labelling)
    scorer = load_scorer(name, device)
    if not scorer.labels:
        raise UsageError(
            f"bundle {name} estimates dimensions and has no labels to compare with"
        )
    probabilities, kept = predictions(scorer, labelling)
    own = judged(labelling, labels, probabilities, kept, scorer.labels)
    figures = figures_of(own)
    return {
        "bundle": name,
        "model_id": scorer.model_id,
        "labels": list(own.labels),
        "labels_of": labelling.record.model_id,
        "population": labelling.record.population,
        "labellers": len(labels.answers),
        "protocol": f"{figures['clips']} segments of {figures['recordings']} "
        f"recordings, drawn at random from {labelling.record.population:,} scored "
        "segments and weighted by their inclusion probabilities; labels by "
        f"{counted(len(labels.answers), 'labeller')}; 95 % intervals by recording.",
        "ceiling": ceiling(labelling, labels),
        "in_words": [*_without(scorer, own), *in_words(figures)],
        "alert": alert and alert_threshold(own, *alert),
        "test": {"own calls": {"labelled": figures}},
    }


def _without(scorer: Scorer, own: Judged) -> list[str]:
    lacking = missing(scorer.labels, own.labels)
    if not lacking:
        return []
    return [f"the model has no {' and no '.join(lacking)}: it misses all such segments"]


def predictions(
    scorer: Scorer, labelling: Labelling
) -> tuple[Float[np.ndarray, "clips labels"], Bool[np.ndarray, " clips"]]:
    """Return a model's probabilities of each segment, and where it does not abstain.

    Raises:
        UsageError: a clip is gone.
    """
    segments = labelling.segments
    if scorer.model_id == labelling.record.model_id:
        names = [f"p_{label}" for label in labelling.record.model_labels]
        return segments[names].to_numpy(float), segments.label.notna().to_numpy()
    waveforms = segment_waveforms(labelling, scorer.sample_rate)
    probabilities = np.zeros((len(waveforms), len(scorer.labels)))
    roles = segments.role.fillna("").to_numpy()
    for role, speech in profile_speech(labelling, waveforms).items():
        own = scorer
        if scorer.takes_profile:
            own = scorer.with_profile(scorer.profile_of({"": speech}))
        rows = np.flatnonzero(roles == role)
        probabilities[rows] = own.predict([waveforms[i] for i in rows])
    sure = certainty(probabilities, scorer.alike)
    return probabilities, sure >= scorer.abstain_below


def segment_waveforms(labelling: Labelling, sample_rate: int) -> list[np.ndarray]:
    """Return the waveform of each segment, without what its clip has around it.

    Raises:
        UsageError: a clip is gone.
    """
    segments, waveforms = labelling.segments, []
    where = ("clip", "clip_start_s", "start_s", "end_s")
    for clip, clip_s, start_s, end_s in zip(
        *(segments[name] for name in where), strict=True
    ):
        path = labelling.clip_file(clip)
        try:
            waveform, rate = read_clip(path)
        except AudioError as error:
            raise UsageError(f"{path}: {error.message}", path=path) from error
        own = waveform[
            round((start_s - clip_s) * rate) : round((end_s - clip_s) * rate)
        ]
        waveforms.append(soxr.resample(own, rate, sample_rate))
    return waveforms


def profile_speech(
    labelling: Labelling, waveforms: list[np.ndarray]
) -> dict[str, dict[str, list[np.ndarray]]]:
    """Return the waveforms of segments by role and recording, to make a profile."""
    speech: dict[str, dict[str, list[np.ndarray]]] = defaultdict(
        lambda: defaultdict(list)
    )
    segments = labelling.segments
    for role, recording, waveform in zip(
        segments.role.fillna(""), segments.recording_id, waveforms, strict=True
    ):
        speech[role][recording].append(waveform)
    return speech
