"""The rows of one recording, as plain values."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pyarrow as pa

from ser_batch.results.schemas import table_schemas

Columns = dict[str, Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Rows:
    """All rows of one recording: one of `recordings`, any number of the others."""

    recording: dict[str, Any]
    speech: Columns
    segments: Columns


def check_types(rows: Rows, labels: tuple[str, ...]) -> None:
    """Check that rows can be written.

    Raises:
        pyarrow.ArrowException: a value does not have its column's type.
    """
    schemas = _schemas(tuple(labels))
    pa.Table.from_pylist([rows.recording], schemas["recordings"])
    for table in ("speech", "segments"):
        columns = getattr(rows, table)
        for name, values in columns.items():
            pa.array(values, schemas[table].field(name).type)


@lru_cache(maxsize=4)
def _schemas(labels: tuple[str, ...]) -> dict[str, pa.Schema]:
    return table_schemas(labels)
