"""The input of an export: the selected rows of results, measured."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import duckdb

from ser_batch.metadata.gathering import Metadata
from ser_batch.reporting.figures.database import scan_sql
from ser_batch.reporting.figures.timeline_reading import all_timelines
from ser_batch.reporting.figures.timelines import Timeline
from ser_batch.results.results import Results


@dataclass(frozen=True, slots=True)
class Selection:
    """The recordings to export: results in DuckDB, measured (see `calls.measure`)."""

    connection: duckdb.DuckDBPyConnection
    results: Results
    metadata: Metadata

    @property
    def labels(self) -> tuple[str, ...]:
        """The model's labels."""
        return self.results.labels

    @property
    def model_id(self) -> str:
        """Name and fingerprint of the model."""
        return self.results.model_id

    def rows(self, table: str, parts: Sequence[str] | None = None) -> str:
        """Return SQL for the selected rows of a table, in all or the given parts."""
        parts = self.results.parts if parts is None else parts
        rows = scan_sql(self.results, table, parts) if parts else f"_no_{table}"
        return f"(SELECT * FROM {rows} SEMI JOIN selected USING (recording_id))"

    def timelines(self, role: str | None = None) -> Iterator[Timeline]:
        """Yield all recordings that are done, with segments of one role or of all."""
        found = all_timelines(self.connection, self.results, role)
        return (timeline for timeline in found if timeline.call["status"] == "done")
