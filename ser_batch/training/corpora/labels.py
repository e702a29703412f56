"""The words for emotions: ours, and what corpora call them.

No label is invented: where a corpus has no word of its own for one (`CALLED`), its clips
leave open which of the two they are.
"""

from collections.abc import Iterator, Sequence

LABELS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
"""The common labels: the eight emotions of RAVDESS, in its order."""
CALLED = {"calm": "neutral"}
"""What a corpus that lacks the label on the left calls such speech."""
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


def meanings(label: str, labels: Sequence[str]) -> tuple[str, ...]:
    """The common labels that a clip may have, if a corpus that knows `labels` gives it `label`.

    >>> meanings("neutral", ["neutral", "happy"]), meanings("neutral", ["neutral", "calm"])
    (('neutral', 'calm'), ('neutral',))
    """
    return (
        label,
        *(
            lacked
            for lacked, word in CALLED.items()
            if word == label and lacked not in labels
        ),
    )


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
