"""Readers of corpora: the layouts of their publishers, and two for one's own."""

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ser_batch.errors import CorpusError
from ser_batch.training.corpora.clips import NOBODY, Clip, Corpus
from ser_batch.training.corpora.files import CorpusFile, corpus_files
from ser_batch.training.corpora.labels import common_label
from ser_batch.training.corpora.layouts import LAYOUTS, SAVEE_SPEAKERS


def _read_layout(name: str, root: Path) -> Corpus:
    layout = LAYOUTS[name]
    clips: dict[str, Clip] = {}
    repeated, foreign = [], []
    files = corpus_files(root)
    for file in files:
        if not file.is_audio:
            continue
        # Some copies of SAVEE keep each speaker's files in a folder of theirs, without the prefix.
        stem = (
            f"{file.inner.parent.name}_{file.stem}"
            if file.inner.parent.name in SAVEE_SPEAKERS
            else file.stem
        )
        reading = layout.parse(stem) or layout.parse(file.stem)
        if reading is None:
            foreign.append(file.shown)
            continue
        speaker, sex, label = reading
        key = file.stem if layout.parse(file.stem) else stem
        if key in clips:
            repeated.append(file.shown)
        else:
            clips[key] = Clip(
                file, name, f"{layout.speakers_of or name}/{speaker}", sex, label
            )
    if name == "crema-d":
        sexes = _crema_d_sexes(files)
        clips = {
            key: replace(clip, sex=sexes.get(clip.speaker[-4:], ""))
            for key, clip in clips.items()
        }
    prefix = layout.speakers_of or name
    return Corpus(
        name, layout.title, layout.licence, tuple(clips.values()),
        tuple(frozenset(f"{prefix}/{speaker}" for speaker in fold) for fold in layout.folds),
        layout.n_published, tuple(sorted(layout.names - clips.keys())), tuple(repeated), tuple(foreign),
    )  # fmt: skip


def _crema_d_sexes(files: Sequence[CorpusFile]) -> dict[str, str]:
    """From the publisher's table of actors, where it is there."""
    for file in files:
        if file.inner.name == "VideoDemographics.csv":
            return {
                row["actorid"]: row["sex"][:1].lower()
                for row in _rows(file, None, ("actorid", "sex"))
            }
    return {}


_NEMO = {
    "neutral": "neutral", "happiness": "happy", "sadness": "sad", "anger": "angry", "fear": "fearful",
    "surprised": "surprised",
}  # fmt: skip


def _read_nemo(name: str, root: Path) -> Corpus:
    """nEMO (Christop 2024): Polish, nine actors, `data.tsv` beside `samples/`; no `calm`, no `disgust`."""
    files = corpus_files(root)
    tables = [file for file in files if file.inner.name == "data.tsv"]
    if not tables:
        raise CorpusError(f"{root}: nEMO has a data.tsv here, beside samples/")
    audio = {file.stem: file for file in files if file.is_audio}
    clips, missing = [], []
    for number, row in enumerate(
        _rows(tables[0], "\t", ("file_id", "emotion", "speaker_id", "gender")), 2
    ):
        if row["emotion"] not in _NEMO:
            raise CorpusError(
                f"{tables[0]}, line {number}: unknown emotion {row['emotion']!r}"
            )
        stem = row["file_id"].rpartition(".")[0]
        if file := audio.pop(stem, None):
            clips.append(
                Clip(
                    file,
                    name,
                    f"nemo/{row['speaker_id']}",
                    row["gender"][:1],
                    _NEMO[row["emotion"]],
                )
            )
        else:
            missing.append(row["file_id"])
    foreign = tuple(file.shown for file in audio.values())
    return Corpus(
        name,
        "nEMO",
        "CC BY-NC-SA 4.0",
        tuple(clips),
        (),
        4481,
        tuple(missing),
        (),
        foreign,
    )


OWN_LICENCE = "as its owner says"


def _read_folders(root: Path) -> Corpus:
    """A folder for each label; folders inside it, if there are any, are speakers."""
    name, clips = root.resolve().stem, []
    foreign = []
    placed = [
        (
            file,
            file.inner.parts[:-1]
            if file.member
            else file.path.relative_to(root).parts[:-1],
        )
        for file in corpus_files(root)
        if file.is_audio
    ]
    tops = {folders[:1] for _, folders in placed}
    # Archives often hold everything in one folder, which is no label then.
    wrapped = (
        root.is_file()
        and len(tops) == 1
        and all(len(folders) > 1 for _, folders in placed)
    )
    for file, inner in placed:
        folders = inner[1:] if wrapped else inner
        if not folders:
            foreign.append(file.shown)
            continue
        speaker = folders[1] if len(folders) > 1 else NOBODY
        clips.append(
            Clip(file, name, f"{name}/{speaker}", "", common_label(folders[0]))
        )
    return Corpus(name, name, OWN_LICENCE, tuple(clips), foreign=tuple(foreign))


def _read_csv(table: Path) -> Corpus:
    """A CSV with the columns path, label and, if known, speaker, sex, start_s, end_s; paths from where it lies."""
    if not table.is_file():
        raise CorpusError(
            f"{table}: there is no such file; a CSV names the clips: path,label[,speaker][,start_s,end_s]"
        )
    name, missing, repeated = table.stem, [], []
    clips: dict[Clip, None] = {}
    for number, row in enumerate(_rows(CorpusFile(table), None, ("path", "label")), 2):
        where = f"{table}, line {number}"
        path = table.parent / row["path"]
        if not row["path"] or not row["label"]:
            raise CorpusError(f"{where}: path and label must not be empty")
        start_s, end_s = (
            _seconds(row.get("start_s"), where),
            _seconds(row.get("end_s"), where),
        )
        if end_s is not None and end_s <= (start_s or 0):
            raise CorpusError(
                f"{where}: end_s ({end_s:g}) must lie after start_s ({start_s or 0:g})"
            )
        if not path.is_file():
            missing.append(row["path"])
            continue
        speaker = f"{name}/{row.get('speaker') or NOBODY}"
        sex = (row.get("sex") or "")[:1].lower()
        clip = Clip(
            CorpusFile(path),
            name,
            speaker,
            sex,
            common_label(row["label"]),
            start_s or 0.0,
            end_s,
        )
        if clip in clips:
            repeated.append(f"line {number}: {row['path']}")
        clips[clip] = None
    return Corpus(
        name,
        name,
        OWN_LICENCE,
        tuple(clips),
        missing=tuple(missing),
        repeated=tuple(repeated),
    )


def _rows(
    table: CorpusFile, delimiter: str | None, columns: Sequence[str]
) -> list[dict[str, str]]:
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


def _plain_rows(
    rows: csv.DictReader, table: CorpusFile, columns: Sequence[str]
) -> list[dict[str, str]]:
    names = [name.strip().lower() for name in rows.fieldnames or ()]
    absent = [column for column in columns if column not in names]
    if absent:
        raise CorpusError(
            f"{table}: column {absent[0]!r} is missing; there are {', '.join(names) or 'none'}"
        )
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
    files = corpus_files(root)
    if any(file.inner.name == "data.tsv" for file in files):
        return "nemo"
    stems = [file.stem for file in files if file.is_audio]
    clips = {
        name: sum(layout.parse(stem) is not None for stem in stems)
        for name, layout in LAYOUTS.items()
    }
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
    twice = [
        name for name, n in Counter(corpus.name for corpus in corpora).items() if n > 1
    ]
    if twice:
        raise CorpusError(
            f"corpus {twice[0]} is given twice; put its clips under one folder, or give it another name"
        )
    return corpora
