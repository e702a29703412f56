"""Readers of the user's own corpora: label folders, a CSV, an audformat database."""

from pathlib import Path

from ser_batch.errors import CorpusError
from ser_batch.training.corpora.clips import UNKNOWN_SPEAKER, Clip, Corpus
from ser_batch.training.corpora.files import CorpusFile, corpus_files
from ser_batch.training.corpora.labels import common_label
from ser_batch.training.corpora.tables import read_rows

OWN_LICENCE = "as stated by its owner"


def read_folders(root: Path) -> Corpus:
    """Read a corpus with a folder per label, and optional speaker folders in those."""
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
    # Archives often wrap everything in a single folder, which is not a label.
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
        speaker = folders[1] if len(folders) > 1 else UNKNOWN_SPEAKER
        clips.append(
            Clip(file, name, f"{name}/{speaker}", "", common_label(folders[0]))
        )
    return Corpus(name, name, OWN_LICENCE, tuple(clips), foreign=tuple(foreign))


def read_csv(table: Path) -> Corpus:
    """Read a corpus described by a CSV.

    Columns: `path` and `label`; optionally `speaker`, `sex`, `start_s` and `end_s`.
    Paths are relative to the folder of the CSV.

    Raises:
        CorpusError: the file does not exist, or a row is invalid.
    """
    if not table.is_file():
        raise CorpusError(
            f"{table}: no such file; the CSV lists the clips: "
            "path,label[,speaker][,start_s,end_s]"
        )
    name, missing, repeated = table.stem, [], []
    clips: dict[Clip, None] = {}
    for number, row in enumerate(
        read_rows(CorpusFile(table), None, ("path", "label")), 2
    ):
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
                f"{where}: end_s ({end_s:g}) must be after start_s ({start_s or 0:g})"
            )
        if not path.is_file():
            missing.append(row["path"])
            continue
        speaker = f"{name}/{row.get('speaker') or UNKNOWN_SPEAKER}"
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


def read_audformat(root: Path) -> Corpus:
    """Read an audformat database (audEERING, audformat 1.x).

    Clips come from all tables with a column `emotion`, whether indexed by file or by
    segment; `speaker` and `gender` are read where present.

    Raises:
        CorpusError: the database cannot be loaded or has no such table, or audformat is
            not installed.
    """
    try:
        import audformat
    except ImportError as error:
        raise CorpusError(
            f"{root}: audformat is not installed; run "
            "pip install 'ser-batch[audformat]'"
        ) from error
    try:
        database = audformat.Database.load(str(root))
    except Exception as error:
        raise CorpusError(f"{root}: not an audformat database: {error}") from error
    name = database.name
    clips: dict[Clip, None] = {}
    missing = []
    for table in database.tables.values():
        if "emotion" not in table.columns:
            continue
        frame = audformat.utils.to_segmented_index(table.get())
        for (file, start, end), row in zip(
            frame.index, frame.to_dict("records"), strict=True
        ):
            if not isinstance(row["emotion"], str):
                continue
            if not (root / file).is_file():
                missing.append(file)
                continue
            speaker = row.get("speaker")
            known = isinstance(speaker, str | int)
            clip = Clip(
                CorpusFile(root / file),
                name,
                f"{name}/{speaker if known else UNKNOWN_SPEAKER}",
                str(row.get("gender") or "")[:1].lower(),
                common_label(row["emotion"]),
                start.total_seconds(),
                end.total_seconds() if end == end else None,  # NaT: to the end
            )
            clips[clip] = None
    if not clips and not missing:
        raise CorpusError(
            f"{root}: no table of this database has a column 'emotion'; its tables: "
            f"{', '.join(database.tables) or 'none'}"
        )
    licence = str(database.license or OWN_LICENCE)
    return Corpus(name, name, licence, tuple(clips), missing=tuple(missing))


def _seconds(text: str | None, where: str) -> float | None:
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise CorpusError(f"{where}: {text!r} is not a valid time in seconds")
    return seconds
