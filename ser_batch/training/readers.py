"""Readers of corpora: files as their publishers name them, and two layouts for one's own, become clips."""

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path

from ser_batch.errors import CorpusError
from ser_batch.training.corpora import LABELS, NOBODY, Clip, Corpus, common_label
from ser_batch.training.sources import SourceFile, source_files

Reading = tuple[str, str, str]
"""Speaker, sex and label of a clip."""

RAVDESS_FOLDS = ((2, 5, 14, 15, 16), (3, 6, 7, 13, 18), (10, 11, 12, 19, 20), (8, 17, 21, 23, 24), (1, 4, 9, 22))
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
        if not (match := re.fullmatch(rf"03-{channel}-0([1-8])-0[12]-0[12]-0[12]-(\d\d)", stem)):
            return None
        emotion, actor = int(match[1]), int(match[2])
        return f"{actor:02}", "fm"[actor % 2], LABELS[emotion - 1]

    return parse


def _ravdess_names(channel: str, n_emotions: int, actors: Iterable[int]) -> frozenset[str]:
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


_CREMA_D = {"ANG": "angry", "DIS": "disgust", "FEA": "fearful", "HAP": "happy", "NEU": "neutral", "SAD": "sad"}


def _crema_d(stem: str) -> Reading | None:
    match = re.fullmatch(r"(1\d{3})_[A-Z]{3}_([A-Z]{3})_[A-Z]{2}", stem)
    return (match[1], "", _CREMA_D[match[2]]) if match and match[2] in _CREMA_D else None


_SAVEE = {
    "a": "angry", "d": "disgust", "f": "fearful", "h": "happy", "n": "neutral", "sa": "sad", "su": "surprised",
}  # fmt: skip
_SAVEE_SPEAKERS = ("DC", "JE", "JK", "KL")


def _savee(stem: str) -> Reading | None:
    match = re.fullmatch(r"(DC|JE|JK|KL)_(a|d|f|h|n|sa|su)\d\d", stem)
    return (match[1], "m", _SAVEE[match[2]]) if match else None


_EMODB = {
    "W": "angry", "L": "bored", "E": "disgust", "A": "fearful", "F": "happy", "T": "sad", "N": "neutral",
}  # fmt: skip
_EMODB_MEN = {"03", "10", "11", "12", "15"}


def _emodb(stem: str) -> Reading | None:
    match = re.fullmatch(r"(\d\d)[ab]\d\d([WLEAFTN])[a-z]", stem)
    return (match[1], "m" if match[1] in _EMODB_MEN else "f", _EMODB[match[2]]) if match else None


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
            for speaker, emotion in product(_SAVEE_SPEAKERS, _SAVEE)
            for n in range(1, 31 if emotion == "n" else 16)
        ),
    ),
    "emodb": Layout("EmoDB", "free of charge, to be cited", _emodb, 535),
}  # fmt: skip
"""RAVDESS (Livingstone & Russo 2018), TESS (Pichora-Fuller & Dupuis 2020), CREMA-D (Cao et al. 2014), SAVEE (Haq &
Jackson 2009), EmoDB (Burkhardt et al. 2005)."""


def _read_layout(name: str, root: Path) -> Corpus:
    layout = LAYOUTS[name]
    clips: dict[str, Clip] = {}
    repeated, foreign = [], []
    files = source_files(root)
    for file in files:
        if not file.is_audio:
            continue
        # Some copies of SAVEE keep each speaker's files in a folder of theirs, without the prefix.
        stem = f"{file.inner.parent.name}_{file.stem}" if file.inner.parent.name in _SAVEE_SPEAKERS else file.stem
        reading = layout.parse(stem) or layout.parse(file.stem)
        if reading is None:
            foreign.append(file.shown)
            continue
        speaker, sex, label = reading
        key = file.stem if layout.parse(file.stem) else stem
        if key in clips:
            repeated.append(file.shown)
        else:
            clips[key] = Clip(file, name, f"{layout.speakers_of or name}/{speaker}", sex, label)
    if name == "crema-d":
        sexes = _crema_d_sexes(files)
        clips = {key: replace(clip, sex=sexes.get(clip.speaker[-4:], "")) for key, clip in clips.items()}
    prefix = layout.speakers_of or name
    return Corpus(
        name, layout.title, layout.licence, tuple(clips.values()),
        tuple(frozenset(f"{prefix}/{speaker}" for speaker in fold) for fold in layout.folds),
        layout.n_published, tuple(sorted(layout.names - clips.keys())), tuple(repeated), tuple(foreign),
    )  # fmt: skip


def _crema_d_sexes(files: Sequence[SourceFile]) -> dict[str, str]:
    """From the publisher's table of actors, where it is there."""
    for file in files:
        if file.inner.name == "VideoDemographics.csv":
            return {row["actorid"]: row["sex"][:1].lower() for row in _rows(file, None, ("actorid", "sex"))}
    return {}


_NEMO = {
    "neutral": "neutral", "happiness": "happy", "sadness": "sad", "anger": "angry", "fear": "fearful",
    "surprised": "surprised",
}  # fmt: skip


def _read_nemo(name: str, root: Path) -> Corpus:
    """nEMO (Christop 2024): Polish, nine actors, `data.tsv` beside `samples/`; no `calm`, no `disgust`."""
    files = source_files(root)
    tables = [file for file in files if file.inner.name == "data.tsv"]
    if not tables:
        raise CorpusError(f"{root}: nEMO has a data.tsv here, beside samples/")
    audio = {file.stem: file for file in files if file.is_audio}
    clips, missing = [], []
    for number, row in enumerate(_rows(tables[0], "\t", ("file_id", "emotion", "speaker_id", "gender")), 2):
        if row["emotion"] not in _NEMO:
            raise CorpusError(f"{tables[0]}, line {number}: unknown emotion {row['emotion']!r}")
        stem = row["file_id"].rpartition(".")[0]
        if file := audio.pop(stem, None):
            clips.append(Clip(file, name, f"nemo/{row['speaker_id']}", row["gender"][:1], _NEMO[row["emotion"]]))
        else:
            missing.append(row["file_id"])
    foreign = tuple(file.shown for file in audio.values())
    return Corpus(name, "nEMO", "CC BY-NC-SA 4.0", tuple(clips), (), 4481, tuple(missing), (), foreign)


OWN_LICENCE = "as its owner says"


def _read_folders(root: Path) -> Corpus:
    """A folder for each label; folders inside it, if there are any, are speakers."""
    name, clips = root.resolve().stem, []
    foreign = []
    placed = [
        (file, file.inner.parts[:-1] if file.member else file.path.relative_to(root).parts[:-1])
        for file in source_files(root)
        if file.is_audio
    ]
    tops = {folders[:1] for _, folders in placed}
    # Archives often hold everything in one folder, which is no label then.
    wrapped = root.is_file() and len(tops) == 1 and all(len(folders) > 1 for _, folders in placed)
    for file, inner in placed:
        folders = inner[1:] if wrapped else inner
        if not folders:
            foreign.append(file.shown)
            continue
        speaker = folders[1] if len(folders) > 1 else NOBODY
        clips.append(Clip(file, name, f"{name}/{speaker}", "", common_label(folders[0])))
    return Corpus(name, name, OWN_LICENCE, tuple(clips), foreign=tuple(foreign))


def _read_csv(table: Path) -> Corpus:
    """A CSV with the columns path, label and, if known, speaker, sex, start_s, end_s; paths from where it lies."""
    if not table.is_file():
        raise CorpusError(
            f"{table}: there is no such file; a CSV names the clips: path,label[,speaker][,start_s,end_s]"
        )
    name, missing, repeated = table.stem, [], []
    clips: dict[Clip, None] = {}
    for number, row in enumerate(_rows(SourceFile(table), None, ("path", "label")), 2):
        where = f"{table}, line {number}"
        path = table.parent / row["path"]
        if not row["path"] or not row["label"]:
            raise CorpusError(f"{where}: path and label must not be empty")
        start_s, end_s = _seconds(row.get("start_s"), where), _seconds(row.get("end_s"), where)
        if end_s is not None and end_s <= (start_s or 0):
            raise CorpusError(f"{where}: end_s ({end_s:g}) must lie after start_s ({start_s or 0:g})")
        if not path.is_file():
            missing.append(row["path"])
            continue
        speaker = f"{name}/{row.get('speaker') or NOBODY}"
        sex = (row.get("sex") or "")[:1].lower()
        clip = Clip(SourceFile(path), name, speaker, sex, common_label(row["label"]), start_s or 0.0, end_s)
        if clip in clips:
            repeated.append(f"line {number}: {row['path']}")
        clips[clip] = None
    return Corpus(name, name, OWN_LICENCE, tuple(clips), missing=tuple(missing), repeated=tuple(repeated))


def _rows(table: SourceFile, delimiter: str | None, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a table, its header in lower case, without spaces around values."""
    try:
        text = table.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"{table}: is not encoded in UTF-8 ({error.reason} at byte {error.start}); save it so"
        ) from error
    except OSError as error:
        raise CorpusError(f"{table}: cannot be read: {error}") from error
    header = text.partition("\n")[0]
    delimiter = delimiter or max(",;\t", key=header.count)
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        return _plain_rows(rows, table, columns)
    except csv.Error as error:
        raise CorpusError(f"{table}, line {rows.line_num}: {error}") from error


def _plain_rows(rows: csv.DictReader, table: SourceFile, columns: Sequence[str]) -> list[dict[str, str]]:
    names = [name.strip().lower() for name in rows.fieldnames or ()]
    absent = [column for column in columns if column not in names]
    if absent:
        raise CorpusError(f"{table}: column {absent[0]!r} is missing; there are {', '.join(names) or 'none'}")
    rows.fieldnames = names
    return [{name: (row[name] or "").strip() for name in names} for row in rows]


def _seconds(text: str | None, where: str) -> float | None:
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise CorpusError(f"{where}: {text!r} is no time in seconds")
    return seconds


PUBLISHED = (*LAYOUTS, "nemo")
"""Corpora with a reader of their own."""
HOW = f"NAME=DIR with a NAME of {', '.join(PUBLISHED)}, or folder=DIR, or csv=FILE"


def read_corpus(spec: str) -> Corpus:
    """Reads a corpus given as `NAME=PATH`; the path is a folder, which may hold zip archives, or an archive.

    A published corpus is recognised by its path alone.

    Raises:
        CorpusError: an unknown name, no clip of that corpus, or a file that cannot be understood.
    """
    if "=" not in spec and Path(spec).exists():
        spec = f"{_recognised(Path(spec))}={spec}"
    name, _, path = spec.partition("=")
    if not path or name not in (*PUBLISHED, "folder", "csv"):
        raise CorpusError(f"{spec!r}: a corpus is given as {HOW}")
    root = Path(path)
    if name == "csv":
        corpus = _read_csv(root)
    elif name == "folder":
        corpus = _read_folders(root)
    else:
        corpus = _read_nemo(name, root) if name == "nemo" else _read_layout(name, root)
    if not corpus.clips:
        audio = corpus.foreign or corpus.missing
        hint = f"; what is here is named otherwise: {audio[0]}" if audio else ""
        raise CorpusError(f"{path}: no clip of {corpus.title} is here{hint}")
    return corpus


def _recognised(root: Path) -> str:
    """The name of the published corpus of which most clips lie under a path."""
    files = source_files(root)
    if any(file.inner.name == "data.tsv" for file in files):
        return "nemo"
    stems = [file.stem for file in files if file.is_audio]
    clips = {name: sum(layout.parse(stem) is not None for stem in stems) for name, layout in LAYOUTS.items()}
    best = max(clips, key=lambda name: clips[name])
    if not clips[best]:
        raise CorpusError(f"{root}: no published corpus is recognised here; give {HOW}")
    return best


def read_corpora(specs: Sequence[str]) -> list[Corpus]:
    """Reads several; see `read_corpus`.

    Raises:
        CorpusError: also if a corpus is given twice.
    """
    corpora = [read_corpus(spec) for spec in specs]
    twice = [name for name, n in Counter(corpus.name for corpus in corpora).items() if n > 1]
    if twice:
        raise CorpusError(f"corpus {twice[0]} is given twice; put its clips under one folder, or give it another name")
    return corpora
