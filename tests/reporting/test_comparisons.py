"""Comparisons of periods, directories and groups, and the differences they report."""

from datetime import datetime, timedelta

import numpy as np
import pytest

from ser_batch.errors import UsageError
from ser_batch.metadata.gathering import MetadataInputs
from ser_batch.reporting.figures.calls import measure
from ser_batch.reporting.figures.database import connect
from ser_batch.reporting.figures.estimates import (
    Estimates,
    Scale,
    Units,
    difference_limits,
    estimate,
    p_values,
)
from ser_batch.reporting.figures.groups import chances_against_the_rest, figures_by
from ser_batch.reporting.figures.overview import make_report
from ser_batch.reporting.figures.periods import find_zone, parse_period, parse_time
from ser_batch.reporting.figures.selection import Options
from ser_batch.reporting.pages.html import write_html
from ser_batch.reporting.pages.markdown import to_markdown
from ser_batch.reporting.pages.terminal import page
from ser_batch.results.manifest import Identity
from ser_batch.results.results import open_results
from tests.support.commands import ser
from tests.support.reports import report_of, text_of
from tests.support.results import LABELS, call, write_results


def test_a_period_contains_only_its_own_calls(results):
    report = report_of(
        results,
        since=parse_time("2026-03-03"),
        until=parse_time("2026-03-03", end=True),
    )
    assert report.total.recordings == 2
    assert list(report.days) == ["2026-03-03"]
    nothing = report_of(results, since=parse_time("2027-01-01"))
    assert nothing.total.recordings == 0
    assert "no recordings in this period" in nothing.notes
    with pytest.raises(UsageError, match="is not before"):
        report_of(results, since=datetime(2026, 3, 2), until=datetime(2026, 3, 1))


def test_comparisons_of_periods_and_directories_give_the_size_of_changes(tmp_path):
    rng = np.random.default_rng(2)

    def week(name: str, mean: float, day: int):
        levels = np.clip(rng.normal(mean, 0.05, 40), 0, 1)
        return [
            call(f"{name}{i}.wav", scored=[(0, 10, {"angry": p})], day=day)
            for i, p in enumerate(levels)
        ]

    now, then = week("now", 0.5, 7), week("then", 0.3, 0)
    both = write_results(tmp_path / "both", *now, *then)
    earlier = write_results(tmp_path / "then", *then)
    later = write_results(tmp_path / "now", *now)
    for directory, options in (
        (later, {"compare": str(earlier)}),
        (
            both,
            {
                "since": datetime(2026, 3, 9),
                "until": datetime(2026, 3, 16),
                "compare": "previous",
            },
        ),
        (both, {"since": datetime(2026, 3, 9), "compare": "2026-03-01..2026-03-05"}),
    ):
        comparison = report_of(directory, **options).comparison
        assert comparison.recordings == 40
        change = comparison.change["angry_share"]
        assert change.value == pytest.approx(0.2, abs=0.04)
        assert 0 < change.low < change.value < change.high
    same = report_of(later, compare=str(later)).comparison.change["angry_share"]
    assert same.value == 0
    assert same.low < 0 < same.high


def test_only_changes_beyond_chance_are_clear_despite_many_rows(tmp_path):
    rng = np.random.default_rng(3)

    def night(name: str, mean: float):
        levels = np.clip(rng.normal(mean, 0.1, 30), 0, 1)
        return write_results(
            tmp_path / name,
            *(
                call(f"{i}.wav", scored=[(0, 10, {"angry": p})])
                for i, p in enumerate(levels)
            ),
        )

    calm, calm_again, angry = night("a", 0.3), night("b", 0.3), night("c", 0.6)
    assert report_of(calm, compare=str(calm_again)).comparison.clear == frozenset()
    clear = report_of(angry, compare=str(calm)).comparison.clear
    assert {"angry_share", "distress_share"} <= clear
    assert (
        "+"
        in text_of(page(report_of(angry, compare=str(calm))))
        .split("angry share")[1]
        .split("pp")[0]
    )


def test_a_group_stands_out_only_if_it_differs_beyond_chance(
    tmp_path,
):
    rng = np.random.default_rng(4)
    calls = [
        call(f"{queue}/{i}.wav", scored=[(0, 10, {"angry": float(p)})])
        for queue, mean in (("a", 0.3), ("b", 0.3), ("c", 0.3), ("d", 0.7))
        for i, p in enumerate(np.clip(rng.normal(mean, 0.1, 20), 0, 1))
    ]
    report = report_of(write_results(tmp_path / "out", *calls), by="folder")
    assert ("d", "angry_share") in report.standing_out
    assert not {("a", "silence_share"), ("b", "silence_share")} & report.standing_out


def test_intervals_are_clustered_by_agent_if_the_metadata_has_one(tmp_path):
    """Check with identical calls per agent, so that ten times as many add nothing."""
    rng = np.random.default_rng(5)
    calls, rows = [], ["path,agent"]
    for agent, p in enumerate(rng.beta(2, 6, 6)):
        for i in range(10):
            calls.append(
                call(f"{agent}-{i}.wav", scored=[(0, 10, {"angry": float(p)})])
            )
            rows.append(f"{agent}-{i}.wav,agent {agent}")
    directory = write_results(tmp_path / "out", *calls)
    (tmp_path / "m.csv").write_text("\n".join(rows) + "\n")
    inputs = MetadataInputs(tmp_path / "m.csv")
    clustered, single = (
        report_of(directory, inputs=inputs),
        report_of(directory, inputs=inputs, cluster="none"),
    )
    assert (clustered.cluster, single.cluster) == ("agent", None)
    wide, narrow = clustered.total["angry_share"], single.total["angry_share"]
    assert wide.value == narrow.value
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)
    assert any(
        "intervals are clustered by agent (6)" in note for note in clustered.notes
    )
    # Within one agent, calls are the units.
    assert (
        report_of(directory, inputs=inputs, by="agent")
        .groups["agent 0"]["failed_share"]
        .high
        is not None
    )
    with pytest.raises(UsageError, match="--cluster team: no such column"):
        report_of(directory, cluster="team")


def test_results_of_two_models_are_compared_with_a_word_of_warning(tmp_path):
    angry = [(0, 10, {"angry": 0.9})]
    calls = [call("a.wav", scored=angry), call("b.wav", scored=angry)]
    ours = write_results(tmp_path / "a", calls[0], call("b.wav"))
    theirs = write_results(
        tmp_path / "b", *calls, identity=Identity("other@2", "c", LABELS)
    )
    notes = report_of(ours, compare=str(theirs)).notes
    assert any("the models differ, so changes need not be" in note for note in notes)
    told = "of the 2 calls of most concern there, 1 are among the 20 here"
    assert told in notes


def test_results_of_models_with_other_labels_are_not_compared(tmp_path):
    ours = write_results(tmp_path / "a", call("a.wav"))
    labels = tuple(reversed(LABELS))
    theirs = write_results(
        tmp_path / "b", call("a.wav"), identity=Identity("other@2", "c", labels)
    )
    with pytest.raises(UsageError, match="has other labels"):
        report_of(ours, compare=str(theirs))


def test_calls_without_a_known_start_are_in_no_period_and_are_listed(tmp_path):
    calls = [
        call(f"{i}.wav", scored=[(0, 10, {"angry": 0.1})], day=i) for i in range(3)
    ]
    directory = write_results(tmp_path / "out", *calls)
    (tmp_path / "m.csv").write_text("path,started_at\n0.wav,2026-03-02T10:00\n")
    inputs = MetadataInputs(tmp_path / "m.csv")
    whole = report_of(directory, undated=False, inputs=inputs)
    assert whole.total.recordings == 3
    assert list(whole.days) == ["2026-03-02"]
    assert any(
        "started_at is unknown for 2 of 3 recordings: not counted in any day or hour"
        in note
        for note in whole.notes
    )
    march = {"inputs": inputs, "since": datetime(2026, 3, 1)}
    dated = report_of(directory, undated=False, **march)
    assert dated.total.recordings == 1
    assert any(
        "2 recordings (1.wav, 2.wav) left out of the period" in note
        for note in dated.notes
    )
    assert report_of(directory, undated=True, **march).total.recordings == 3


def test_a_comparison_with_an_empty_period_reports_no_changes(tmp_path):
    directory = write_results(
        tmp_path / "out", call("a.wav", scored=[(0, 10, {"angry": 0.1})])
    )
    report = report_of(directory, compare="2020-01-01..2020-01-02")
    with make_report(
        open_results(directory), Options(undated=True, compare="2020-01-01..2020-01-02")
    ) as opened:
        written = (
            write_html(opened, str(tmp_path / "page.html"))
            .read_text("utf-8")
            .split("<main>")[1]
        )
    for text in (
        text_of(page(report)),
        to_markdown(report),
        written.split("<script")[0],
    ):
        assert "nothing to compare with" in text
        assert "hanged" not in text


def test_a_partial_day_is_compared_with_the_same_hours_before(tmp_path):
    """Check this for a week too, against the week before until the same hour."""
    since, until = datetime(2026, 3, 10), datetime(2026, 3, 10, 9)
    calls, rows = [], ["path,started_at"]
    for hour in range(48):
        calls.append(call(f"{hour}.wav", scored=[(0, 10, {"angry": 0.1})]))
        rows.append(
            f"{hour}.wav,{datetime(2026, 3, 9) + timedelta(hours=hour):%Y-%m-%dT%H:%M}"
        )
    (tmp_path / "m.csv").write_text("\n".join(rows) + "\n")
    directory = write_results(tmp_path / "out", *calls)
    options = {"inputs": MetadataInputs(tmp_path / "m.csv"), "compare": "previous"}
    today = report_of(directory, since=since, until=until, **options)
    assert (today.total.recordings, today.comparison.recordings) == (9, 9)
    assert today.comparison.against == "2026-03-09 00:00 to 2026-03-09 09:00"
    week = report_of(directory, since=datetime(2026, 3, 3), until=until, **options)
    assert week.comparison.against == "2026-02-23 00:00 to 2026-03-02 09:00"


@pytest.mark.parametrize(
    ("text", "since", "until"),
    [
        ("today", "2026-03-04", None),
        ("yesterday", "2026-03-03", "2026-03-04"),
        ("week", "2026-03-02", None),
        ("last-week", "2026-02-23", "2026-03-02"),
        ("month", "2026-03-01", None),
        ("last-month", "2026-02-01", "2026-03-01"),
        ("10d", "2026-02-23", None),
        ("2w", "2026-02-19", None),
        ("2026-01-05..2026-01-06", "2026-01-05", "2026-01-07"),
        ("2026-01-05", "2026-01-05", "2026-01-06"),
    ],
)
def test_a_named_period_consists_of_whole_days(text, since, until):
    now = datetime(2026, 3, 4, 15, 30)  # a Wednesday
    start, end = parse_period(text, now)
    assert start == datetime.fromisoformat(since)
    assert end == (until and datetime.fromisoformat(until))


def test_an_unknown_period_gets_a_suggestion_and_only_one_way_is_taken(results):
    with pytest.raises(UsageError, match="did you mean last-week?"):
        parse_period("lastweek")
    for text in ("2026-01-05..", "99999w", ""):
        with pytest.raises(UsageError, match=f"--period {text}: use "):
            parse_period(text)
    done = ser("report", results, "--period", "week", "--since", "7d")
    assert done.returncode == 2
    assert "cannot be combined" in done.stderr
    whole = ser("report", results, "--period", "2026-01-01..2026-12-31")
    same = ser("report", results, "--since", "2026-01-01", "--until", "2026-12-31")
    assert whole.stdout == same.stdout


def test_days_follow_the_requested_time_zone(tmp_path):
    calls = [call(name, scored=[(0, 10, {})]) for name in ("a.wav", "b.wav", "c.wav")]
    directory = write_results(tmp_path / "out", *calls)
    # The first two are a quarter to midnight in UTC, with a zone and as a Unix time.
    # The third is wall-clock time.
    (tmp_path / "m.csv").write_text(
        "path,started_at\na.wav,2026-03-02T23:45:00Z\n"
        "b.wav,1772495100\nc.wav,2026-03-02T23:45\n"
    )
    by_zone = {}
    for name in ("UTC", "Europe/Berlin"):
        report = report_of(
            directory, inputs=MetadataInputs(tmp_path / "m.csv", zone=find_zone(name))
        )
        by_zone[name] = {day: group.recordings for day, group in report.days.items()}
        assert report.timezone == name
    assert by_zone == {
        "UTC": {"2026-03-02": 3},
        "Europe/Berlin": {"2026-03-02": 1, "2026-03-03": 2},
    }
    done = ser("report", directory, "--timezone", "Mars/Olympus")
    assert (done.returncode, "unknown time zone" in done.stderr) == (2, True)


def test_fewer_than_five_agents_give_no_interval_but_a_note(tmp_path):
    """Check it with many calls, and with another spelling of the column."""
    rng = np.random.default_rng(6)
    calls = [
        call(f"{i}.wav", scored=[(0, 10, {"angry": float(p)})])
        for i, p in enumerate(rng.beta(2, 6, 40))
    ]
    rows = ["path,Agent", *(f"{i}.wav,agent {i % 4}" for i in range(40))]
    (tmp_path / "m.csv").write_text("\n".join(rows) + "\n")
    report = report_of(
        write_results(tmp_path / "out", *calls),
        inputs=MetadataInputs(tmp_path / "m.csv"),
    )
    assert (report.cluster, report.total["angry_share"].low) == ("Agent", None)
    assert any(
        "intervals are clustered by Agent (4)" in note
        and "fewer than 5 give no intervals" in note
        for note in report.notes
    )


def test_an_agent_in_several_other_groups_is_one_unit_of_the_rest(tmp_path):
    rng = np.random.default_rng(7)
    drawn = [
        (f"{i}.wav", f"queue {i % 3}", f"agent {i % 7}", float(p))
        for i, p in enumerate(rng.beta(2, 6, 60))
    ]
    calls = [call(name, scored=[(0, 10, {"angry": p})]) for name, _, _, p in drawn]
    rows = [
        "path,queue,agent",
        *(f"{name},{queue},{agent}" for name, queue, agent, _ in drawn),
    ]
    (tmp_path / "m.csv").write_text("\n".join(rows) + "\n")
    options = Options(inputs=MetadataInputs(tmp_path / "m.csv"))
    with connect() as connection:
        measure(
            connection, open_results(write_results(tmp_path / "out", *calls)), options
        )
        groups = figures_by(connection, LABELS, "queue", cluster="agent")
        found = chances_against_the_rest(
            connection, LABELS, groups, "queue", ["angry_share"], "agent"
        )

    def estimated(chosen) -> Estimates:
        """Estimate the angry share of some calls, added up by agent."""
        by_agent: dict[str, list[float]] = {}
        for _, _, agent, p in chosen:
            by_agent.setdefault(agent, []).append(p)
        over, n = (
            np.array([f(v) for v in by_agent.values()], float)[:, None]
            for f in (sum, len)
        )
        return estimate(
            Units(10 * over, 10 * n, n), [Scale.logit], are_recordings=False
        )

    for queue in groups:
        own, rest = (
            estimated([d for d in drawn if (d[1] == queue) is inside])
            for inside in (True, False)
        )
        expected = p_values(
            lambda level, a=own, b=rest: difference_limits(a, b, level), 1
        )[0]
        assert found[queue, "angry_share"] == pytest.approx(expected, rel=1e-3)
