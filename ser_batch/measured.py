"""Results as a library: tables, measures, reports.

results = ser_batch.open_results("results/")
results.recordings(), results.speech(), results.segments()
results.calls(since="7d"), results.measures(by="queue")
"""

import os
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from ser_batch.metadata.gathering import MetadataInputs
from ser_batch.reporting.figures.overview import make_report
from ser_batch.reporting.figures.selection import options_of
from ser_batch.reporting.pages.records import call_rows, to_dict
from ser_batch.results.manifest import read_manifest
from ser_batch.results.results import Results


class MeasuredResults(Results):
    """Results with the measures of a report; made by `open_results`."""

    def calls(
        self,
        since: str | datetime | None = None,
        until: str | datetime | None = None,
        *,
        undated: bool = False,
        timezone: str | None = None,
    ) -> pd.DataFrame:
        """Return a row for each recording: facts, call metadata, and its measures.

        Args:
            since: the first moment: `7d`, `36h`, `yesterday`, `2026-01-31`,
                `2026-01-31T14:00`.
            until: the last; a day counts with all its hours.
            undated: whether the time of the file's last change stands for a start that
                is not known; else such recordings lie in no period.
            timezone: by whose clock; by default this machine's.
        """
        options = options_of(MetadataInputs(), since, until, timezone, undated=undated)
        with make_report(self, options) as o:
            batches = call_rows(o.connection, self.labels, o.metadata)
            return pd.DataFrame([row for batch in batches for row in batch])

    def measures(
        self,
        by: str | None = None,
        since: str | datetime | None = None,
        until: str | datetime | None = None,
        *,
        undated: bool = False,
        timezone: str | None = None,
        cluster: str | None = None,
    ) -> pd.DataFrame:
        """Return a row for each measure, or for each group and measure.

        Columns: group (with `by`), measure, value, low and high (a 95 % interval, or
        None), recordings, unit.

        Args:
            by: a column of the call metadata, or folder, day, week, weekday, hour.
            since: as `calls`.
            until: as `calls`.
            undated: as `calls`.
            timezone: as `calls`.
            cluster: calls with the same value of this column resemble each other, and
                intervals allow for it; `none` for no column. By default the agent.

        Raises:
            UsageError: there is no such column.
        """
        options = options_of(
            MetadataInputs(),
            since,
            until,
            timezone,
            undated=undated,
            by=by,
            cluster=cluster,
        )
        with make_report(self, options) as opened:
            report = opened.report
            groups = report.groups if by is not None else {None: report.total}
            rows = [
                {
                    **({"group": key} if by is not None else {}),
                    "measure": name,
                    "value": figure.value,
                    "low": figure.low,
                    "high": figure.high,
                    "recordings": figure.recordings,
                    "unit": report.measures[name].unit,
                }
                for key, figures in groups.items()
                for name, figure in figures.values.items()
            ]
        return pd.DataFrame(rows)


def open_results(directory: str | os.PathLike[str]) -> MeasuredResults:
    """Return what is live in a results directory now.

    Raises:
        ResultsError: it holds no results, or they are damaged.
    """
    path = Path(directory)
    return MeasuredResults(path, read_manifest(path))


def report(
    directory: str | os.PathLike[str],
    *,
    since: str | datetime | None = None,
    until: str | datetime | None = None,
    by: str | None = None,
    compare: str | None = None,
    metadata: str | os.PathLike[str] | None = None,
    undated: bool = False,
    timezone: str | None = None,
    cluster: str | None = None,
) -> dict[str, Any]:
    """Return what `ser report --format json` prints, as plain values.

    Args:
        directory: a results directory.
        since: the first moment: `7d`, `36h`, `2026-01-31`, `2026-01-31T14:00`.
        until: the last; a day counts with all its hours.
        by: group by a column of the call metadata, or folder, day, week, weekday, hour.
        compare: another results directory, a period `FROM..TO`, or `previous`.
        metadata: a CSV with a row for each call.
        undated: as `MeasuredResults.calls`.
        timezone: as `MeasuredResults.calls`.
        cluster: as `MeasuredResults.measures`.

    Raises:
        ResultsError: the directory holds no results, or they are damaged.
        UsageError: an argument cannot be used.
    """
    options = options_of(
        MetadataInputs(csv=None if metadata is None else Path(metadata)),
        since,
        until,
        timezone,
        undated=undated,
        by=by,
        compare=compare,
        cluster=cluster,
    )
    with make_report(open_results(directory), options) as opened:
        return to_dict(opened.report)
