"""Joining the results of several runs, such as the shards of one job.

A recording is where it lies: of several rows for one location, the latest counts. Of
several locations with the same content, one keeps its rows, and the others become its
copies, as if one run had found them all. Merging a second time changes nothing.
"""

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd
import pyarrow as pa

from ser_batch.errors import ResultsError
from ser_batch.results.live_parts import Tables
from ser_batch.results.manifest import Identity, Manifest
from ser_batch.results.profiles import read_results_profile
from ser_batch.results.reading import read_parts
from ser_batch.results.results import Results, open_results
from ser_batch.results.schemas import TABLES
from ser_batch.results.writing import open_writer
from ser_batch.sources.formats import RAW_EXTENSIONS
from ser_batch.sources.source import Recording

_COLUMNS = (
    "recording_id", "path", "input_root", "location", "content_hash", "status",
    "duplicate_of", "analyzed_at",
)  # fmt: skip
_OF_COPIES = (
    "recording_id", "path", "input_root", "location", "size_bytes", "modified_at",
    "etag", "content_hash", "model_id", "config_hash", "ser_version", "analyzed_at",
)  # fmt: skip
"""What the row of a copy has, besides the id of its original."""


@dataclass(frozen=True, slots=True)
class Merged:
    """What merging did, in recordings."""

    added: int = 0
    replaced: int = 0
    """Those for which a shard had later rows."""
    unchanged: int = 0
    """Those in the directory, whose rows stay."""
    copies: int = 0
    """How many of those added or replaced are copies of another."""
    left: int = 0
    """Copies whose original is no longer there: the next run analyses them."""


def merge_results(out: Path, shards: Sequence[Path]) -> Merged:
    """Add the recordings of shards to a results directory, in one step.

    Args:
        out: the directory to add to; created if missing.
        shards: other results directories, which are only read.

    Raises:
        ResultsError: they are of different models, options or profiles, one is damaged
            or is `out` itself, or `out` cannot be written; nothing is changed.
    """
    opened = [open_results(shard) for shard in shards]
    own = Manifest.read(out)
    identity = opened[0].identity if own is None else own.identity
    for results in opened:
        _check_alike(results, identity, out)
    profile = read_results_profile(opened[0].directory, identity)
    new = replace(identity, profile_id="") if own is None else identity
    with open_writer(out, new) as writer:
        if profile is not None:
            writer.keep_profile(profile)
        chosen = choose_rows([open_results(out), *opened])
        rows, new_rows = chosen.rows, chosen.rows[chosen.rows.source > 0]
        gone = {i for i, _ in writer.known.items()} - set(
            rows.final_id[rows.source == 0]
        )
        if len(new_rows) or gone:
            tables = _tables(opened, new_rows, writer.parts.schemas)
            writer.replace_rows(gone, tables)
            writer.write_record(_record(open_results(out).run_record, opened))
    return Merged(
        added=int((~new_rows.is_known).sum()),
        replaced=int(new_rows.is_known.sum()),
        unchanged=int((rows.source == 0).sum()),
        copies=int((new_rows.original != "").sum()),
        left=chosen.left,
    )


def _check_alike(results: Results, identity: Identity, out: Path) -> None:
    theirs = results.identity
    if results.directory.resolve() == out.resolve():
        raise ResultsError(f"{out}: cannot be merged into itself", path=out)
    for what, own, other in (
        ("model", identity.model_id, theirs.model_id),
        ("options", identity.config_hash, theirs.config_hash),
        ("profile", identity.profile_id, theirs.profile_id),
    ):
        if own != other:
            hint = (
                "analyse all shards with the same --profile FILE"
                if what == "profile"
                else f"analyse all shards with the same {what}"
            )
            raise ResultsError(
                f"{results.directory}: its rows were made with {what} "
                f"{other or 'of the bundle'}, the others with "
                f"{own or 'that of the bundle'}; {hint}",
                path=results.directory,
            )


@dataclass(frozen=True, slots=True)
class Chosen:
    """The row that counts for each location, and what becomes of it.

    `rows` has `recording_id` as in its `source` (by number, 0 for the directory that is
    merged into); its `final_id`, and whether it `is_known` there; and the `original`
    that it is to be a copy of, or empty.
    """

    rows: pd.DataFrame
    left: int
    """How many locations have no row, as all are copies of what is no longer there."""


def choose_rows(sources: Sequence[Results]) -> Chosen:
    """Choose among the rows of all sources; the first is what is merged into."""
    every = pd.concat(
        [
            results.read("recordings", _COLUMNS).to_pandas().assign(source=number)
            for number, results in enumerate(sources)
        ],
        ignore_index=True,
    )
    n_locations = every.location.nunique()
    ids = every[every.source == 0].set_index("location").recording_id
    # Of rows of the same age, the first stay.
    order = every.sort_values(
        ["location", "analyzed_at", "source"], ascending=[True, False, True]
    )
    order["row"] = range(len(order))
    while True:
        rows = order.drop_duplicates("location").reset_index(drop=True)
        rows["is_known"] = rows.location.isin(ids.index)
        rows["final_id"] = _final_ids(rows, ids.to_dict())
        rows["original"] = _originals(rows)
        lost = rows.row[_are_lost(rows)]
        if lost.empty:
            return Chosen(rows, n_locations - len(rows))
        # Other rows of these locations may be better.
        order = order[~order.row.isin(lost)]


def _are_lost(rows: pd.DataFrame) -> pd.Series:
    """Return which copies have no original: it is gone, or has other content now."""
    content = rows.set_index("final_id").content_hash
    stays = rows[(rows.status != "duplicate") & (rows.original == "")].final_id
    known = rows.duplicate_of.where(rows.duplicate_of.isin(stays), "")
    same = known.map(content.to_dict()) == rows.content_hash
    of_first = (rows.source == 0) & (rows.status == "duplicate") & ~same
    of_shard = (rows.source > 0) & (rows.status == "duplicate") & (rows.original == "")
    return of_first | of_shard


def _final_ids(rows: pd.DataFrame, known: Mapping[str, str]) -> list[str]:
    """Return the id of each recording: that which it has, or else a free one."""
    taken, found = set(known.values()), []
    names = ("location", "input_root", "path", "recording_id")
    for location, root, path, own in zip(*(rows[n] for n in names), strict=True):
        final = known.get(location)
        if final is None:
            final = Recording(root, path, location, own).assigned(taken).recording_id
            taken.add(final)
        found.append(final)
    return found


def _originals(rows: pd.DataFrame) -> pd.Series:
    """Return the id of what each recording is a copy of; empty if it is of none.

    What is in the first source stays as it is.
    """
    # Headerless files of the same content may be decoded in different ways.
    kind = [
        suffix if suffix in RAW_EXTENSIONS else ""
        for suffix in (PurePosixPath(path).suffix.lower() for path in rows.path)
    ]
    content = rows.content_hash + pd.Series(kind, rows.index)
    analysed = rows.assign(content=content, failed=rows.status == "failed")
    analysed = analysed[(rows.status != "duplicate") & content.notna()]
    ordered = analysed.sort_values(["failed", "source", "location"], key=_own_first)
    first = ordered.drop_duplicates("content").set_index("content").final_id
    original = content.map(first.to_dict()).fillna("")
    return original.where((rows.source > 0) & (original != rows.final_id), "")


def _own_first(column: pd.Series) -> pd.Series:
    return column > 0 if column.name == "source" else column


def _tables(
    shards: Sequence[Results], new: pd.DataFrame, schemas: Mapping[str, pa.Schema]
) -> Iterator[Tables]:
    """Yield the tables of the new parts: what is taken of each part of each shard."""
    for number, shard in enumerate(shards, 1):
        own = new[new.source == number].set_index("recording_id")
        ids = own.final_id[own.original == ""]
        kept = {str(i): str(final) for i, final in ids.items()}
        copies = own[own.original != ""]
        of_tables = [read_parts(shard.directory, shard.manifest, t) for t in TABLES]
        for parts in zip(*of_tables, strict=True):
            rows = {t: part for t, (_, part) in zip(TABLES, parts, strict=True)}
            tables = {t: _renamed(part, kept) for t, part in rows.items()}
            made = _copies(rows["recordings"], copies, schemas["recordings"])
            tables["recordings"] = pa.concat_tables([tables["recordings"], made])
            yield tables


def _renamed(rows: pa.Table, ids: Mapping[str, str]) -> pa.Table:
    """Return the rows of recordings with these ids, under their final ones."""
    own = _of(rows, ids)
    final = pa.array([ids[i] for i in own["recording_id"].to_pylist()], pa.string())
    at = own.schema.get_field_index("recording_id")
    return own.set_column(at, own.schema.field(at), final)


def _of(rows: pa.Table, ids: Container[str]) -> pa.Table:
    mask = [i in ids for i in rows["recording_id"].to_pylist()]
    return rows.filter(pa.array(mask, pa.bool_()))


def _copies(rows: pa.Table, copies: pd.DataFrame, schema: pa.Schema) -> pa.Table:
    """Return the rows of copies: where they are, and what they are copies of."""
    own = _of(rows, set(copies.index)).to_pylist()
    found = [
        {name: row[name] for name in _OF_COPIES}
        | {
            "recording_id": copies.final_id[row["recording_id"]],
            "duplicate_of": copies.original[row["recording_id"]],
            "status": "duplicate",
        }
        for row in own
    ]
    return pa.Table.from_pylist(found, schema)


def _record(before: Mapping[str, Any], shards: Sequence[Results]) -> dict[str, Any]:
    """Return the record of a run over the inputs of all shards."""
    records = [before, *(shard.run_record for shard in shards)]
    record = next((own for own in records if own), {})
    inputs = {given for own in records for given in own.get("inputs", ())}
    config = dict(record.get("config", {}))
    if "run" in config:
        config["run"] = {k: v for k, v in config["run"].items() if k != "shard"}
    return {**record, "inputs": sorted(inputs), "config": config}
