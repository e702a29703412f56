"""Corpora whose file names say everything: who speaks, and with which emotion."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import product

from ser_batch.training.corpora.labels import LABELS

Reading = tuple[str, str, str]
"""Speaker, sex and label of a clip."""

RAVDESS_FOLDS = (
    (2, 5, 14, 15, 16),
    (3, 6, 7, 13, 18),
    (10, 11, 12, 19, 20),
    (8, 17, 21, 23, 24),
    (1, 4, 9, 22),
)
"""By actor: Luna-Jimenez et al., Sensors 2021."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A corpus whose file names say everything: `parse` reads one, and gives None for what is no clip of it."""

    title: str
    licence: str
    parse: Callable[[str], Reading | None]
    n_published: int
    names: frozenset[str] = frozenset()
    """Of all its clips, where they can be foretold."""
    speakers_of: str = ""
    """The corpus that the speakers belong to, if it is another."""
    folds: tuple[tuple[str, ...], ...] = field(default=())


def _ravdess(channel: str) -> Callable[[str], Reading | None]:
    def parse(stem: str) -> Reading | None:
        if not (
            match := re.fullmatch(
                rf"03-{channel}-0([1-8])-0[12]-0[12]-0[12]-(\d\d)", stem
            )
        ):
            return None
        emotion, actor = int(match[1]), int(match[2])
        return f"{actor:02}", "fm"[actor % 2], LABELS[emotion - 1]

    return parse


def _ravdess_names(
    channel: str, n_emotions: int, actors: Iterable[int]
) -> frozenset[str]:
    return frozenset(
        f"03-{channel}-{emotion:02}-{intensity:02}-{statement:02}-{repetition:02}-{actor:02}"
        for emotion, intensity, statement, repetition, actor in product(
            range(1, n_emotions + 1), (1, 2), (1, 2), (1, 2), actors
        )
        if not (emotion == 1 and intensity == 2)
    )


_TESS = {
    "neutral": "neutral", "happy": "happy", "sad": "sad", "angry": "angry", "fear": "fearful",
    "disgust": "disgust", "ps": "surprised", "surprise": "surprised", "surprised": "surprised",
}  # fmt: skip


def _tess(stem: str) -> Reading | None:
    match = re.fullmatch(r"(OA|YA)F?_(.+)_([A-Za-z]+)", stem)
    if not match or match[3].lower() not in _TESS:
        return None
    return f"{match[1]}F", "f", _TESS[match[3].lower()]


_CREMA_D = {
    "ANG": "angry",
    "DIS": "disgust",
    "FEA": "fearful",
    "HAP": "happy",
    "NEU": "neutral",
    "SAD": "sad",
}


def _crema_d(stem: str) -> Reading | None:
    match = re.fullmatch(r"(1\d{3})_[A-Z]{3}_([A-Z]{3})_[A-Z]{2}", stem)
    return (
        (match[1], "", _CREMA_D[match[2]]) if match and match[2] in _CREMA_D else None
    )


_SAVEE = {
    "a": "angry", "d": "disgust", "f": "fearful", "h": "happy", "n": "neutral", "sa": "sad", "su": "surprised",
}  # fmt: skip
SAVEE_SPEAKERS = ("DC", "JE", "JK", "KL")


def _savee(stem: str) -> Reading | None:
    match = re.fullmatch(r"(DC|JE|JK|KL)_(a|d|f|h|n|sa|su)\d\d", stem)
    return (match[1], "m", _SAVEE[match[2]]) if match else None


_EMODB = {
    "W": "angry", "L": "bored", "E": "disgust", "A": "fearful", "F": "happy", "T": "sad", "N": "neutral",
}  # fmt: skip
_EMODB_MEN = {"03", "10", "11", "12", "15"}


def _emodb(stem: str) -> Reading | None:
    match = re.fullmatch(r"(\d\d)[ab]\d\d([WLEAFTN])[a-z]", stem)
    return (
        (match[1], "m" if match[1] in _EMODB_MEN else "f", _EMODB[match[2]])
        if match
        else None
    )


_folds = tuple(tuple(f"{actor:02}" for actor in fold) for fold in RAVDESS_FOLDS)

LAYOUTS = {
    "ravdess": Layout(
        "RAVDESS (speech)", "CC BY-NC-SA 4.0", _ravdess("01"), 1440,
        _ravdess_names("01", 8, range(1, 25)), folds=_folds,
    ),
    # Actor 18 does not sing.
    "ravdess-song": Layout(
        "RAVDESS (song)", "CC BY-NC-SA 4.0", _ravdess("02"), 1012,
        _ravdess_names("02", 6, [a for a in range(1, 25) if a != 18]), "ravdess", _folds,
    ),
    "tess": Layout("TESS", "CC BY-NC-ND 4.0", _tess, 2800),
    "crema-d": Layout("CREMA-D", "ODbL 1.0", _crema_d, 7442),
    "savee": Layout(
        "SAVEE", "for research only", _savee, 480,
        frozenset(
            f"{speaker}_{emotion}{n:02}"
            for speaker, emotion in product(SAVEE_SPEAKERS, _SAVEE)
            for n in range(1, 31 if emotion == "n" else 16)
        ),
    ),
    "emodb": Layout("EmoDB", "free of charge, to be cited", _emodb, 535),
}  # fmt: skip
"""RAVDESS (Livingstone & Russo 2018), TESS (Pichora-Fuller & Dupuis 2020), CREMA-D (Cao et al. 2014), SAVEE (Haq &
Jackson 2009), EmoDB (Burkhardt et al. 2005)."""
