"""What an export is made of: the live rows of a results directory, measured."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from ser_batch.metadata import Metadata
from ser_batch.report.database import scan
from ser_batch.report.timelines import Timeline, all_timelines


@dataclass(frozen=True, slots=True)
class Source:
    """What is exported: the live rows of a directory in DuckDB, measured."""

    connection: duckdb.DuckDBPyConnection
    directory: Path
    labels: tuple[str, ...]
    model_id: str
    parts: tuple[str, ...]
    metadata: Metadata

    def rows(self, table: str, parts: Sequence[str] | None = None) -> str:
        """The selected rows of a table of the results, as SQL; of all parts, or of some."""
        parts = self.parts if parts is None else parts
        rows = scan(self.directory, table, parts) if parts else f"_{table}"
        return f"(SELECT * FROM {rows} SEMI JOIN selected USING (recording_id))"

    def timelines(self, role: str | None = None) -> Iterator[Timeline]:
        """All recordings that are done, with the segments of one role or of everyone."""
        found = all_timelines(self.connection, self.directory, role)
        return (timeline for timeline in found if timeline.call["status"] == "done")
