"""Call metadata from a CSV file with one row per recording."""

import csv
import io
import os
from pathlib import Path

import pandas as pd

from ser_batch.errors import UsageError
from ser_batch.text import counted_examples, printable

KEYS = ("recording_id", "path", "file", "filename", "file_name", "recording", "name")
"""Columns that can identify the recording of a row; the first one present is used."""


def metadata_from_csv(
    recordings: pd.DataFrame, path: Path, notes: list[str]
) -> pd.DataFrame:
    """Return the rows of a CSV that match a recording; append to `notes`.

    Raises:
        UsageError: the file cannot be read, or is not a CSV of this kind.
    """
    table = read_csv(path, notes)
    key = key_of(table, path)
    known = _names_of(recordings)
    named = table[key].map(
        lambda value: (
            str(value).strip().replace("\\", "/") if isinstance(value, str) else None
        )
    )
    ids = named.map(known.get, na_action="ignore")
    ambiguous = named[
        named.isin(
            [name for name, recording_id in known.items() if recording_id is None]
        )
    ].tolist()
    unknown = named[ids.isna() & named.notna() & ~named.isin(ambiguous)].tolist()
    table = table.drop(
        columns=[
            key,
            *(c for c in table.columns if c.lower() == "recording_id" and c != key),
        ]
    )
    table = table.assign(recording_id=ids).dropna(subset="recording_id")
    if unknown:
        notes.append(
            f"{path.name}: no recording for {counted_examples(unknown, 'row')}"
        )
    if ambiguous:
        notes.append(
            f"{path.name}: several recordings match the name of "
            f"{counted_examples(ambiguous, 'row')}: use paths"
        )
    if table.empty and len(recordings):
        notes.append(
            f"{path.name}: no row matches a recording; its column {key} should "
            "contain paths as in the results, such as "
            f"{printable(recordings.path.iloc[0])}, or file names"
        )
    twice = table.recording_id[table.recording_id.duplicated()].unique()
    if len(twice):
        paths = recordings.set_index("recording_id").path.reindex(twice).tolist()
        notes.append(
            f"{path.name}: more than one row for "
            f"{counted_examples(paths, 'recording')}; using the first one"
        )
        table = table.drop_duplicates("recording_id")
    without = recordings.path[
        ~recordings.recording_id.isin(table.recording_id)
    ].tolist()
    if without:
        notes.append(
            f"{path.name}: no row for {counted_examples(without, 'recording')}"
        )
    return table


def key_of(table: pd.DataFrame, path: Path) -> str:
    """Return the column that identifies the recording of a row.

    Raises:
        UsageError: there is no such column.
    """
    lower = {name.lower(): name for name in table.columns}
    for name in KEYS:
        if name in lower:
            return lower[name]
    raise UsageError(
        f"{path}: has the columns {', '.join(table.columns)}; one of {', '.join(KEYS)} "
        "is needed to identify recordings"
    )


def read_csv(path: Path, notes: list[str]) -> pd.DataFrame:
    """Return the rows of a CSV as text, whatever its encoding and separator.

    Parsed by the standard library rather than by DuckDB, whose sniffer drops a header
    shorter than its rows, and renames duplicated columns: here both are errors.

    Raises:
        UsageError: the file cannot be read, or is not a CSV with a header.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    for encoding in (
        ("utf-16",)
        if data[:2] in (b"\xff\xfe", b"\xfe\xff")
        else ("utf-8-sig", "cp1252")
    ):
        try:
            text = data.decode(encoding)
            break
        except UnicodeError:
            continue
    else:
        raise UsageError(
            f"{path}: not text in UTF-8, UTF-16 or Windows-1252; save it as CSV in "
            "UTF-8"
        )
    if encoding == "cp1252":
        notes.append(
            f"{path.name}: not in UTF-8, so it was read as Windows-1252; check its "
            "accented letters"
        )
    if "\0" in text or not text.strip():
        raise UsageError(
            f"{path}: {'not text' if text.strip() else 'empty'}; expected a CSV with a "
            "header"
        )
    header = text.lstrip().splitlines()[0]
    separator = max(",;\t|", key=header.count)
    try:
        rows = list(
            csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        )
    except csv.Error as error:
        raise UsageError(f"{path}: not a CSV: {error}") from error
    rows = [row for row in rows if any(row)]
    if not rows:
        raise UsageError(f"{path}: empty; expected a CSV with a header")
    names = [name.strip() for name in rows[0]]
    if len(set(map(str.lower, names))) < len(names) or not all(names):
        raise UsageError(
            f"{path}: every column needs a unique name; the header has "
            f"{', '.join(names)}"
        )
    uneven = [i for i, row in enumerate(rows, 1) if len(row) != len(names)]
    if uneven:
        raise UsageError(
            f"{path}: row {uneven[0]} has {len(rows[uneven[0] - 1])} fields, but the "
            f"header has {len(names)}"
        )
    return pd.DataFrame(rows[1:], columns=names, dtype="object")


def _names_of(recordings: pd.DataFrame) -> dict[str, str | None]:
    """Return the ids of recordings by every name that a CSV may use for them.

    Names are the id, the path, the file name, and the last two without extension; the
    id is None if several recordings share the name.
    """
    names: dict[str, str | None] = {}
    for recording_id, path in zip(
        recordings.recording_id, recordings.path, strict=True
    ):
        base = os.path.basename(path)
        for name in {base, os.path.splitext(base)[0], os.path.splitext(path)[0]}:
            names[name] = None if name in names else recording_id
    # A full path or an id is never ambiguous.
    names |= dict(zip(recordings.path, recordings.recording_id, strict=True))
    return names | dict(
        zip(recordings.recording_id, recordings.recording_id, strict=True)
    )
