"""Call metadata from all inputs, as one table with one row per recording.

Results keep it in a separate table, joined on `recording_id`: metadata can be given
when recordings are analysed or at any later time, and changes no other table.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from functools import partial
from pathlib import Path

import pandas as pd

from ser_batch.metadata.column_types import infer_types, text_of, time_of
from ser_batch.metadata.csv_files import key_of, metadata_from_csv, read_csv
from ser_batch.metadata.file_names import compile_pattern, metadata_from_names
from ser_batch.metadata.sidecars import metadata_from_sidecars
from ser_batch.text import counted_examples


@dataclass(frozen=True, slots=True)
class MetadataInputs:
    """Where call metadata comes from.

    If several inputs have the same column, the CSV takes precedence over sidecars, and
    sidecars over file names.
    """

    csv: Path | None = None
    name_pattern: str | None = None
    """A name in `NAME_PATTERNS`, or a regular expression with named groups, which is
    searched for in the path."""
    sidecars: bool = False
    """Read `call.json` or `call.wav.json` next to `call.wav`."""
    zone: tzinfo | None = None
    """Time zone of the times; None for this machine's."""

    def __bool__(self) -> bool:
        return self.csv is not None or self.name_pattern is not None or self.sidecars

    def check(self) -> None:
        """Check what can be checked before a long run.

        Raises:
            UsageError: the CSV cannot be read, or the pattern is invalid.
        """
        if self.csv is not None:
            key_of(read_csv(self.csv, []), self.csv)
        if self.name_pattern is not None:
            compile_pattern(self.name_pattern)


@dataclass
class Metadata:
    """One row per recording that has metadata, and notes on what did not match."""

    table: pd.DataFrame
    """`recording_id` and any other columns, typed; at most one row per recording."""
    notes: list[str] = field(default_factory=list)

    @property
    def columns(self) -> list[str]:
        """Columns except `recording_id` and `started_at`, which every recording has."""
        return [
            name
            for name in self.table.columns
            if name not in ("recording_id", "started_at")
        ]


def gather_metadata(
    recordings: pd.DataFrame,
    inputs: MetadataInputs,
    kept: pd.DataFrame | None = None,
    taken: Iterable[str] = (),
) -> Metadata:
    """Return the metadata of recordings: what was kept, updated by the inputs.

    Args:
        recordings: a table with the columns recording_id, path and input_root.
        inputs: where to look for metadata.
        kept: the metadata kept in the results, if any.
        taken: reserved column names; a column of such a name becomes `meta_...`.

    Raises:
        UsageError: an input cannot be read.
    """
    result = Metadata(pd.DataFrame({"recording_id": pd.Series(dtype="str")}))
    layers = []
    if kept is not None:
        layers.append(kept[kept.recording_id.isin(recordings.recording_id)])
    if inputs.name_pattern is not None:
        layers.append(
            metadata_from_names(recordings, inputs.name_pattern, result.notes)
        )
    if inputs.sidecars:
        layers.append(metadata_from_sidecars(recordings, result.notes))
    if inputs.csv is not None:
        layers.append(metadata_from_csv(recordings, inputs.csv, result.notes))
    if not layers:
        return result
    spelled = _spellings(layers, set(taken), result.notes)
    merged = pd.DataFrame()
    for layer in layers:
        layer = _folded(layer, spelled).set_index("recording_id").astype("object")
        if "started_at" in layer:
            layer["started_at"] = _times_of(layer.started_at, inputs.zone, result.notes)
        merged = layer.where(layer.notna(), None).combine_first(merged)
    result.table = infer_types(
        merged.rename_axis("recording_id").reset_index(), inputs.zone
    )
    return result


def _folded(layer: pd.DataFrame, spelled: Mapping[str, str]) -> pd.DataFrame:
    """Merge columns whose names differ only in case; the first value found is kept."""
    columns: dict[str, pd.Series] = {}
    for i, name in enumerate(layer.columns):
        values, known = layer.iloc[:, i], columns.get(spelled[name.lower()])
        columns[spelled[name.lower()]] = (
            values if known is None else known.where(known.notna(), values)
        )
    return pd.DataFrame(columns)


def _spellings(
    layers: Sequence[pd.DataFrame], taken: set[str], notes: list[str]
) -> dict[str, str]:
    """Return one name per lower-case name; a reserved name becomes `meta_...`."""
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
        notes.append(f"metadata columns with reserved names were renamed: {names}")
    return spelled | clash


def _times_of(values: pd.Series, zone: tzinfo | None, notes: list[str]) -> pd.Series:
    """Return the start times of calls; values that are not times become notes."""
    text = values.map(
        lambda value: (
            value
            if isinstance(value, datetime) and not pd.isna(value)
            else text_of(value)
        )
    )
    times = text.map(partial(time_of, zone=zone), na_action="ignore")
    wrong = text[times.isna() & text.notna()]
    if len(wrong):
        notes.append(
            "started_at is not a time for "
            f"{counted_examples([str(v) for v in wrong.unique()], 'value')}: use the "
            "form 2026-01-31T14:05:00; left out"
        )
    return times.astype("object").where(times.notna(), None)
