"""What is known of a call besides its audio: agent, queue, when it began. From a CSV, file names and sidecars.

Kept in a table of its own, `metadata/metadata.parquet`, joined on `recording_id`: it can be given when
recordings are analysed or at any time later, and changes no other row.
"""

import csv
import io
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ser_batch.errors import ResultsError, UsageError
from ser_batch.inferred import infer_types, text_of, time_of
from ser_batch.manifest import write_durably
from ser_batch.parts import read_table
from ser_batch.recordings import shown

NAME_PATTERNS = {
    "freepbx": r"(?P<direction>\w+)-(?P<called>[^-/]+)-(?P<caller>[^-/]+)-(?P<started_at>\d{8}-\d{6})"
    r"-(?P<uniqueid>[\d.]*\d)",
    "3cx": r"\[(?P<agent>[^\]/]*)\]_(?P<extension>[^-_/]+)-(?P<caller>[^_/]+)_(?P<started_at>\d{14})",
    "vicidial": r"(?P<started_at>\d{8}-\d{6})_(?P<caller>[^_/-]+)",
}
"""Patterns for the file names of common recorders: FreePBX (Asterisk), 3CX, VICIdial."""
KEYS = ("recording_id", "path", "file", "filename", "file_name", "recording", "name")
"""Columns of a CSV that can say which recording a row is about; the first of them that is there does."""
EXAMPLES = 3
"""How many names a note gives."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where metadata comes from; where several name one column, the CSV wins over sidecars over file names."""

    csv: Path | None = None
    name_pattern: str | None = None
    """A name of `NAME_PATTERNS`, or a regular expression with named groups, searched in the path."""
    sidecars: bool = False
    """`call.json` or `call.wav.json` beside `call.wav`."""

    def __bool__(self) -> bool:
        return self.csv is not None or self.name_pattern is not None or self.sidecars

    def check(self) -> None:
        """Looks at what can be wrong before a long run has been made.

        Raises:
            UsageError: the CSV cannot be read, or the pattern is none.
        """
        if self.csv is not None:
            _key_of(_read_csv(self.csv, []), self.csv)
        if self.name_pattern is not None:
            _compiled(self.name_pattern)


@dataclass
class Metadata:
    """A row for each recording of which something is known, and what the reader of a report should know of it."""

    table: pd.DataFrame
    """`recording_id` and any other columns, typed; one row per recording at most."""
    notes: list[str] = field(default_factory=list)

    @property
    def columns(self) -> list[str]:
        """All but `recording_id` and `started_at`, which every recording has."""
        return [name for name in self.table.columns if name not in ("recording_id", "started_at")]


def read_metadata(directory: Path, recordings: pd.DataFrame, sources: Sources, taken: Iterable[str] = ()) -> Metadata:
    """What a results directory keeps of its recordings, and over it what `sources` give.

    `recordings` has the columns recording_id, path and input_root. A column that is called as one of `taken`
    is renamed to `meta_...`.

    Raises:
        UsageError: a source cannot be read.
        ResultsError: what was kept is damaged.
    """
    result = Metadata(pd.DataFrame({"recording_id": pd.Series(dtype="str")}))
    kept = _kept(directory)
    layers = [kept[kept.recording_id.isin(recordings.recording_id)]] if kept is not None else []
    if sources.name_pattern is not None:
        layers.append(_from_names(recordings, sources.name_pattern, result.notes))
    if sources.sidecars:
        layers.append(_from_sidecars(recordings, result.notes))
    if sources.csv is not None:
        layers.append(_from_csv(recordings, sources.csv, result.notes))
    if not layers:
        return result
    spelled = _spellings(layers, set(taken), result.notes)
    merged = pd.DataFrame()
    for layer in layers:
        layer = _folded(layer, spelled).set_index("recording_id").astype("object")
        if "started_at" in layer:
            layer["started_at"] = _times_of(layer.started_at, result.notes)
        merged = layer.where(layer.notna(), None).combine_first(merged)
    result.table = infer_types(merged.rename_axis("recording_id").reset_index())
    return result


def _folded(layer: pd.DataFrame, spelled: Mapping[str, str]) -> pd.DataFrame:
    """The layer with one column for all that differ in upper and lower case alone: the first that has a value."""
    columns: dict[str, pd.Series] = {}
    for i, name in enumerate(layer.columns):
        values, known = layer.iloc[:, i], columns.get(spelled[name.lower()])
        columns[spelled[name.lower()]] = values if known is None else known.where(known.notna(), values)
    return pd.DataFrame(columns)


def _spellings(layers: Sequence[pd.DataFrame], taken: set[str], notes: list[str]) -> dict[str, str]:
    """One name for each column, whatever case the sources write it in; one of ours is renamed to `meta_...`."""
    spelled = {"recording_id": "recording_id", "started_at": "started_at"}
    for layer in layers:
        for name in layer.columns:
            spelled.setdefault(name.lower(), name)
    clash = {}
    for lower, name in spelled.items():
        if lower in taken and lower != "recording_id":
            clash[lower] = f"meta_{name}"
            while clash[lower].lower() in spelled or clash[lower].lower() in taken:
                clash[lower] += "_"
    if clash:
        names = ", ".join(f"{spelled[old]} is {new}" for old, new in clash.items())
        notes.append(f"metadata columns that are named as ours were renamed: {names}")
    return spelled | clash


def keep_metadata(directory: Path, sources: Sources) -> list[str]:
    """Writes what is known of the recordings of a results directory beside its tables; returns the notes."""
    columns = ["recording_id", "path", "input_root"]
    recordings = read_table(directory, "recordings", columns).to_pandas()
    metadata = read_metadata(directory, recordings, sources)
    table = pa.Table.from_pandas(metadata.table, preserve_index=False).replace_schema_metadata(None)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    try:
        (directory / "metadata").mkdir(exist_ok=True)
        write_durably(directory / "metadata" / "metadata.parquet", sink.getvalue().to_pybytes())
    except OSError as error:
        raise ResultsError(f"{directory}/metadata: cannot be written: {error.strerror}") from error
    return metadata.notes


def _times_of(values: pd.Series, notes: list[str]) -> pd.Series:
    """When calls began; what is no time is told, and left out."""
    text = values.map(lambda value: value if isinstance(value, datetime) and value is not pd.NaT else text_of(value))
    times = text.map(time_of, na_action="ignore")
    wrong = text[times.isna() & text.notna()]
    if len(wrong):
        notes.append(
            f"started_at is no time for {_some([str(v) for v in wrong.unique()], 'value')}: write 2026-01-31T14:05:00; "
            "left out"
        )
    return times.astype("object").where(times.notna(), None)


def _kept(directory: Path) -> pd.DataFrame | None:
    path = directory / "metadata" / "metadata.parquet"
    if not path.exists():
        return None
    try:
        table = pq.read_table(path).to_pandas()
    except (OSError, pa.ArrowException) as error:
        raise ResultsError(f"{path}: is damaged ({error}); remove it, and give the metadata again") from error
    if "recording_id" not in table:
        raise ResultsError(f"{path}: is none of ours, it has no recording_id; remove it, and give the metadata again")
    return table


def _compiled(given: str) -> re.Pattern[str]:
    try:
        pattern = re.compile(NAME_PATTERNS.get(given, given))
    except re.error as error:
        raise UsageError(
            f"--name-pattern {given}: is no regular expression ({error}), and none of {', '.join(NAME_PATTERNS)}"
        ) from error
    if not pattern.groupindex:
        raise UsageError(
            f"--name-pattern {given}: has no named group, for example (?P<queue>\\w+); "
            f"ready ones are {', '.join(NAME_PATTERNS)}"
        )
    return pattern


def _from_names(recordings: pd.DataFrame, given: str, notes: list[str]) -> pd.DataFrame:
    pattern = _compiled(given)
    found = [pattern.search(path) for path in recordings.path]
    missed = [path for path, match in zip(recordings.path, found, strict=True) if not match]
    if missed:
        notes.append(f"the name pattern does not fit {_some(missed, 'recording')}")
    rows = [match.groupdict() if match else {} for match in found]
    table = pd.DataFrame(rows, columns=list(pattern.groupindex), dtype="object")
    return table.assign(recording_id=recordings.recording_id.to_numpy()).dropna(
        how="all", subset=list(pattern.groupindex)
    )


def _from_sidecars(recordings: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    rows, missed = [], []
    for row in recordings.itertuples():
        audio = os.path.join(str(row.input_root), str(row.path))
        for name in (f"{os.path.splitext(audio)[0]}.json", f"{audio}.json"):
            try:
                values = json.loads(Path(name).read_bytes())
                flat = dict(_flat(values)) if isinstance(values, Mapping) else {}
            except (FileNotFoundError, NotADirectoryError):
                continue
            except (OSError, ValueError, RecursionError) as error:
                notes.append(f"{shown(name)}: is no JSON that can be read ({error}); left out")
                continue
            if not isinstance(values, Mapping):
                notes.append(f"{shown(name)}: holds no JSON object; left out")
                continue
            rows.append({**flat, "recording_id": row.recording_id})
            break
        else:
            missed.append(str(row.path))
    if missed:
        notes.append(f"no sidecar for {_some(missed, 'recording')}")
    return pd.DataFrame(rows) if rows else pd.DataFrame({"recording_id": []})


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str | None]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}_")
        elif not isinstance(value, list) and key.lower() != "recording_id":
            yield (
                f"{prefix}{key}".encode("utf-8", "backslashreplace").decode(),
                json.dumps(value) if isinstance(value, bool) else value,
            )


def _from_csv(recordings: pd.DataFrame, path: Path, notes: list[str]) -> pd.DataFrame:
    table = _read_csv(path, notes)
    key = _key_of(table, path)
    known = _names_of(recordings)
    named = table[key].map(lambda value: str(value).strip().replace("\\", "/") if isinstance(value, str) else None)
    ids = named.map(known.get, na_action="ignore")
    ambiguous = named[named.isin([name for name, recording_id in known.items() if recording_id is None])].tolist()
    unknown = named[ids.isna() & named.notna() & ~named.isin(ambiguous)].tolist()
    table = table.drop(columns=[key, *(c for c in table.columns if c.lower() == "recording_id" and c != key)])
    table = table.assign(recording_id=ids).dropna(subset="recording_id")
    if unknown:
        notes.append(f"{path.name}: no recording for {_some(unknown, 'row')}")
    if ambiguous:
        notes.append(f"{path.name}: several recordings have the name of {_some(ambiguous, 'row')}: give paths")
    if table.empty and len(recordings):
        notes.append(
            f"{path.name}: none of its rows fits a recording; its column {key} should hold paths as in the results, "
            f"such as {shown(recordings.path.iloc[0])}, or file names"
        )
    twice = table.recording_id[table.recording_id.duplicated()].unique()
    if len(twice):
        paths = recordings.set_index("recording_id").path.reindex(twice).tolist()
        notes.append(f"{path.name}: more than one row for {_some(paths, 'recording')}; the first one is taken")
        table = table.drop_duplicates("recording_id")
    without = recordings.path[~recordings.recording_id.isin(table.recording_id)].tolist()
    if without:
        notes.append(f"{path.name}: no row for {_some(without, 'recording')}")
    return table


def _key_of(table: pd.DataFrame, path: Path) -> str:
    lower = {name.lower(): name for name in table.columns}
    for name in KEYS:
        if name in lower:
            return lower[name]
    raise UsageError(
        f"{path}: has the columns {', '.join(table.columns)}; one of {', '.join(KEYS)} must say which recording a row "
        "is about"
    )


def _read_csv(path: Path, notes: list[str]) -> pd.DataFrame:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    for encoding in ("utf-16",) if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8-sig", "cp1252"):
        try:
            text = data.decode(encoding)
            break
        except UnicodeError:
            continue
    else:
        raise UsageError(f"{path}: is no text in UTF-8, UTF-16 or Windows-1252; save it as CSV in UTF-8")
    if encoding == "cp1252":
        notes.append(f"{path.name}: is not in UTF-8 and was read as Windows-1252; check its accented letters")
    if "\0" in text or not text.strip():
        raise UsageError(f"{path}: is {'no text' if text.strip() else 'empty'}; a CSV with a header is expected")
    header = text.lstrip().splitlines()[0]
    separator = max(",;\t|", key=header.count)
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True))
    except csv.Error as error:
        raise UsageError(f"{path}: is no CSV: {error}") from error
    rows = [row for row in rows if any(row)]
    if not rows:
        raise UsageError(f"{path}: is empty; a CSV with a header is expected")
    names = [name.strip() for name in rows[0]]
    if len(set(map(str.lower, names))) < len(names) or not all(names):
        raise UsageError(f"{path}: every column needs a name of its own; there are {', '.join(names)}")
    uneven = [i for i, row in enumerate(rows, 1) if len(row) != len(names)]
    if uneven:
        raise UsageError(f"{path}: row {uneven[0]} has {len(rows[uneven[0] - 1])} fields and the header {len(names)}")
    return pd.DataFrame(rows[1:], columns=names, dtype="object")


def _names_of(recordings: pd.DataFrame) -> dict[str, str | None]:
    """What recordings can be called: id, path, file name, and these without their end; None where several share it."""
    names: dict[str, str | None] = {}
    for recording_id, path in zip(recordings.recording_id, recordings.path, strict=True):
        base = os.path.basename(path)
        for name in {base, os.path.splitext(base)[0], os.path.splitext(path)[0]}:
            names[name] = None if name in names else recording_id
    # A whole path or an id is never in doubt.
    names |= dict(zip(recordings.path, recordings.recording_id, strict=True))
    return names | dict(zip(recordings.recording_id, recordings.recording_id, strict=True))


def _some(names: list[str], noun: str) -> str:
    """`2 recordings (a.wav, b.wav)`."""
    count = f"{len(names)} {noun}{'' if len(names) == 1 else 's'}"
    return f"{count} ({', '.join(map(shown, names[:EXAMPLES]))}{', ...' if len(names) > EXAMPLES else ''})"
