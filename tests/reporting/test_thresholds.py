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
        ("angry_share > 0.3", True), ("angry_share>40 %", False), ("failed >= 1", True), ("valence < 0", True),
        ("fearful_share > 0", False), ("failed_share.low > 0", False), ("failed.low > 0", False), ("agent_slow_response_share < 1", False),
    ],
)  # fmt: skip
def test_thresholds_hold_or_do_not(results, condition, crossed):
    assert bool(crossed_thresholds(report_of(results), [condition])) is crossed


@pytest.mark.parametrize(
    "condition",
    ["angry > 0.2", "angry_share = 0.2", "angry_share > much", "__import__('os') > 1"],
)
def test_a_threshold_that_cannot_be_meant_is_refused(results, condition):
    with pytest.raises(UsageError, match="--fail-if"):
        crossed_thresholds(report_of(results), [condition])


def test_a_threshold_on_the_end_of_an_interval_waits_for_enough_calls(tmp_path):
    """Three angry calls of six are over 20 %, and may be luck; thirty of sixty are not."""
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


def test_the_exit_code_tells_a_scheduler_that_a_threshold_is_crossed(results):
    done = ser(
        "report", results, "--fail-if", "angry_share > 0.3", "--format", "markdown"
    )
    assert done.returncode == 4
    assert "threshold crossed: angry_share > 0.3 (is 0.375)" in done.stderr
    assert "# Calls" in done.stdout
    assert ser("report", results, "--fail-if", "angry_share > 0.5").returncode == 0
