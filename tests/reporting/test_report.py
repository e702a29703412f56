"""Reports: known calls give known figures and correct intervals."""

import subprocess
import sys

import numpy as np
import pytest

from ser_batch.errors import UsageError
from ser_batch.metadata.gathering import MetadataInputs
from ser_batch.reporting.figures.calls import measure
from ser_batch.reporting.figures.database import connect
from ser_batch.reporting.figures.estimates import (
    MIN_UNITS,
)
from ser_batch.reporting.figures.groups import figures_by
from ser_batch.reporting.pages.plots import draw_plots
from ser_batch.reporting.pages.terminal import page
from ser_batch.results.results import open_results
from tests.support.commands import ser
from tests.support.reports import report_of, text_of
from tests.support.results import LABELS, call, write_results
from tests.support.tables import live_file


def test_totals_add_up_and_shares_are_weighted_by_scored_time(results):
    total = report_of(results).total
    assert [total[name].value for name in ("recordings", "done", "failed")] == [4, 3, 1]
    assert total["audio_h"].value == pytest.approx(300 / 3600)
    assert total["scored_h"].value == pytest.approx(30 / 3600)
    assert total["angry_share"].value == pytest.approx(
        5 * (0.1 + 0.1 + 0.9 + 0.8 + 0.35) / 30
    )
    shares = report_of(results).shares()
    assert sum(shares.values()) == pytest.approx(1)
    assert total["abstained_share"].value == pytest.approx(0)
    assert total["failed_share"].value == pytest.approx(0.25)


def test_a_measure_without_data_has_no_value_instead_of_zero(tmp_path):
    total = report_of(
        write_results(tmp_path / "out", call("a.wav", error="broken"))
    ).total
    assert total["failed_share"].value == 1
    assert total["angry_share"].value is None
    assert total["silence_share"].value is None
    assert (total["audio_h"].value, total["scored_h"].value) == (0, 0)


def test_shares_of_each_quarter_of_a_call_sum_to_one(results):
    first, second, third, last = report_of(results).quarters
    # Ten seconds of scored speech in the calm call are too little for quarters.
    assert (second, third) == (None, None)
    assert first.shares["angry"] == pytest.approx(0.1)
    assert last.shares["angry"] == pytest.approx((0.9 + 0.8 + 0.35) / 3)
    assert sum(last.shares[label] for label in LABELS) == pytest.approx(1)


def test_distributions_are_quantiles_over_calls(tmp_path):
    calls = [call(f"{i}.wav", scored=[(0, 10, {"angry": i / 100})]) for i in range(101)]
    spread = report_of(write_results(tmp_path / "out", *calls)).distributions
    assert spread["angry_share"] == pytest.approx(
        [0.05, 0.25, 0.5, 0.75, 0.95], abs=1e-6
    )
    assert "customer_latency_s" not in spread  # there are no responses


def test_calls_that_stand_out_are_listed_with_reasons(results):
    (storm,) = report_of(results).top
    assert storm.call["path"] == "billing/storm.wav"
    reasons = [m.reason for m in storm.moments()]
    assert reasons[0].startswith("anger for 1")
    assert "distress rises from 0.10 (5 s of speech) to 0.68 (15 s)" in reasons
    assert storm.moments()[0].start_s == storm.call["peak_at_s"] == 80


def test_no_more_calls_than_requested_are_listed(tmp_path):
    hot = [(0, 20, {"angry": 0.9})]
    directory = write_results(
        tmp_path / "out", *(call(f"{i}.wav", scored=hot) for i in range(5))
    )
    assert len(report_of(directory, top=2).top) == 2


def test_only_enough_recordings_give_an_interval(
    tmp_path,
):
    rng = np.random.default_rng(0)
    angry = rng.beta(2, 6, 60)
    calls = [
        call(f"{i}.wav", scored=[(0, 10, {"angry": p})]) for i, p in enumerate(angry)
    ]
    few = report_of(write_results(tmp_path / "few", *calls[: MIN_UNITS - 1])).total[
        "angry_share"
    ]
    assert (few.low, few.high) == (None, None)
    many = report_of(write_results(tmp_path / "many", *calls)).total["angry_share"]
    error = angry.std(ddof=1) / np.sqrt(60)
    assert many.value == pytest.approx(angry.mean(), abs=1e-6)
    assert many.high - many.low == pytest.approx(2 * 2.0 * error, rel=0.2)


def test_buckets_give_about_the_interval_of_single_recordings(tmp_path, monkeypatch):
    rng = np.random.default_rng(1)
    calls = [
        call(f"{i}.wav", scored=[(0, 10, {"angry": p})])
        for i, p in enumerate(rng.beta(2, 6, 300))
    ]
    directory = write_results(tmp_path / "out", *calls)
    widths = []
    for buckets in (1000, 60):
        monkeypatch.setattr("ser_batch.reporting.figures.groups.BUCKETS", buckets)
        figure = report_of(directory).total["angry_share"]
        widths.append(figure.high - figure.low)
    assert widths[1] == pytest.approx(widths[0], rel=0.35)


def test_groups_have_the_same_measures_as_the_total(results):
    groups = report_of(results, by="folder").groups
    assert {key: group.recordings for key, group in groups.items()} == {
        "billing": 2,
        "delivery": 2,
    }
    assert groups["billing"]["angry_share"].value == pytest.approx(5 * 2.25 / 30)
    assert groups["delivery"]["angry_share"].value is None
    assert groups["delivery"]["failed_share"].value == pytest.approx(0.5)


def test_metadata_defines_groups_with_one_for_unknown_values(results, tmp_path):
    (tmp_path / "m.csv").write_text("path,queue\nbilling/storm.wav,vip\n")
    groups = report_of(
        results, by="queue", inputs=MetadataInputs(tmp_path / "m.csv")
    ).groups
    assert {key: group.recordings for key, group in groups.items()} == {
        "vip": 1,
        None: 3,
    }


def test_an_unknown_column_is_refused_and_the_known_ones_are_listed(results):
    with pytest.raises(
        UsageError, match="--by team: no such column; choose from folder, day"
    ):
        report_of(results, by="team")


def test_missing_results_and_damaged_parts_give_clear_errors(results, tmp_path):
    done = ser("report", tmp_path)
    assert done.returncode == 2
    assert "contains no results" in done.stderr
    live_file(results, "segments", "part-000001").write_bytes(b"PAR1 nothing PAR1")
    done = ser("report", results)
    assert done.returncode == 2
    assert "part-000001 is damaged" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_interval_uses_only_recordings_with_the_measure(tmp_path):
    quiet = [call(f"{i}.wav", [(0, 5)]) for i in range(30)]
    report = report_of(
        write_results(tmp_path / "out", call("a.wav", [(0, 5)], [(8, 9)]), *quiet)
    )
    latency = report.total["response_latency_s"]
    assert (latency.value, latency.low, latency.high, latency.recordings) == (
        pytest.approx(3),
        None,
        None,
        1,
    )
    failed = report.total["failed_share"]
    # The Wilson interval for 0 of 31.
    assert (failed.low, failed.high) == (0, pytest.approx(0.11, abs=0.005))


def test_a_trend_may_have_more_periods_than_the_limit_of_groups(tmp_path):
    calls = [call(f"{i}.wav", [(0, 5)], day=7 * i) for i in range(210)]
    assert len(report_of(write_results(tmp_path / "out", *calls)).days) == 210


def test_metadata_columns_may_have_any_name(results, tmp_path):
    names = [
        "done",
        "x",
        "two_sided",
        "tail_s",
        "ends_scored",
        "calls",
        "day",
        'a"b',
        "a b",
        "[/b]",
        "=cmd",
        "p_angry_s",
    ]
    text = ",".join(["path", *(f'"{n.replace(chr(34), chr(34) * 2)}"' for n in names)])
    (tmp_path / "m.csv").write_text(
        text + "\nbilling/storm.wav" + ",[red]v[/b]" * len(names) + "\n"
    )
    for name in ("done", "x", 'a"b', "[/b]", "meta_day"):
        report = report_of(results, inputs=MetadataInputs(tmp_path / "m.csv"), by=name)
        assert {key: group.recordings for key, group in report.groups.items()} == {
            "[red]v[/b]": 1,
            None: 3,
        }
        assert "[red]v[/b]" in text_of(page(report))


def test_recordings_without_a_file_time_can_be_reported(tmp_path):
    gone = call("gone.wav", error="there is no such file")
    gone.recording["modified_at"] = None
    for name, calls in (
        ("all", [gone]),
        ("some", [gone, call("a.wav", [(0, 5)], [(6, 9)], [(6, 9, {"angry": 0.9})])]),
    ):
        directory = write_results(tmp_path / name, *calls)
        report = report_of(directory)
        assert text_of(page(report))
        drawn = draw_plots(report, tmp_path / f"plots-{name}")
        assert all(path.stat().st_size > 0 for path in drawn)
        done = ser(
            "report", directory, "--html", tmp_path / f"{name}.html", "--since", ""
        )
        assert done.returncode == 2
        assert "'' is not a time" in done.stderr
        assert (
            ser("report", directory, "--html", tmp_path / f"{name}.html").returncode
            == 0
        )


def test_reporting_loads_neither_torch_nor_librosa(results):
    code = (
        "import sys; from ser_batch.cli.app import app\n"
        f"try: app(['report', {str(results)!r}, "
        f"'--html', {str(results / 'r.html')!r}])\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'librosa', 'torchaudio'} & set(sys.modules)"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True
        ).stderr.count("Error")
        == 0
    )


def test_figures_do_not_depend_on_the_order_of_recordings(tmp_path):
    calls = [call(f"{i}.wav", scored=[(0, 10, {"angry": i / 40})]) for i in range(20)]
    values = []
    for name, order in (("a", calls), ("b", calls[::-1])):
        with connect() as connection:
            measure(connection, open_results(write_results(tmp_path / name, *order)))
            values.append(figures_by(connection, LABELS)[None]["angry_share"])
    assert values[0].low == pytest.approx(values[1].low)
    assert values[0].value == pytest.approx(values[1].value)
