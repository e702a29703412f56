"""Corpora of one's own: a folder for each label, a CSV, a database of audformat."""

from pathlib import Path

from ser_batch.errors import CorpusError
from ser_batch.training.corpora.clips import NOBODY, Clip, Corpus
from ser_batch.training.corpora.files import CorpusFile, corpus_files
from ser_batch.training.corpora.labels import common_label
from ser_batch.training.corpora.tables import read_rows

OWN_LICENCE = "as its owner says"


def read_folders(root: Path) -> Corpus:
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


def read_csv(table: Path) -> Corpus:
    """A CSV with the columns path, label and, if known, speaker, sex, start_s, end_s; paths from where it lies."""
    if not table.is_file():
        raise CorpusError(
            f"{table}: there is no such file; a CSV names the clips: path,label[,speaker][,start_s,end_s]"
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


def read_audformat(root: Path) -> Corpus:
    """Return the clips of a database of audformat (audeering, audformat 1.x).

    Of all tables with a column `emotion`; `speaker` and `gender` are read where they
    are. Files and segments alike.

    Raises:
        CorpusError: there is no database, it has no such table, or audformat is not
            installed.
    """
    try:
        import audformat
    except ImportError as error:
        raise CorpusError(
            f"{root}: audformat is not installed; pip install 'ser-batch[audformat]'"
        ) from error
    try:
        database = audformat.Database.load(str(root))
    except Exception as error:
        raise CorpusError(f"{root}: no database of audformat: {error}") from error
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
                f"{name}/{speaker if known else NOBODY}",
                str(row.get("gender") or "")[:1].lower(),
                common_label(row["emotion"]),
                start.total_seconds(),
                end.total_seconds() if end == end else None,
            )
            clips[clip] = None
    if not clips and not missing:
        raise CorpusError(
            f"{root}: no table of this database has a column 'emotion'; there are "
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
        raise CorpusError(f"{where}: {text!r} is no time in seconds")
    return seconds
