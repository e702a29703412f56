"""Reading of the live parts of a table, while runs may replace them."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ser_batch.errors import ResultsError
from ser_batch.results.manifest import Manifest
from ser_batch.storage.checkout import name_of


class ResultsChanged(ResultsError):
    """A run has replaced parts while they were being read."""


def read_parts(
    directory: Path,
    manifest: Manifest,
    table: str,
    columns: Sequence[str] | None = None,
) -> Iterator[tuple[str, pa.Table]]:
    """Yield the name and rows of each live part of a table, with the given columns.

    Raises:
        ResultsError: a part is damaged or missing; or (`ResultsChanged`) a run has
            replaced it since the manifest was read.
    """
    wanted = None if columns is None else list(columns)
    paths = part_files(directory, manifest, table, list(manifest.parts))
    for part, path in zip(manifest.parts, paths, strict=True):
        try:
            # Three times as fast for small parts as `read_table`.
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                rows = file.read(wanted)
        except FileNotFoundError as error:
            raise missing_part(directory, manifest) from error
        except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
            raise ResultsError(
                f"{directory}: a part is damaged ({error}); `ser verify` shows which, "
                "and --repair sets it aside",
                path=path,
            ) from error
        yield part, rows


def part_files(
    directory: Path, manifest: Manifest, table: str, parts: Sequence[str]
) -> list[Path]:
    """Return the files of parts, downloaded if they are in an object store.

    Raises:
        ResultsError: they cannot be downloaded; or (`ResultsChanged`) a run has
            replaced them since the manifest was read.
    """
    try:
        return manifest.files(directory, table, parts)
    except FileNotFoundError as error:
        raise missing_part(directory, manifest) from error
    except OSError as error:
        message = f"{name_of(directory)}: cannot be read: {error.strerror}"
        raise ResultsError(message, path=directory) from error


def missing_part(directory: Path, manifest: Manifest) -> ResultsError:
    """Return the error for a part that is missing: replaced by a run, or lost."""
    now = Manifest.read(directory)
    if now is None or now.parts != manifest.parts:
        return ResultsChanged(
            f"{name_of(directory)}: a run has replaced what was being read; try again",
            path=directory,
        )
    return ResultsError(
        f"{name_of(directory)}: parts named in manifest.json are missing; "
        "`ser verify --repair` removes them from it",
        path=directory,
    )
