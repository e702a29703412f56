"""Published corpora whose file paths encode the speaker and the emotion."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import product
from pathlib import PurePosixPath
from typing import NamedTuple

from ser_batch.training.corpora.labels import LABELS, LEVELS, common_label


class Reading(NamedTuple):
    """The metadata encoded in the path of a clip."""

    speaker: str
    sex: str
    label: str
    key: str = ""
    """Identifies the clip within its corpus where the file name is not unique."""


Parse = Callable[[PurePosixPath], Reading | None]

RAVDESS_FOLDS = (
    (2, 5, 14, 15, 16),
    (3, 6, 7, 13, 18),
    (10, 11, 12, 19, 20),
    (8, 17, 21, 23, 24),
    (1, 4, 9, 22),
)
"""The actors of each fold (Luna-Jimenez et al., Sensors 2021)."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A corpus whose paths encode its metadata.

    `parse` parses one path; it returns None if that is not a clip of the corpus.
    """

    title: str
    licence: str
    parse: Parse
    n_published: int
    names: frozenset[str] = frozenset()
    """Names of all its clips, where they are predictable."""
    speakers_of: str = ""
    """The corpus with the same speakers, if they are shared."""
    folds: tuple[tuple[str, ...], ...] = field(default=())


def _ravdess(channel: str) -> Parse:
    # Modality, channel, emotion, intensity, statement, repetition, actor (odd: male).
    def parse(path: PurePosixPath) -> Reading | None:
        if not (
            match := re.fullmatch(
                rf"03-{channel}-0([1-8])-0[12]-0[12]-0[12]-(\d\d)", path.stem
            )
        ):
            return None
        emotion, actor = int(match[1]), int(match[2])
        return Reading(f"{actor:02}", "fm"[actor % 2], LABELS[emotion - 1])

    return parse


def _ravdess_names(
    channel: str, n_emotions: int, actors: Iterable[int]
) -> frozenset[str]:
    return frozenset(
        f"03-{channel}-{emotion:02}-{intensity:02}-{statement:02}-{repetition:02}-{actor:02}"
        for emotion, intensity, statement, repetition, actor in product(
            range(1, n_emotions + 1), (1, 2), (1, 2), (1, 2), actors
        )
        if not (emotion == 1 and intensity == 2)  # neutral is never intense
    )


_TESS = {
    "neutral": "neutral", "happy": "happy", "sad": "sad", "angry": "angry",
    "fear": "fearful", "disgust": "disgust", "ps": "surprised", "surprise": "surprised",
    "surprised": "surprised",
}  # fmt: skip


def _tess(path: PurePosixPath) -> Reading | None:
    match = re.fullmatch(r"(OA|YA)F?_(.+)_([A-Za-z]+)", path.stem)
    if not match or match[3].lower() not in _TESS:
        return None
    return Reading(f"{match[1]}F", "f", _TESS[match[3].lower()])


_CREMA_D = {
    "ANG": "angry",
    "DIS": "disgust",
    "FEA": "fearful",
    "HAP": "happy",
    "NEU": "neutral",
    "SAD": "sad",
}


def _crema_d(path: PurePosixPath) -> Reading | None:
    match = re.fullmatch(r"(1\d{3})_[A-Z]{3}_([A-Z]{3})_[A-Z]{2}", path.stem)
    if not match or match[2] not in _CREMA_D:
        return None
    return Reading(match[1], "", _CREMA_D[match[2]])


_SAVEE = {
    "a": "angry", "d": "disgust", "f": "fearful", "h": "happy", "n": "neutral",
    "sa": "sad", "su": "surprised",
}  # fmt: skip
SAVEE_SPEAKERS = ("DC", "JE", "JK", "KL")


def _savee(path: PurePosixPath) -> Reading | None:
    # Some copies have one folder per speaker, and file names without the prefix.
    own = path.parent.name if path.parent.name in SAVEE_SPEAKERS else ""
    for stem in (path.stem, f"{own}_{path.stem}"):
        if match := re.fullmatch(r"(DC|JE|JK|KL)_(a|d|f|h|n|sa|su)\d\d", stem):
            return Reading(match[1], "m", _SAVEE[match[2]], stem)
    return None


_EMODB = {
    "W": "angry", "L": "bored", "E": "disgust", "A": "fearful", "F": "happy",
    "T": "sad", "N": "neutral",
}  # fmt: skip
_EMODB_MEN = {"03", "10", "11", "12", "15"}


def _emodb(path: PurePosixPath) -> Reading | None:
    match = re.fullmatch(r"(\d\d)[ab]\d\d([WLEAFTN])[a-z]", path.stem)
    if not match:
        return None
    return Reading(match[1], "m" if match[1] in _EMODB_MEN else "f", _EMODB[match[2]])


_ASED = {"n": "neutral", "f": "fearful", "h": "happy", "s": "sad", "a": "angry"}


def _ased(path: PurePosixPath) -> Reading | None:
    match = re.fullmatch(r"([nfhsaNFHSA])\d-\d+-\d+-0([12])-(\d+)", path.stem)
    if not match:
        return None
    return Reading(match[3], " fm"[int(match[2])], _ASED[match[1].lower()])


def _turev(path: PurePosixPath) -> Reading | None:
    label = path.parent.name.lower()
    match = re.fullmatch(r"(\d{4})_.+", path.stem)
    if not match or label not in ("angry", "calm", "happy", "sad"):
        return None
    return Reading(match[1], "", label, f"{label}/{path.stem}")


def _emospeech(path: PurePosixPath) -> Reading | None:
    match = re.fullmatch(
        r"[a-z]+-[a-z]+-(angry|calm|fearful|happy)-[\d?]+-(\w+)", path.stem
    )
    return Reading(match[2], "", match[1]) if match else None


def _baved(path: PurePosixPath) -> Reading | None:
    match = re.fullmatch(r"(\d+)-([fm])-\d+-\d-([012])-\d+", path.stem)
    return Reading(match[1], match[2], LEVELS[int(match[3])]) if match else None


_EMOVO = {
    "neu": "neutral", "gio": "happy", "rab": "angry", "tri": "sad", "pau": "fearful",
    "dis": "disgust", "sor": "surprised",
}  # fmt: skip


def _emovo(path: PurePosixPath) -> Reading | None:
    match = re.fullmatch(r"([a-z]{3})-(([fm])[1-3])-\w+", path.stem)
    if not match or match[1] not in _EMOVO:
        return None
    return Reading(match[2], match[3], _EMOVO[match[1]])


_CASIA = {"liuchanhg": "f", "zhaoquanyin": "f", "wangzhe": "m", "zhaozuoxiang": "m"}


def _casia(path: PurePosixPath) -> Reading | None:
    # The same fifty file names recur in every folder.
    speaker, emotion = path.parent.parent.name, path.parent.name
    if speaker.lower() not in _CASIA or not path.stem.isdigit():
        return None
    label = common_label(emotion)
    key = f"{speaker}/{emotion}/{path.stem}"
    return Reading(speaker, _CASIA[speaker.lower()], label, key)


_ESD = ("neutral", "happy", "angry", "sad", "surprise")


def _esd(path: PurePosixPath) -> Reading | None:
    match = re.fullmatch(r"(00\d\d)_\d{6}", path.stem)
    # In the first release each emotion folder has train, evaluation and test folders.
    emotion = next((p for p in path.parts[-3:-1] if p.lower() in _ESD), None)
    return Reading(match[1], "", common_label(emotion)) if match and emotion else None


_folds = tuple(tuple(f"{actor:02}" for actor in fold) for fold in RAVDESS_FOLDS)

LAYOUTS = {
    "ravdess": Layout(
        "RAVDESS (speech)", "CC BY-NC-SA 4.0", _ravdess("01"), 1440,
        _ravdess_names("01", 8, range(1, 25)), folds=_folds,
    ),
    # There are no songs by actor 18.
    "ravdess-song": Layout(
        "RAVDESS (song)", "CC BY-NC-SA 4.0", _ravdess("02"), 1012,
        _ravdess_names("02", 6, [a for a in range(1, 25) if a != 18]), "ravdess",
        _folds,
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
    "emodb": Layout("EmoDB", "free of charge, citation required", _emodb, 535),
    "ased": Layout("ASED", "for research only (no licence stated)", _ased, 2474),
    "turev": Layout("TurEV-DB", "CC BY-NC-ND 4.0, for research only", _turev, 1735),
    "emospeech": Layout("EmoSpeech Command", "CC BY-NC-SA 4.0", _emospeech, 2021),
    "baved": Layout("BAVED", "CC BY 4.0", _baved, 1935),
    "emovo": Layout("EMOVO", "for research only (no licence stated)", _emovo, 588),
    "casia": Layout("CASIA", "for research only (no licence stated)", _casia, 1200),
    "esd": Layout("ESD", "for research only", _esd, 35_000),
}  # fmt: skip
"""Sources: RAVDESS (Livingstone & Russo 2018), TESS (Pichora-Fuller & Dupuis 2020),
CREMA-D (Cao et al. 2014), SAVEE (Haq & Jackson 2009), EmoDB (Burkhardt et al. 2005),
ASED (Retta et al. 2023), TurEV-DB (Canpolat et al. 2020), EmoSpeech Command v0.1, BAVED
(Aouf 2019), EMOVO (Costantini et al. 2014), CASIA (Institute of Automation, Beijing;
the part that is free), ESD (Zhou et al. 2021)."""
