"""Thresholds that fail a scheduled report."""

import pytest

from ser_batch.errors import UsageError
from ser_batch.reporting.figures.thresholds import crossed_thresholds
from tests.support.commands import ser
from tests.support.reports import report_of
from tests.support.results import call, write_results


@pytest.mark.parametrize(
    ("condition", "crossed"),
    [
        ("angry_share > 0.3", True),
        ("angry_share>40 %", False),
        ("failed >= 1", True),
        ("valence < 0", True),
        ("fearful_share > 0", False),
        ("failed_share.low > 0", False),
        ("failed.low > 0", False),
        ("agent_slow_response_share < 1", False),
    ],
)
def test_thresholds_are_evaluated_on_the_report(results, condition, crossed):
    assert bool(crossed_thresholds(report_of(results), [condition])) is crossed


@pytest.mark.parametrize(
    "condition",
    ["angry > 0.2", "angry_share = 0.2", "angry_share > much", "__import__('os') > 1"],
)
def test_an_invalid_threshold_is_refused(results, condition):
    with pytest.raises(UsageError, match="--fail-if"):
        crossed_thresholds(report_of(results), [condition])


def test_a_threshold_on_an_interval_limit_needs_enough_calls(tmp_path):
    """Check that 3 of 6 angry calls may be chance, but 30 of 60 are not."""
    for n, crossed in ((6, False), (60, True)):
        calls = [
            call(f"{i}.wav", scored=[(0, 20, {"angry": 0.9 * (i % 2)})])
            for i in range(n)
        ]
        report = report_of(write_results(tmp_path / str(n), *calls))
        assert crossed_thresholds(report, ["angry_episode_share > 20 %"])
        assert (
            bool(crossed_thresholds(report, ["angry_episode_share.low > 20 %"]))
            is crossed
        )


def test_the_exit_code_reports_a_crossed_threshold(results):
    done = ser(
        "report", results, "--fail-if", "angry_share > 0.3", "--format", "markdown"
    )
    assert done.returncode == 4
    assert "threshold crossed: angry_share > 0.3 (is 0.375)" in done.stderr
    assert "# Calls" in done.stdout
    assert ser("report", results, "--fail-if", "angry_share > 0.5").returncode == 0
