"""The words for emotions: ours, and what corpora call them.

No label is invented: a corpus that has a word for only one of two that are hard to tell
apart (`NEUTRAL_OR_CALM`) leaves open which of the two its clips are.
"""

from collections.abc import Iterator, Sequence

LABELS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
"""The common labels: the eight emotions of RAVDESS, in its order."""
NEUTRAL_OR_CALM = ("neutral", "calm")
"""What some corpora tell apart, and others call by one of the two words."""
LEVELS = ("low", "medium", "high")
"""Labels of corpora that know the arousal alone."""
AROUSAL: dict[str, float | None] = {
    "neutral": 0.0, "calm": 0.0, "sad": 0.0, "happy": 1.0, "angry": 1.0, "fearful": 1.0,
    "surprised": 1.0, "disgust": None, "low": 0.0, "medium": 0.3, "high": 1.0,
}  # fmt: skip
"""How aroused a label is, 0 to 1; None where it may be either (Russell 1980)."""
SYNONYMS = {
    "neutrality": "neutral", "neu": "neutral", "n": "neutral", "calmness": "calm", "cal": "calm",
    "happiness": "happy", "hap": "happy", "joy": "happy", "sadness": "sad", "anger": "angry", "ang": "angry",
    "fear": "fearful", "fea": "fearful", "afraid": "fearful", "disgusted": "disgust", "dis": "disgust",
    "surprise": "surprised", "sur": "surprised", "ps": "surprised", "pleasant_surprise": "surprised",
    "boredom": "bored",
}  # fmt: skip
"""What others call them."""


def aroused_shares(labels: Sequence[str]) -> tuple[float, ...]:
    """Return how aroused each label is, 0 to 1; a half where it may be either.

    >>> aroused_shares(["calm", "angry", "disgust", "bored"])
    (0.0, 1.0, 0.5, 0.5)
    """
    found = (AROUSAL.get(label) for label in labels)
    return tuple(0.5 if share is None else share for share in found)


def neutral_or_calm(labels: Sequence[str]) -> tuple[int, ...]:
    """Return the numbers of neutral and calm, if both are there.

    >>> neutral_or_calm(["calm", "angry", "neutral"]), neutral_or_calm(["calm", "angry"])
    ((0, 2), ())
    """
    own = tuple(i for i, label in enumerate(labels) if label in NEUTRAL_OR_CALM)
    return own if len(own) > 1 else ()


def meanings(label: str, labels: Sequence[str]) -> tuple[str, ...]:
    """The common labels that a clip may have, if a corpus that knows `labels` gives it `label`.

    >>> meanings("neutral", ["neutral", "happy"]), meanings("neutral", ["neutral", "calm"])
    (('neutral', 'calm'), ('neutral',))
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
    """The common word for a label, or the text itself in lower case.

    >>> common_label("Anger"), common_label("frustrated")
    ('angry', 'frustrated')
    """
    word = text.strip().lower().replace(" ", "_").replace("-", "_")
    return SYNONYMS.get(word, word)


def ordered_labels(labels: Iterator[str] | Sequence[str]) -> tuple[str, ...]:
    """Each label once: the common ones in their order, then others by name."""
    present = set(labels)
    return tuple(label for label in LABELS if label in present) + tuple(
        sorted(present - set(LABELS))
    )
