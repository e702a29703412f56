"""The common emotion labels, and the labels that corpora use for them.

No label is invented: neutral and calm are hard to distinguish, and where a corpus uses
only one of the two, its clips may be either (`NEUTRAL_OR_CALM`).
"""

from collections.abc import Iterator, Sequence

LABELS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
"""The common labels: the eight emotions of RAVDESS, in its order."""
NEUTRAL_OR_CALM = ("neutral", "calm")
"""Labels that some corpora distinguish, while others use one for both."""
LEVELS = ("low", "medium", "high")
"""Labels of corpora that are annotated with arousal only."""
AROUSAL: dict[str, float | None] = {
    "neutral": 0.0, "calm": 0.0, "sad": 0.0, "happy": 1.0, "angry": 1.0, "fearful": 1.0,
    "surprised": 1.0, "disgust": None, "low": 0.0, "medium": 0.3, "high": 1.0,
}  # fmt: skip
"""Arousal of each label, 0 to 1; None where it may be low or high (Russell 1980)."""
SYNONYMS = {
    "neutrality": "neutral", "neu": "neutral", "n": "neutral", "calmness": "calm",
    "cal": "calm", "happiness": "happy", "hap": "happy", "joy": "happy",
    "sadness": "sad", "anger": "angry", "ang": "angry", "fear": "fearful",
    "fea": "fearful", "afraid": "fearful", "disgusted": "disgust", "dis": "disgust",
    "surprise": "surprised", "sur": "surprised", "ps": "surprised",
    "pleasant_surprise": "surprised", "boredom": "bored",
}  # fmt: skip
"""Other names for the common labels, in lower case."""


def aroused_shares(labels: Sequence[str]) -> tuple[float, ...]:
    """Return the arousal of each label, 0 to 1; 0.5 where it may be low or high.

    >>> aroused_shares(["calm", "angry", "disgust", "bored"])
    (0.0, 1.0, 0.5, 0.5)
    """
    found = (AROUSAL.get(label) for label in labels)
    return tuple(0.5 if share is None else share for share in found)


def neutral_or_calm(labels: Sequence[str]) -> tuple[int, ...]:
    """Return the indices of neutral and calm, if both are present; else an empty tuple.

    >>> neutral_or_calm(["calm", "angry", "neutral"])
    (0, 2)
    >>> neutral_or_calm(["calm", "angry"])
    ()
    """
    own = tuple(i for i, label in enumerate(labels) if label in NEUTRAL_OR_CALM)
    return own if len(own) > 1 else ()


def meanings(label: str, labels: Sequence[str]) -> tuple[str, ...]:
    """Return the common labels that `label` may mean in a corpus that uses `labels`.

    >>> meanings("neutral", ["neutral", "happy"])
    ('neutral', 'calm')
    >>> meanings("neutral", ["neutral", "calm"])
    ('neutral',)
    >>> meanings("calm", ["calm", "angry"])
    ('calm', 'neutral')
    """
    others = (
        other
        for other in NEUTRAL_OR_CALM
        if label in NEUTRAL_OR_CALM and other not in labels
    )
    return (label, *others)


def common_label(text: str) -> str:
    """Return the common label for a name, or the name normalised to lower case.

    >>> common_label("Anger"), common_label("frustrated")
    ('angry', 'frustrated')
    """
    word = text.strip().lower().replace(" ", "_").replace("-", "_")
    return SYNONYMS.get(word, word)


def ordered_labels(labels: Iterator[str] | Sequence[str]) -> tuple[str, ...]:
    """Return each label once: common ones in their usual order, then others by name."""
    present = set(labels)
    return tuple(label for label in LABELS if label in present) + tuple(
        sorted(present - set(LABELS))
    )
