"""Turns, interruptions, latencies and pauses, with known answers and a naive oracle."""

from dataclasses import dataclass
from statistics import median

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ser_batch.reporting.figures.database import connect, rows_of
from ser_batch.reporting.figures.turns import (
    BACKCHANNEL_S,
    CUT_IN_S,
    HOLD_S,
    JOIN_S,
    PAUSE_S,
    RESUME_S,
    SLOW_S,
    SPOKEN_S,
    turns_sql,
)
from tests.support.reports import measured
from tests.support.results import call, write_results

Spans = list[tuple[float, float]]

# When the agent and the customer speak, and the expected measures.
SEQUENCES = {
    "a listener's mhm in a pause is a backchannel": (
        [(0, 5), (6, 10)],
        [(5.3, 5.6)],
        {"turns": 1, "backchannels": 1, "responses": 0, "interruptions": 0},
    ),
    "a short breath does not end a turn": (
        [(0, 5), (5.15, 10)],
        [(4.4, 5.1)],
        {"turns": 1, "backchannels": 1, "responses": 0, "interruptions": 0},
    ),
    "a yes at the end of a sentence does not take the floor": (
        [(0, 10), (10.3, 20)],
        [(9.4, 10.01)],
        {"turns": 1, "backchannels": 1, "responses": 0, "interruptions": 0},
    ),
    "continuing over a yes is not an interruption": (
        [(0, 10), (10.3, 20)],
        [(10.1, 10.9)],
        {"turns": 1, "backchannels": 1, "interruptions": 0},
    ),
    "cutting in and continuing is an interruption, even with a breath": (
        [(0, 10)],
        [(8, 9.5), (9.7, 14)],
        {
            "turns": 2,
            "interruptions": 1,
            "customer_interruptions": 1,
            "interruption_s": 2,
            "attempts": 0,
        },
    ),
    "giving up while the other continues is only an attempt": (
        [(0, 10)],
        [(5, 9)],
        {
            "turns": 1,
            "backchannels": 0,
            "interruptions": 0,
            "attempts": 1,
            "customer_attempts": 1,
            "attempt_s": 4,
        },
    ),
    "starting together after a pause is not an interruption": (
        [(0, 5), (6, 6.8)],
        [(6.1, 9)],
        {"turns": 2, "interruptions": 0, "attempts": 0},
    ),
    "starting together at the beginning is not an interruption": (
        [(0, 10)],
        [(0.1, 10.5)],
        {"turns": 2, "interruptions": 0, "attempts": 0},
    ),
    "speech after a hold is not a response": (
        [(0, 10), (16, 20)],
        [(10.5, 15), (140, 145)],
        {
            "turns": 4,
            "responses": 2,
            "response_latency_s": 0.75,
            "holds": 1,
            "non_talks": 1,
        },
    ),
    "no speech": (
        [],
        [],
        {"turns": 0, "responses": 0, "response_latency_s": None, "conversation_s": 0},
    ),
    "only one channel speaks": (
        [(2, 5), (8.5, 9)],
        [],
        {"turns": 1, "responses": 0, "conversation_s": 7, "non_talks": 1},
    ),
    "question and answer take turns": (
        [(0, 3), (7, 9)],
        [(3.5, 6)],
        {
            "turns": 3,
            "responses": 2,
            "agent_latency_s": 1,
            "customer_latency_s": 0.5,
            "response_latency_s": 0.75,
        },
    ),
    "short greetings are turns if no one has the floor": (
        [(0, 0.8), (2.2, 6)],
        [(1.2, 1.8)],
        {"turns": 3, "backchannels": 0},
    ),
    "a short answer before a long pause is a turn": (
        [(0, 5), (8, 12)],
        [(5.5, 6.2)],
        {"turns": 3, "backchannels": 0, "slow_responses": 0},
    ),
    "a short answer within the other's speech is a backchannel": (
        [(0, 20)],
        [(15, 16)],
        {"turns": 1, "backchannels": 1, "customer_backchannels": 1},
    ),
    "speech of up to a second is short": (
        [(0, 20)],
        [(5, 6), (10, 11.2)],
        {"turns": 1, "backchannels": 1, "attempts": 1},
    ),
    "a short word after one's own turn is not a backchannel": (
        [(0, 5), (6, 6.5), (7, 10)],
        [(12, 15)],
        {"turns": 2, "backchannels": 0},
    ),
    "a turn that overlaps the last word is not an interruption": (
        [(0, 10)],
        [(9.8, 15)],
        {"turns": 2, "interruptions": 0, "responses": 1, "response_latency_s": -0.2},
    ),
    "an interruption has a negative latency": (
        [(0, 10)],
        [(8, 14)],
        {"interruptions": 1, "responses": 1, "customer_latency_s": -2},
    ),
    "the first of two who end together keeps the floor": (
        [(0, 10), (12, 13)],
        [(5, 10)],
        {"turns": 1, "responses": 0, "interruptions": 0, "attempts": 1},
    ),
    "both interrupt, one after the other": (
        [(0, 10), (13, 20)],
        [(9, 14)],
        {
            "turns": 3,
            "interruptions": 2,
            "agent_interruptions": 1,
            "customer_interruptions": 1,
            "interruption_s": 2,
        },
    ),
    "a response after more than three seconds is slow": (
        [(0, 5), (20, 25)],
        [(9, 12)],
        {
            "responses": 2,
            "slow_responses": 2,
            "agent_slow_responses": 1,
            "response_latency_s": 6,
        },
    ),
    "a pause of three seconds is not counted yet": (
        [(0, 5), (8, 10)],
        [(13.5, 15)],
        {"non_talks": 1, "non_talk_s": 3.5, "longest_non_talk_s": 3.5},
    ),
    "silence at either end counts only as long as a hold": (
        [(20, 50)],
        [(55, 140)],
        {
            "duration_s": 200,
            "non_talks": 2,
            "non_talk_s": 65,
            "longest_non_talk_s": 60,
            "holds": 1,
        },
    ),
}


@pytest.mark.parametrize("name", SEQUENCES)
def test_a_sequence_of_speech_has_the_expected_measures(tmp_path, name):
    agent, customer, expected = SEQUENCES[name]
    length_s = expected.get(
        "duration_s", max([end for _, end in agent + customer], default=0) + 5
    )
    (row,) = measured(
        write_results(
            tmp_path / "out", call("a.wav", agent, customer, duration_s=length_s)
        )
    )
    assert {key: row[key] for key in expected} == pytest.approx(expected)


@dataclass(slots=True)
class Stretch:
    start: float
    end: float
    channel: int
    is_backchannel: bool = False


def _stretches(tracks: list[Spans]) -> list[Stretch]:
    found = []
    for channel, spans in enumerate(tracks):
        own: list[Stretch] = []
        for start, end in spans:
            if own and start - own[-1].end < JOIN_S:
                own[-1].end = end
            else:
                own.append(Stretch(start, end, channel))
        found += own
    # Of two that begin together, the longer comes first.
    return sorted(found, key=lambda s: (s.start, -s.end, s.channel))


def _is_backchannel(i: int, stretches: list[Stretch]) -> bool:
    """Apply rule 2 literally."""
    own = stretches[i]
    if own.end - own.start > BACKCHANNEL_S:
        return False
    if any(
        other.end >= own.end for other in stretches[:i] if other.channel != own.channel
    ):
        return True
    longer = [s for s in stretches[:i] if s.end - s.start > BACKCHANNEL_S]
    if not longer or longer[-1].channel == own.channel:
        return False
    return any(
        s.start <= own.end + RESUME_S
        for s in stretches[i + 1 :]
        if s.channel != own.channel
    )


def naive_timing(tracks: list[Spans], duration_s: float) -> dict:
    """Apply the rules of turns.py step by step."""
    stretches = _stretches(tracks)
    names = (
        "turns",
        "backchannels",
        "interruptions",
        "attempts",
        "responses",
        "slow_responses",
        "holds",
        "non_talks",
    )
    out: dict = dict.fromkeys(names, 0) | dict.fromkeys(
        ("interruption_s", "attempt_s", "non_talk_s", "hold_s"), 0.0
    )
    reach, offsets = 0.0, []
    for i, s in enumerate(stretches):
        pause = s.start - reach
        if pause >= HOLD_S:
            out["holds"] += 1
            out["hold_s"] += pause
        if pause >= HOLD_S or (pause > PAUSE_S and i > 0):
            out["non_talks"] += 1
            out["non_talk_s"] += pause
        reach = max(reach, s.end)
        s.is_backchannel = _is_backchannel(i, stretches)
    if duration_s - reach >= HOLD_S:
        for name in ("hold", "non_talk"):
            out[f"{name}s"] += 1
            out[f"{name}_s"] += duration_s - reach
    floor = None
    for s in stretches:
        if s.is_backchannel:
            out["backchannels"] += 1
            continue
        if floor is None:
            out["turns"] += 1
            floor = s
            continue
        takes = s.end > floor.end
        if s.channel != floor.channel:
            overlap = min(s.end, floor.end) - s.start
            if overlap >= CUT_IN_S and s.start - floor.start >= SPOKEN_S:
                kind = "interruption" if takes else "attempt"
                out[f"{kind}s"] += 1
                out[f"{kind}_s"] += overlap
            if takes:
                out["turns"] += 1
                offset = s.start - floor.end
                if offset < HOLD_S:
                    offsets.append(offset)
                    out["responses"] += 1
                    out["slow_responses"] += offset > SLOW_S
        if takes:
            floor = s
    out["response_latency_s"] = median(offsets) if offsets else None
    out["conversation_s"] = reach - stretches[0].start if stretches else 0
    return out


# Eighths of a second are exact. Gaps, overlaps and lengths are on both sides of each
# constant.
SPANS = st.lists(
    st.tuples(
        st.one_of(st.integers(1, 12), st.integers(1, 60), st.integers(230, 300)),
        st.one_of(st.integers(1, 10), st.integers(1, 100)),
    ),
    max_size=10,
)


def _track(draws: list[tuple[int, int]]) -> Spans:
    spans, at = [], 0
    for gap, length in draws:
        spans.append(((at + gap) / 8, (at + gap + length) / 8))
        at += gap + length
    return spans


@pytest.mark.slow
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.tuples(SPANS, SPANS), min_size=1, max_size=12))
def test_timing_of_two_channels_matches_a_naive_implementation(tmp_path_factory, drawn):
    made = [[_track(a), _track(b)] for a, b in drawn]
    calls = [
        call(f"{i}.wav", *tracks, duration_s=1000) for i, tracks in enumerate(made)
    ]
    rows = measured(
        write_results(tmp_path_factory.mktemp("out") / "r", *calls, parts=2)
    )
    for row in rows:
        expected = naive_timing(made[int(row["path"].removesuffix(".wav"))], 1000.0)
        assert {key: row[key] for key in expected} == pytest.approx(expected)


@settings(max_examples=60, deadline=None)
@given(st.lists(SPANS, min_size=3, max_size=4))
def test_timing_of_more_channels_matches_a_naive_implementation(drawn):
    tracks = [_track(draws) for draws in drawn]
    rows = [("r", c, None, *span) for c, track in enumerate(tracks) for span in track]
    with connect() as connection:
        connection.execute(
            "CREATE TABLE speech (recording_id VARCHAR, channel SMALLINT, "
            "role VARCHAR, start_s DOUBLE, end_s DOUBLE)"
        )
        if rows:
            connection.executemany("INSERT INTO speech VALUES (?, ?, ?, ?, ?)", rows)
        query = """SELECT
            count(*) FILTER (is_turn) AS turns,
            count(*) FILTER (is_backchannel) AS backchannels,
            count(*) FILTER (is_interruption) AS interruptions,
            count(*) FILTER (is_attempt) AS attempts,
            count(*) FILTER (is_response) AS responses
            FROM turns"""
        (found,) = rows_of(connection, f"WITH {turns_sql('speech')} {query}")
    expected = naive_timing(tracks, 1000.0)
    assert found == {key: expected[key] for key in found}
