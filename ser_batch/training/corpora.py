"""Readers of emotion corpora: folders as their publishers lay them out become lists of clips.

Every reader maps its corpus to the common labels. No label is invented: where a corpus has no word of its
own for one (`CALLED`), its clips leave open which of the two they are.
"""

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ser_batch.errors import CorpusError
from ser_batch.formats import named_as_audio

LABELS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
"""The eight emotions of RAVDESS, in its order."""
CALLED = {"calm": "neutral"}
"""What a corpus that lacks the label on the left calls such speech."""


@dataclass(frozen=True, slots=True)
class Clip:
    """One labelled file. `speaker` is unique across corpora; `sex` is `f` or `m`."""

    path: Path
    corpus: str
    speaker: str
    sex: str
    label: str


def meanings(label: str, labels: Sequence[str]) -> tuple[str, ...]:
    """The common labels that a clip may have, if a corpus that knows `labels` gives it `label`.

    >>> meanings("neutral", ["neutral", "happy"]), meanings("neutral", ["neutral", "calm"])
    (('neutral', 'calm'), ('neutral',))
    """
    return (label, *(lacked for lacked, word in CALLED.items() if word == label and lacked not in labels))


@dataclass(frozen=True, slots=True)
class Corpus:
    """Clips of one corpus. `folds` are published groups of speakers, where there are any."""

    name: str
    title: str
    licence: str
    clips: tuple[Clip, ...]
    folds: tuple[frozenset[str], ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """The common labels that occur, in common order."""
        present = {clip.label for clip in self.clips}
        return tuple(label for label in LABELS if label in present)

    @property
    def speakers(self) -> tuple[str, ...]:
        return tuple(sorted({clip.speaker for clip in self.clips}))


def _audio_files(root: Path) -> Iterator[Path]:
    for path in sorted(root.rglob("*")):
        if named_as_audio(path.name) and not path.name.startswith(".") and path.is_file():
            yield path


RAVDESS_FOLDS = ((2, 5, 14, 15, 16), (3, 6, 7, 13, 18), (10, 11, 12, 19, 20), (8, 17, 21, 23, 24), (1, 4, 9, 22))


def read_ravdess(root: Path) -> Corpus:
    """RAVDESS speech (Livingstone & Russo 2018): `03-01-EM-IN-ST-RE-AC`; songs and videos are left out.

    The folds are those of Luna-Jimenez et al. (Sensors 2021).
    """
    clips: dict[str, Clip] = {}
    for path in _audio_files(root):
        fields = path.stem.split("-")
        if len(fields) == 7 and all(field.isdigit() for field in fields) and fields[:2] == ["03", "01"]:
            emotion, actor = int(fields[2]), int(fields[6])
            if not 1 <= emotion <= len(LABELS):
                raise CorpusError(f"{path}: emotion {fields[2]} is none of RAVDESS's 01 to 08")
            # Some copies of the corpus hold every file twice; the name says which clip it is.
            clips.setdefault(
                path.stem, Clip(path, "ravdess", f"ravdess/{actor:02}", "fm"[actor % 2], LABELS[emotion - 1])
            )
    folds = tuple(frozenset(f"ravdess/{actor:02}" for actor in fold) for fold in RAVDESS_FOLDS)
    return Corpus("ravdess", "RAVDESS (speech)", "CC BY-NC-SA 4.0", tuple(clips.values()), folds)


_TESS = {
    "neutral": "neutral", "happy": "happy", "sad": "sad", "angry": "angry", "fear": "fearful",
    "disgust": "disgust", "ps": "surprised", "surprise": "surprised", "surprised": "surprised",
}  # fmt: skip


def read_tess(root: Path) -> Corpus:
    """TESS (Pichora-Fuller & Dupuis 2020): `OAF_word_emotion`, two women, no `calm`."""
    clips: dict[str, Clip] = {}
    for path in _audio_files(root):
        age, _, rest = path.stem.partition("_")
        emotion = rest.rpartition("_")[2].lower()
        if age[:2] not in ("OA", "YA") or emotion not in _TESS:
            raise CorpusError(f"{path}: a TESS clip is named OAF_word_emotion, with an emotion of {', '.join(_TESS)}")
        clips.setdefault(path.stem, Clip(path, "tess", f"tess/{age[:2]}F", "f", _TESS[emotion]))
    return Corpus("tess", "TESS", "CC BY-NC-ND 4.0", tuple(clips.values()))


_NEMO = {
    "neutral": "neutral", "happiness": "happy", "sadness": "sad", "anger": "angry", "fear": "fearful",
    "surprised": "surprised",
}  # fmt: skip


def read_nemo(root: Path) -> Corpus:
    """nEMO (Christop 2024): Polish, nine actors, `data.tsv` beside `samples/`; no `calm`, no `disgust`."""
    table = root / "data.tsv"
    if not table.is_file():
        raise CorpusError(f"{root}: nEMO has a data.tsv here, beside samples/")
    files = {path.stem: path for path in _audio_files(root)}
    clips, missing = [], []
    with table.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines, delimiter="\t"):
            stem = row["file_id"].rpartition(".")[0]
            if row["emotion"] not in _NEMO:
                raise CorpusError(f"{table}: unknown emotion {row['emotion']!r} of {row['file_id']}")
            if stem in files:
                speaker = f"nemo/{row['speaker_id'].strip()}"
                clips.append(Clip(files[stem], "nemo", speaker, row["gender"].strip()[0], _NEMO[row["emotion"]]))
            else:
                missing.append(row["file_id"])
    if missing:
        raise CorpusError(f"{root}: {len(missing)} of the clips in data.tsv are missing, {missing[0]} first")
    return Corpus("nemo", "nEMO", "CC BY-NC-SA 4.0", tuple(clips))


READERS: dict[str, Callable[[Path], Corpus]] = {"ravdess": read_ravdess, "tess": read_tess, "nemo": read_nemo}


def read_corpora(specs: list[str]) -> list[Corpus]:
    """Reads corpora given as `NAME=DIR`.

    Raises:
        CorpusError: an unknown name, a folder without clips of that corpus, or a corpus given twice.
    """
    corpora = []
    for spec in specs:
        name, _, folder = spec.partition("=")
        if name not in READERS or not folder:
            raise CorpusError(f"{spec!r}: a corpus is given as NAME=DIR, with a NAME of {', '.join(READERS)}")
        corpus = READERS[name](Path(folder))
        if not corpus.clips:
            raise CorpusError(f"{folder}: no clip of {corpus.title} is here; check the folder")
        corpora.append(corpus)
    twice = [name for name, n in Counter(corpus.name for corpus in corpora).items() if n > 1]
    if twice:
        raise CorpusError(f"corpus {twice[0]} is given twice; put its clips under one folder")
    return corpora
