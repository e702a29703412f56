"""Measures of a call: timelines with known answers, and a naive oracle."""

import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_batch.metadata.gathering import MetadataInputs
from ser_batch.reporting.figures.calls import (
    CIRCUMPLEX,
    EPISODE_GAP_S,
    EPISODE_S,
    OFFSET,
    ONSET,
    local_times,
    measure,
)
from ser_batch.reporting.figures.database import connect, rows_of
from ser_batch.reporting.figures.overview import make_report
from ser_batch.reporting.figures.timeline_reading import all_timelines
from ser_batch.reporting.pages.terminal import page
from ser_batch.results.manifest import Identity
from ser_batch.results.results import open_results
from tests.support.reports import measured, text_of
from tests.support.results import LABELS, call, write_results


def one(tmp_path, *args, **kwargs) -> dict:
    """Return the row of a single call."""
    return measured(write_results(tmp_path / "out", call("a.wav", *args, **kwargs)))[0]


def episodes_of(directory: Path) -> list[dict]:
    with connect() as connection:
        measure(connection, open_results(directory))
        return rows_of(connection, "FROM episodes ORDER BY emotion, start_s")


def test_silence_before_the_first_and_after_the_last_word_is_measured(tmp_path):
    row = one(tmp_path, agent=[(40, 50)], customer=[(55, 60)])
    assert row["longest_silence_s"] == pytest.approx(40)
    assert (row["holds"], row["hold_s"]) == (2, pytest.approx(80))


def test_a_call_with_one_silent_channel_is_one_sided(tmp_path):
    directory = write_results(
        tmp_path / "out",
        call("a.wav", agent=[(0, 50)]),
        call("b.wav", agent=[(0, 5)], customer=[(6, 9)]),
        call("c.wav"),
    )
    assert [row["one_sided"] for row in measured(directory)] == [True, False, False]


def test_one_silent_channel_of_three_does_not_make_a_call_one_sided(tmp_path):
    made = call("a.wav", [(0, 5)], [(6, 9)])
    made.recording["channel_talk_s"] = [5.0, 10.0, 0.0]
    assert measured(write_results(tmp_path / "out", made))[0]["one_sided"] is False


def test_file_times_become_local_time_in_summer_and_winter(
    monkeypatch,
):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    times = local_times(
        pd.Series(pd.to_datetime(["2026-07-01T09:00Z", "2026-12-01T09:00Z", None]))
    )
    monkeypatch.undo()
    time.tzset()
    assert times.tolist()[:2] == [
        pd.Timestamp("2026-07-01T11:00"),
        pd.Timestamp("2026-12-01T10:00"),
    ]


@pytest.mark.parametrize("name", ["role=agent", "path=zz", "run=5", "channel=x"])
def test_a_folder_named_like_a_partition_column_is_only_a_folder(tmp_path, name):
    directory = write_results(
        tmp_path / name, call("a.wav", [(0, 5)], [(6, 9)], [(6, 9, {"angry": 0.5})])
    )
    (row,) = measured(directory)
    assert (row["path"], row["channels"]) == ("a.wav", 2)
    assert row["p_angry_s"] == pytest.approx(1.5)


def test_custom_labels_have_shares_but_no_built_in_measures(tmp_path, monkeypatch):
    labels = ("ok", "distress", "silence", 'a"b\n')
    monkeypatch.setattr("tests.support.results.LABELS", labels)
    made = call(
        "a.wav",
        customer=[(0, 12)],
        scored=[(0, 12, {"neutral": 0.0, "distress": 0.9, "ok": 0.1})],
    )
    made.segments["p_ok"] = [0.1]
    directory = write_results(
        tmp_path / "out", made, identity=Identity("own@1", "c", labels)
    )
    with make_report(open_results(directory)) as opened:
        report = opened.report
    shares = {"ok": 0.1, "distress": 0.9, "silence": 0.0, 'a"b\n': 0.0}
    assert report.shares() == pytest.approx(shares, abs=1e-6)
    assert report.total["label_silence_share"].value == pytest.approx(0)
    # This is the share of time without speech.
    assert report.total["silence_share"].value == pytest.approx(0.88)
    assert [
        report.total[n].value for n in ("distress_share", "valence", "episode_share")
    ] == [None] * 3
    assert [quarter.distress for quarter in report.quarters if quarter] == [None]
    assert text_of(page(report))


def test_a_single_channel_has_talk_times_but_no_turns(tmp_path):
    row = one(tmp_path, agent=[(0, 10), (20, 30)], roles=(None,))
    assert row["talk_s"] == pytest.approx(20)
    assert row["silence_s"] == pytest.approx(80)
    assert [row[k] for k in ("turns", "interruptions", "responses", "one_sided")] == [
        None
    ] * 4


def test_shares_are_probabilities_weighted_by_time(tmp_path):
    row = one(
        tmp_path,
        customer=[(0, 12)],
        scored=[(0, 2, {"angry": 0.9}), (2, 12, {"angry": 0.3, "happy": 0.35})],
    )
    assert row["scored_s"] == pytest.approx(12)
    assert row["p_angry_s"] == pytest.approx(2 * 0.9 + 10 * 0.3)
    assert row["p_happy_s"] == pytest.approx(3.5)
    assert row["abstained_s"] == pytest.approx(10)
    assert row["distress_s"] == pytest.approx(row["p_angry_s"])
    valence = 2 * 0.9 * CIRCUMPLEX["angry"][0] + 10 * (
        0.3 * CIRCUMPLEX["angry"][0] + 0.35 * CIRCUMPLEX["happy"][0]
    )
    assert row["valence_s"] == pytest.approx(valence)


@pytest.mark.parametrize(
    ("first", "last", "escalated", "recovered"),
    [
        (0.1, 0.8, True, False),
        (0.8, 0.1, False, True),
        (0.4, 0.8, False, False),
        (0.1, 0.4, False, False),
    ],
)
def test_a_call_escalates_from_calm_to_distress_and_recovers_the_other_way(
    tmp_path, first, last, escalated, recovered
):
    row = one(
        tmp_path,
        scored=[(5, 10, {"angry": first}), (50, 55, {}), (90, 95, {"fearful": last})],
    )
    assert (row["escalated"], row["recovered"]) == (escalated, recovered)
    change = last * CIRCUMPLEX["fearful"][0] - first * CIRCUMPLEX["angry"][0]
    assert row["valence_change"] == pytest.approx(change)


def test_too_little_speech_at_one_end_gives_no_change(tmp_path):
    row = one(tmp_path, scored=[(5, 6, {"angry": 0.1}), (90, 95, {"angry": 0.9})])
    assert [row[k] for k in ("escalated", "recovered", "valence_change")] == [None] * 3


def test_an_episode_starts_above_one_threshold_and_ends_below_another(tmp_path):
    levels = [0.1, 0.1, 0.9, 0.9, 0.45, 0.45, 0.1, 0.1, 0.9, 0.1, 0.1]
    directory = write_results(
        tmp_path / "out",
        call(
            "a.wav",
            scored=[(4 * i, 4 * i + 4, {"angry": p}) for i, p in enumerate(levels)],
        ),
    )
    (angry,) = [e for e in episodes_of(directory) if e["emotion"] == "angry"]
    # Smoothed: .10 .37 .63 .75 .60 .33 ... The single 0.9 at the end becomes .37, which
    # is not an episode.
    assert (angry["start_s"], angry["end_s"]) == (8, 20)
    assert angry["scored_s"] == pytest.approx(12)
    assert angry["peak"] == pytest.approx(0.9)
    assert angry["mean"] == pytest.approx((0.9 + 0.9 + 0.45) / 3)
    assert measured(directory)[0]["angry_episodes"] == 1


def test_a_long_pause_ends_an_episode_and_a_short_burst_starts_none(tmp_path):
    hot = {"angry": 0.9}
    directory = write_results(
        tmp_path / "out",
        call(
            "gap.wav", scored=[(0, 4, hot), (4, 8, hot), (50, 54, hot), (54, 58, hot)]
        ),
        call("burst.wav", scored=[(0, 2, hot), (2, 4, hot)]),
    )
    assert [
        (e["start_s"], e["end_s"])
        for e in episodes_of(directory)
        if e["emotion"] == "distress"
    ] == [
        (0, 8),
        (50, 58),
    ]
    assert {row["path"]: row["episodes"] for row in measured(directory)} == {
        "gap.wav": 2,
        "burst.wav": 0,
    }


def test_smoothing_does_not_reach_across_a_gap(tmp_path):
    """Check that calm speech ten minutes after anger is not in an episode."""
    scored = [(0, 6, {"angry": 1.0}), (606, 612, {"angry": 0.3})]
    directory = write_results(
        tmp_path / "out", call("a.wav", scored=scored, duration_s=700)
    )
    found = [e for e in episodes_of(directory) if e["emotion"] == "angry"]
    assert [(e["start_s"], e["end_s"], e["peak"]) for e in found] == [(0, 6, 1.0)]


def test_an_episode_begins_and_ends_with_segments_that_show_it(tmp_path):
    """Check that figures of an episode exclude segments added only by smoothing."""
    scored = [
        (60, 70, {}),
        (70, 85, {"angry": 0.9}),
        (85, 90, {"angry": 0.9}),
        (90, 103, {}),
    ]
    directory = write_results(
        tmp_path / "out", call("a.wav", scored=scored, duration_s=120)
    )
    (angry,) = [e for e in episodes_of(directory) if e["emotion"] == "angry"]
    assert (angry["start_s"], angry["end_s"], angry["scored_s"]) == (70, 90, 20)
    assert (angry["peak"], angry["mean"]) == pytest.approx((0.9, 0.9))
    assert measured(directory)[0]["peak_at_s"] == 70


def test_silence_at_the_end_of_a_file_does_not_move_the_quarters(tmp_path):
    scored = [(0, 10, {"angry": 0.1}), (40, 60, {}), (90, 100, {"angry": 0.9})]
    rows = measured(
        write_results(
            tmp_path / "out",
            *(call(f"{n}.wav", scored=scored, duration_s=n) for n in (100, 400)),
        )
    )
    assert [row["escalated"] for row in rows] == [True, True]


def test_ranking_prefers_sustained_anger_but_not_long_calls(
    tmp_path,
):
    blip = [(0, 20, {}), (20, 20.8, {"angry": 0.95}), (20.8, 40, {})]
    sustained = [(0, 120, {"angry": 0.9})]
    rng = np.random.default_rng(0)

    def scored(n: int) -> list:
        levels = rng.choice([0.1, 0.9], n, p=[0.8, 0.2])
        return [(4 * i, 4 * i + 4, {"angry": float(p)}) for i, p in enumerate(levels)]

    long_and_short = [
        call(f"{name}{i}.wav", scored=scored(n), duration_s=4 * n)
        for i in range(60)
        for name, n in (("long", 100), ("short", 15))
    ]
    rows = measured(
        write_results(
            tmp_path / "out",
            call("blip.wav", scored=blip),
            call("sustained.wav", scored=sustained, duration_s=120),
            *long_and_short,
        )
    )
    ranked = sorted(rows, key=lambda row: -row["concern"])
    assert ranked[0]["path"] == "sustained.wav"
    assert {row["path"]: row["concern"] for row in rows}["blip.wav"] == 0
    top = [row["path"] for row in ranked[1:21]]
    assert 4 <= sum(path.startswith("long") for path in top) <= 16


def test_the_peak_of_a_call_is_its_first_moment(tmp_path):
    rng = np.random.default_rng(1)
    calls = []
    for i in range(40):
        levels = rng.integers(0, 20, 25) / 20  # on a grid, to get ties
        scored = [
            (5 * j, 5 * j + float(rng.uniform(1, 4)), {"angry": float(p)})
            for j, p in enumerate(levels)
        ]
        calls.append(
            call(
                f"{i}.wav",
                [(130, 131)],
                [(a, b) for a, b, _ in scored],
                scored,
                duration_s=200,
            )
        )
    directory = write_results(tmp_path / "out", *calls)
    with connect() as connection:
        measure(connection, open_results(directory))
        for timeline in all_timelines(connection, open_results(directory)):
            sounds = [m for m in timeline.moments() if m.channel is not None]
            assert timeline.call["peak_at_s"] == (sounds[0].start_s if sounds else None)
            if sounds and timeline.call["episodes"]:
                assert timeline.moments()[0].kind == "episode"


def test_emotions_of_agents_and_customers_are_never_mixed(tmp_path):
    directory = write_results(
        tmp_path / "out",
        call("a.wav", scored=[(0, 10, {"angry": 0.9})], scored_role="agent"),
        call("b.wav", scored=[(0, 10, {"angry": 0.2})]),
    )
    agents, customers = (
        {row["path"]: row["p_angry_s"] for row in measured(directory, role=role)}
        for role in ("agent", "customer")
    )
    assert customers == {"a.wav": None, "b.wav": pytest.approx(2)}
    assert agents == {"a.wav": pytest.approx(9), "b.wav": None}


def test_speakers_without_a_role_are_not_agents(tmp_path):
    mono = call("mono.wav", scored=[(0, 10, {"angry": 0.5})], roles=(None,))
    directory = write_results(
        tmp_path / "out", mono, call("a.wav", scored=[(0, 10, {"angry": 0.9})])
    )
    with pytest.raises(ValueError, match="no agent was scored"):
        measured(directory, role="agent")


def test_asking_for_agents_who_were_not_scored_is_an_error(tmp_path):
    directory = write_results(
        tmp_path / "out", call("a.wav", scored=[(0, 10, {"angry": 0.9})])
    )
    with pytest.raises(
        ValueError,
        match="no agent was scored; to score agents, "
        "analyse with --roles and --score-agents",
    ):
        measured(directory, role="agent")


def test_failed_recordings_have_a_row_without_measures(tmp_path):
    row = one(tmp_path, error="is empty")
    assert (row["status"], row["error"]) == ("failed", "is empty")
    assert [
        row[k] for k in ("talk_s", "turns", "scored_s", "longest_silence_s", "episodes")
    ] == [None] * 5


def test_results_without_recordings_give_no_rows(tmp_path):
    assert measured(write_results(tmp_path / "out")) == []


def _naive_episodes(scored) -> list[tuple[float, float]]:
    """Find episodes segment by segment, with hysteresis between gaps, and trim them."""
    blocks: list[list] = []
    for segment in scored:
        if not blocks or segment[0] - blocks[-1][-1][1] >= EPISODE_GAP_S:
            blocks.append([])
        blocks[-1].append(segment)
    found, inside = [], []
    for block in blocks:
        d = np.array([b - a for a, b, _ in block])
        p = np.array([q["angry"] for _, _, q in block])
        for i, segment in enumerate(block):
            near = slice(max(0, i - 1), i + 2)
            smooth = float((d[near] * p[near]).sum() / d[near].sum())
            if smooth >= ONSET or (inside and smooth >= OFFSET):
                inside.append(segment)
            else:
                found.append(inside)
                inside = []
        found.append(inside)
        inside = []
    episodes = []
    for episode in found:
        shows = [i for i, (_, _, q) in enumerate(episode) if q["angry"] >= OFFSET]
        kept = episode[shows[0] : shows[-1] + 1] if shows else []
        if kept and sum(b - a for a, b, _ in kept) >= EPISODE_S:
            episodes.append((kept[0][0], kept[-1][1]))
    return episodes


@settings(max_examples=12, deadline=None)
@given(
    st.lists(
        st.lists(
            st.tuples(st.integers(0, 400), st.integers(8, 60), st.integers(0, 20)),
            max_size=14,
        ),
        min_size=1,
        max_size=6,
    )
)
def test_episodes_match_a_naive_implementation(tmp_path_factory, drawn):
    made = []
    for rows in drawn:
        at, scored = 0, []
        for gap, length, level in rows:
            # Levels are away from the thresholds, so that rounding does not matter.
            scored.append(
                (
                    (at + gap) / 10,
                    (at + gap + length) / 10,
                    {"angry": min(1.0, level / 20 + 0.0123)},
                )
            )
            at += gap + length
        made.append(scored)
    calls = [call(f"{i}.wav", scored=s, duration_s=1000) for i, s in enumerate(made)]
    directory = write_results(tmp_path_factory.mktemp("out") / "r", *calls)
    with connect() as connection:
        measure(connection, open_results(directory))
        found = rows_of(
            connection,
            "SELECT * FROM episodes JOIN calls USING (recording_id) ORDER BY start_s",
        )
    for i, scored in enumerate(made):
        own = [
            (e["start_s"], e["end_s"])
            for e in found
            if e["path"] == f"{i}.wav" and e["emotion"] == "angry"
        ]
        assert own == _naive_episodes(scored)


def test_reading_parts_in_batches_gives_every_recording_once(tmp_path, monkeypatch):
    monkeypatch.setattr("ser_batch.reporting.figures.calls.PARTS_AT_ONCE", 1)
    monkeypatch.setattr("ser_batch.results.writing.PART_RECORDINGS", 2)
    calls = [
        call(f"{i}.wav", agent=[(0, 1 + i)], scored=[(0, 4, {"angry": i / 10})])
        for i in range(7)
    ]
    directory = write_results(tmp_path / "out", *calls, parts=4)
    rows = measured(directory)
    assert [row["path"] for row in rows] == [f"{i}.wav" for i in range(7)]
    assert [row["p_angry_s"] for row in rows] == pytest.approx(
        [4 * i / 10 for i in range(7)], abs=1e-6
    )
    assert [row["talk_s"] for row in rows] == pytest.approx([1 + i for i in range(7)])


def test_a_directory_named_like_a_glob_is_read(tmp_path):
    directory = write_results(tmp_path / "out[1]*'x", call("a.wav", agent=[(0, 5)]))
    assert measured(directory)[0]["talk_s"] == pytest.approx(5)


def test_labels_have_coordinates_on_the_circumplex():
    assert set(LABELS) <= set(CIRCUMPLEX)
    assert all(-1 <= v <= 1 for at in CIRCUMPLEX.values() for v in at)
    assert CIRCUMPLEX["angry"][0] < 0 < CIRCUMPLEX["happy"][0]


def test_predicted_arousal_takes_precedence_over_probabilities(tmp_path):
    rows = call(
        "a.wav",
        customer=[(0, 20)],
        scored=[(0, 10, {"angry": 1.0}), (10, 20, {"angry": 1.0})],
    )
    rows.segments["arousal"] = [1.0, 0.5]
    rows.recording["out_of_domain"] = 0.9
    other = call("b.wav", customer=[(0, 10)], scored=[(0, 10, {"happy": 1.0})])
    directory = write_results(tmp_path, rows, other)
    arousal = {
        row["path"]: row["arousal_s"] / row["scored_s"] for row in measured(directory)
    }
    with make_report(open_results(directory)) as opened:
        notes = opened.report.notes
    assert arousal["a.wav"] == pytest.approx(0.5)
    # Without predicted arousal, it is derived from the probabilities.
    assert arousal["b.wav"] == pytest.approx(CIRCUMPLEX["happy"][1])
    (note,) = [note for note in notes if "out of domain" in note]
    assert note.startswith("67% of the scored time is out of domain")


def test_a_name_pattern_with_times_that_matches_no_recording_dates_none(tmp_path):
    directory = write_results(tmp_path / "out", call("a.wav"), call("b.wav"))
    inputs = MetadataInputs(name_pattern="freepbx")
    rows = measured(directory, inputs=inputs)
    assert [row["started_at"] for row in rows] == [None, None]
