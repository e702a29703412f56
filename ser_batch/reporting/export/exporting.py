"""Export of results to the formats of other tools: start with `export_results`."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import xlsxwriter

from ser_batch.errors import UsageError
from ser_batch.metadata.gathering import Metadata
from ser_batch.reporting.export.annotations import (
    write_audformat,
    write_rttm,
    write_textgrid,
    write_webvtt,
)
from ser_batch.reporting.export.pseudonyms import write_results
from ser_batch.reporting.export.selection import Selection
from ser_batch.reporting.export.spreadsheet import write_xlsx
from ser_batch.reporting.export.tables import (
    write_csv_tables,
    write_duckdb,
    write_jsonl,
)
from ser_batch.reporting.figures.calls import measure
from ser_batch.reporting.figures.database import connect, translated_errors
from ser_batch.reporting.figures.selection import Options
from ser_batch.results.name_hashes import load_key
from ser_batch.results.results import Results, open_results

FORMATS: dict[str, Callable[[Selection, Path], None]] = {
    "rttm": write_rttm,
    "audformat": write_audformat,
    "textgrid": write_textgrid,
    "webvtt": write_webvtt,
    "csv": write_csv_tables,
    "jsonl": write_jsonl,
    "xlsx": write_xlsx,
    "duckdb": write_duckdb,
    "results": write_results,
}
FILES = ("xlsx", "duckdb")
"""Formats written as a single file; the others are folders."""


def export_results(
    results: Results,
    format_: str,
    out: Path,
    options: Options = Options(),
    hash_paths: Path | None = None,
) -> Metadata:
    """Write results to `out` in one of `FORMATS`, completely or not at all.

    Args:
        results: the results to export.
        format_: a key of `FORMATS`.
        out: a new file or folder, or a file to replace.
        options: which recordings to export, and call metadata in addition to that
            stored with the results.
        hash_paths: a key file, created if it does not exist. If given, file names are
            replaced by keyed hashes (see `pseudonyms`), and metadata is used for
            selection only and not written.

    Returns:
        The gathered call metadata and its notes.

    Raises:
        ResultsError: the results are damaged.
        UsageError: `out` cannot be replaced or written, or there are too many rows for
            the format.
    """
    _check_target(out, format_)
    with _measured(results, options) as selection:
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            with _whole(out) as partial:
                if hash_paths:
                    copy = partial.with_name("pseudonymous")
                    write_results(selection, copy, load_key(hash_paths))
                    with _measured(open_results(copy)) as pseudonymous:
                        FORMATS[format_](pseudonymous, partial)
                else:
                    FORMATS[format_](selection, partial)
        except duckdb.IOException as error:
            if str(out.parent) not in str(error):
                raise  # a read error, not a write error
            raise _unwritable(out, error) from error
        except (OSError, xlsxwriter.exceptions.XlsxWriterException) as error:
            raise _unwritable(out, getattr(error, "strerror", None) or error) from error
    return selection.metadata


def _check_target(out: Path, format_: str) -> None:
    is_folder = format_ not in FILES
    problem = None
    if os.path.exists(out) and os.path.isdir(out) != is_folder:
        wanted, found = ("folder", "file") if is_folder else ("file", "folder")
        problem = f"{format_} is written to a {wanted}, but this is a {found}"
    elif os.path.isdir(out) and any(out.iterdir()):
        problem = "is not empty; choose a new folder"
    elif os.path.lexists(out) and not (os.path.isdir(out) or os.path.isfile(out)):
        problem = "is neither a file nor a folder"
    if problem:
        raise UsageError(f"--out {out}: {problem}", path=out, option="--out")


def _unwritable(out: Path, reason: object) -> UsageError:
    return UsageError(
        f"--out {out}: cannot be written: {reason}; free some space or choose another "
        "location",
        path=out,
        option="--out",
    )


@contextmanager
def _measured(results: Results, options: Options = Options()) -> Iterator[Selection]:
    with connect() as connection, translated_errors(results):
        metadata = measure(connection, results, options)
        yield Selection(connection, results, metadata)


@contextmanager
def _whole(out: Path) -> Iterator[Path]:
    """Yield a temporary path next to `out`, and rename it to `out` at the end."""
    with tempfile.TemporaryDirectory(prefix=".ser-export-", dir=out.parent) as folder:
        partial = Path(folder) / "partial"
        yield partial
        if out.is_dir():
            out.rmdir()
        shutil.move(partial, out)
