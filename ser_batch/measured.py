"""Python API of results: tables, measures and reports.

results = ser_batch.open_results("results/")
results.recordings(), results.speech(), results.segments()
results.calls(since="7d"), results.measures(by="queue")
"""

import os
from datetime import datetime
from pathlib import Path

import pandas as pd

from ser_batch.metadata.gathering import MetadataInputs
from ser_batch.reporting.figures.overview import make_report
from ser_batch.reporting.figures.selection import options_of
from ser_batch.reporting.pages.json_report import ReportRecord
from ser_batch.reporting.pages.records import call_rows, to_dict
from ser_batch.results.manifest import read_manifest
from ser_batch.results.results import Results
from ser_batch.storage.checkout import results_folder


class MeasuredResults(Results):
    """Results with the measures of a report, as returned by `open_results`."""

    def calls(
        self,
        since: str | datetime | None = None,
        until: str | datetime | None = None,
        *,
        undated: bool = False,
        timezone: str | None = None,
    ) -> pd.DataFrame:
        """Return one row per recording: facts, call metadata and measures.

        Args:
            since: start of the period: `7d`, `36h`, `yesterday`, `2026-01-31`,
                `2026-01-31T14:00`.
            until: end of the period; a day includes all its hours.
            undated: whether the file's modification time replaces an unknown start;
                otherwise such recordings belong to no period.
            timezone: time zone of days and hours; this machine's by default.
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
        """Return one row per measure, or per group and measure.

        Columns: group (with `by`), measure, value, low and high (a 95 % interval, or
        None), recordings, unit.

        Args:
            by: a column of the call metadata, or folder, day, week, weekday, hour.
            since: see `calls`.
            until: see `calls`.
            undated: see `calls`.
            timezone: see `calls`.
            cluster: a column; calls with the same value resemble each other, which the
                intervals allow for. `none` for no column. The agent by default.

        Raises:
            UsageError: the column does not exist.
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
    """Open the current state of a results directory.

    Raises:
        ResultsError: the directory contains no results, or they are damaged.
    """
    path = results_folder(directory)
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
) -> ReportRecord:
    """Return the output of `ser report --format json` as plain values.

    Args:
        directory: a results directory.
        since: start of the period: `7d`, `36h`, `2026-01-31`, `2026-01-31T14:00`.
        until: end of the period; a day includes all its hours.
        by: group by a column of the call metadata, or folder, day, week, weekday, hour.
        compare: another results directory, a period `FROM..TO`, or `previous`.
        metadata: a CSV file with one row per call.
        undated: see `MeasuredResults.calls`.
        timezone: see `MeasuredResults.calls`.
        cluster: see `MeasuredResults.measures`.

    Raises:
        ResultsError: the directory contains no results, or they are damaged.
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
