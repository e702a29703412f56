"""Mono calls: whose voice is the customer's, and what is scored of it."""

from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_batch.audio.opening import MAX_CHANNELS
from ser_batch.config.options import MAX_VOICES, Config
from ser_batch.errors import ConfigError
from ser_batch.reporting.figures.sides import CHANNELS, speaker_of
from ser_batch.speech import speakers
from ser_batch.speech.diarization import Voices
from ser_batch.speech.speakers import Heard, by_voice, turns_of
from ser_batch.speech.vad import FRAME_S
from tests.support.commands import ser
from tests.support.paths import EXAMPLES
from tests.support.recordings import write_call
from tests.support.runs import analyzed, config
from tests.support.tables import tables
from tests.support.voices import EveryOther

ROLES = {"roles": ["agent", "customer"]}
NONE = np.zeros((0, 2), int)
REGIONS = np.array([[0, 60], [80, 120], [125, 200], [210, 260], [400, 480], [482, 485]])


@dataclass(frozen=True)
class Given:
    """A diarizer that gives each region to a known voice."""

    numbers: list[int]
    other: EveryOther = field(default_factory=EveryOther)

    def voices(self, read, regions, least, most):
        own = self.other.voices(read, regions, least, most)
        parts = [regions[np.array(self.numbers) == k] for k in (0, 1)]
        return replace(own, regions=parts)


def found(diarizer=EveryOther(), score=ROLES, regions=REGIONS, **speakers):
    """Return the speakers of a call whose regions belong to two voices in turn."""
    settings = Config.from_dict({"score": score, "speakers": speakers})
    n = 500
    heard = Heard(np.ones(n, np.float32), np.zeros(n, np.float32), regions, n * FRAME_S)
    voices = diarizer.voices(lambda start, n: np.zeros(n), regions, 2, 2)
    return by_voice(heard, voices, settings)


@pytest.fixture(autouse=True)
def _short_calls(monkeypatch):
    """Allow for calls of a few seconds."""
    monkeypatch.setattr(speakers, "LEAST_TALK_S", 0.1)


def test_a_voice_that_speaks_too_little_may_be_the_other(monkeypatch):
    monkeypatch.setattr(speakers, "LEAST_TALK_S", 100.0)
    own = found(agent_is="first")
    assert all(s.role is None and not s.is_scored for s in own.speakers)
    assert "speaks less than 100 s" in own.notes[0]


@pytest.mark.parametrize(
    ("rule", "regions", "agent"),
    [
        ("first", REGIONS[:4], 0),
        ("last", REGIONS[:4], 1),
        ("most", REGIONS[:3], 0),
        ("most", np.array([[0, 10], [20, 90]]), 1),
    ],
)
def test_the_agent_is_the_voice_that_the_rule_names(rule, regions, agent):
    own = found(regions=regions, agent_is=rule)
    assert [s.role for s in own.speakers][agent] == "agent"
    assert [s.role for s in own.speakers][1 - agent] == "customer"
    assert [s.is_scored for s in own.speakers][agent] is False
    assert [s.is_scored for s in own.speakers][1 - agent] is True
    assert own.notes == [f"the agent is the voice that speaks {rule}"]


@pytest.mark.parametrize(
    ("options", "note"),
    [
        ({}, "the agent is unknown (--agent-is first, last or most)"),
        ({"agent_is": "first", "diarizer": EveryOther(confidence=0.6)}, "hard to tell"),
        ({"agent_is": "first", "regions": REGIONS[:1]}, "voices: 1"),
        ({"agent_is": "most", "regions": np.array([[0, 50], [60, 111]])}, "too close"),
        ({"agent_is": "first", "regions": np.array([[0, 9], [10, 300]])}, "too close"),
        (
            {"agent_is": "last", "regions": np.array([[0, 9], [9, 18]])},
            "too close",
        ),
    ],
    ids=["no rule", "alike", "one voice", "most", "first", "last"],
)
def test_where_the_rule_cannot_decide_the_call_is_timed_but_not_scored(options, note):
    own = found(**options)
    assert all(s.role is None and not s.is_scored for s in own.speakers)
    assert all(s.speech and not s.segments for s in own.speakers)
    assert note in own.notes[0]
    assert own.notes[0].endswith("so nothing is scored")


def test_without_roles_every_voice_is_scored_and_none_has_a_role():
    own = found(score={})
    assert [(s.number, s.role, s.is_scored) for s in own.speakers] == [
        (0, None, True),
        (1, None, True),
    ]
    assert all(s.segments for s in own.speakers)
    assert own.notes == []


def test_a_segment_that_may_be_the_agents_is_not_scored():
    sure = found(agent_is="first").speakers[1]
    unsure = found(EveryOther(certainty=0.8), agent_is="first").speakers[1]
    assert sure.segments
    assert unsure.is_scored
    assert not unsure.segments
    assert unsure.speech == sure.speech


def test_the_certainty_of_a_segment_is_that_of_its_speech():
    class WithPauses(EveryOther):
        def voices(self, read, regions, least, most):
            own = super().voices(read, regions, least, most)
            certainty = np.zeros_like(own.certainty)
            for start, end in regions:
                certainty[start:end] = 0.97
            return replace(own, certainty=certainty)

    # The customer speaks in three regions with pauses of 0.26 s.
    regions = np.array([[0, 20], [100, 120], [128, 148], [156, 176]])
    voices = [0, 1, 1, 1]
    own = found(Given(voices, WithPauses()), agent_is="first", regions=regions)
    assert len(own.speakers[1].segments) == 1


def test_no_segment_contains_speech_of_another_voice():
    regions = np.array([[70, 130], [130, 138], [138, 200]])
    own = found(Given([0, 1, 0]), score={}, regions=regions)
    frames = [
        (round(i.start_s / FRAME_S), round(i.end_s / FRAME_S))
        for i in own.speakers[0].segments
    ]
    assert frames == [(70, 130), (138, 200)]


def test_a_single_role_is_that_of_every_voice():
    own = found(score={"roles": ["customer"]}, count="2")
    assert [(s.role, s.is_scored) for s in own.speakers] == [("customer", True)] * 2


def frames_of(intervals):
    return [(round(i.start_s / FRAME_S), round(i.end_s / FRAME_S)) for i in intervals]


def test_speech_of_two_at_once_is_both_voices_and_is_not_scored():
    regions = np.array([[0, 60], [80, 200]])
    both = np.array([[120, 140]])
    own = found(EveryOther(behind=both), score={}, regions=regions)
    first, second = own.speakers
    assert frames_of(first.speech) == [(0, 63), (120, 140)]
    assert frames_of(second.speech) == [(77, 203)]
    assert frames_of(first.overlap) == frames_of(second.overlap) == [(120, 140)]
    assert frames_of(first.segments) == [(0, 60)]
    assert frames_of(second.segments) == [(80, 120), (140, 200)]


def test_unclear_speech_is_nobodys():
    own = found(EveryOther(unclear=1), agent_is="first")
    assert [(s.number, s.role) for s in own.speakers] == [
        (0, "agent"),
        (1, "customer"),
        (None, None),
    ]
    assert own.speakers[2].speech
    assert not own.speakers[2].is_scored


def test_pauses_and_edges_belong_to_a_voice_where_no_one_else_speaks():
    regions = np.array([[0, 20], [30, 40], [45, 60], [100, 120], [130, 150]])
    own = found(Given([0, 1, 0, 1, 1]), score={}, regions=regions)
    first, second = own.speakers
    frames = [
        [(round(i.start_s / FRAME_S), round(i.end_s / FRAME_S)) for i in s.speech]
        for s in (first, second)
    ]
    # Each side of a gap gets at most half of it, and at most 3 frames (0.1 s).
    assert frames == [[(0, 23), (43, 63)], [(27, 42), (97, 153)]]


@pytest.mark.parametrize("count", [2, "2"])
def test_a_number_of_voices_may_be_a_number_or_text(count):
    plain = Config.from_dict({"speakers": {"count": count}})
    assert plain.speakers.range_for(()) == (2, 2)
    assert plain.hash() == Config.from_dict({"speakers": {"count": "2-2"}}).hash()
    assert plain.hash() != Config().hash()


@pytest.mark.parametrize(
    ("score", "count"), [({}, "2"), ({"roles": ["agent"]}, "2"), (ROLES, "1")]
)
def test_an_agent_is_named_only_among_voices_with_both_roles(score, count):
    own = {"count": count, "agent_is": "first"}
    with pytest.raises(ConfigError, match="agent_is needs both roles"):
        Config.from_dict({"score": score, "speakers": own})


def test_mixed_channels_may_have_roles_where_voices_are_told_apart():
    mixed = {"audio": {"mix": True}, "score": ROLES}
    Config.from_dict(mixed)
    with pytest.raises(ConfigError, match="cannot be combined"):
        Config.from_dict(mixed | {"speakers": {"count": "1"}})


@pytest.mark.parametrize("count", ["0", "9", "two", "3-2", "1-", "1-9", ""])
def test_an_invalid_number_of_voices_is_refused(count):
    with pytest.raises(ConfigError, match="speakers.count"):
        Config.from_dict({"speakers": {"count": count}})


@pytest.fixture
def mono(tmp_path, call):
    """Write the synthetic call with both voices in one channel."""
    write_call(tmp_path / "calls" / "mono.wav", call.sum(axis=0, keepdims=True))
    return tmp_path / "calls"


@pytest.fixture
def in_turn(monkeypatch):
    monkeypatch.setattr(
        "ser_batch.engine.this_process.load_diarizer", lambda config: EveryOther()
    )


def test_a_mono_call_has_turns_and_emotions_by_role(
    mono, tmp_path, tiny_bundle, in_turn
):
    out = tmp_path / "out"
    own = config(tiny_bundle, score=ROLES, speakers={"agent_is": "first"})
    analyzed([mono], out, own)
    rows = tables(out)
    (recording,) = rows["recordings"]
    assert recording["channels"] == 1
    assert recording["diarization_confidence"] == pytest.approx(0.97)
    assert recording["agent_talk_s"] > 0
    assert recording["customer_talk_s"] > 0
    assert len(recording["channel_talk_s"]) == 1
    assert recording["overtalk_s"] is None
    assert {(r["channel"], r["speaker"], r["role"]) for r in rows["speech"]} == {
        (0, 0, "agent"),
        (0, 1, "customer"),
    }
    assert {(s["speaker"], s["role"]) for s in rows["segments"]} == {(1, "customer")}
    shown = ser("report", out, "--call", "mono.wav")
    assert shown.returncode == 0
    assert "customer" in shown.stdout
    assert "turns" in shown.stdout
    made = ser("export", out, "--to", "rttm", "--out", tmp_path / "rttm")
    assert made.returncode == 0, made.stderr
    lines = (tmp_path / "rttm" / "speech.rttm").read_text().splitlines()
    assert {tuple(line.split()[i] for i in (2, 7)) for line in lines} == {
        ("1", "agent"),
        ("1", "customer"),
    }

    made = ser("export", out, "--to", "csv", "--out", tmp_path / "csv")
    assert made.returncode == 0, made.stderr
    calls = pd.read_csv(tmp_path / "csv" / "calls.csv")
    assert calls["interruptions"].isna().all()
    assert calls["turns"].notna().all()
    episodes = (tmp_path / "csv" / "episodes.csv").read_text().splitlines()[0]
    assert "speaker" in episodes.split(",")


def test_a_silent_mono_call_is_reported_as_without_speech(
    tmp_path, tiny_bundle, in_turn
):
    write_call(tmp_path / "calls" / "x.wav", np.zeros((1, 40_000), np.float32))
    own = config(tiny_bundle, score=ROLES, speakers={"agent_is": "first"})
    analyzed([tmp_path / "calls"], tmp_path / "out", own)
    (recording,) = tables(tmp_path / "out")["recordings"]
    assert recording["not_scored"] == "no_speech"
    assert recording["notes"] is None
    assert recording["channel_talk_s"] == [0.0]


def test_a_call_whose_voices_are_too_alike_has_a_reason_of_its_own(
    mono, tmp_path, tiny_bundle, monkeypatch
):
    monkeypatch.setattr(
        "ser_batch.engine.this_process.load_diarizer",
        lambda config: EveryOther(certainty=0.7),
    )
    own = config(tiny_bundle, score=ROLES, speakers={"agent_is": "first"})
    analyzed([mono], tmp_path / "out", own)
    (recording,) = tables(tmp_path / "out")["recordings"]
    assert recording["not_scored"] == "voices_unclear"


@pytest.mark.parametrize("roles", [[], ROLES["roles"]])
def test_a_mono_call_stored_as_stereo_is_told_apart(
    tmp_path, call, tiny_bundle, in_turn, roles
):
    both = np.repeat(call.sum(axis=0, keepdims=True), 2, axis=0)
    write_call(tmp_path / "calls" / "x.wav", both)
    agent = {"agent_is": "first"} if roles else {"count": "2"}
    own = config(tiny_bundle, score={"roles": roles}, speakers=agent)
    analyzed([tmp_path / "calls"], tmp_path / "out", own)
    rows = tables(tmp_path / "out")
    assert {(row["channel"], row["speaker"]) for row in rows["speech"]} == {
        (0, 0),
        (0, 1),
    }
    assert rows["segments"]
    assert "all 2 channels are the same" in rows["recordings"][0]["notes"]


def test_voices_without_roles_are_named_by_number_everywhere(
    mono, tmp_path, tiny_bundle, in_turn
):
    out = tmp_path / "out"
    analyzed([mono], out, config(tiny_bundle, speakers={"count": "2"}))
    shown = ser("report", out, "--call", "mono.wav").stdout
    assert "speaker 1" in shown
    assert "speaker 2" in shown
    for form in ("textgrid", "webvtt", "audformat", "csv"):
        made = ser("export", out, "--to", form, "--out", tmp_path / form)
        assert made.returncode == 0, made.stderr
    (grid,) = (tmp_path / "textgrid").rglob("*.TextGrid")
    assert "speaker 2" in grid.read_text()


def test_channels_with_one_voice_each_are_left_as_they_are(tmp_path, call, tiny_bundle):
    write_call(tmp_path / "calls" / "stereo.wav", call)
    plain, told = (
        config(tiny_bundle, speakers={"count": count}) for count in ("1", "2")
    )
    analyzed([tmp_path / "calls"], tmp_path / "plain", plain)
    analyzed([tmp_path / "calls"], tmp_path / "told", told)
    for table in ("speech", "segments"):
        a, b = (tables(tmp_path / name)[table] for name in ("plain", "told"))
        assert a == b
        assert a


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.processes
def test_the_shipped_voice_model_gives_the_same_rows_in_any_process(
    mono, tmp_path, tiny_bundle, workers
):
    own = config(tiny_bundle, speakers={"count": "1-3"}, run={"workers": workers})
    analyzed([mono, EXAMPLES / "delivery"], tmp_path / "out", own)
    rows = tables(tmp_path / "out")
    again = config(tiny_bundle, speakers={"count": "1-3"}, run={"batch_size": 3})
    analyzed([mono, EXAMPLES / "delivery"], tmp_path / "again", again)
    assert rows["speech"] == tables(tmp_path / "again")["speech"]
    assert any(row["speaker"] is not None for row in rows["speech"])


def test_nothing_that_identifies_a_voice_is_written(
    mono, tmp_path, tiny_bundle, monkeypatch
):
    mark = np.float32(0.123456789)
    points = "ser_batch.speech.voices.VoiceModel.points"
    monkeypatch.setattr(
        points, lambda self, steps, starts, n: np.full((len(starts), 3), mark)
    )
    analyzed([mono], tmp_path / "out", config(tiny_bundle, speakers={"count": "2"}))
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.suffix == ".parquet" for path in written)
    for path in written:
        content = path.read_bytes()
        assert mark.tobytes() not in content
        assert np.float64(mark).tobytes() not in content
        assert b"0.12345" not in content


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(1, 20), st.integers(0, 2))))
def test_extended_regions_contain_their_own_and_never_overlap(drawn):
    at, own = 0, [list[tuple[int, int]]() for _ in range(3)]
    for gap, length, who in drawn:
        own[who].append((at + gap, at + gap + length))
        at += gap + length
    groups = [np.array(regions, int).reshape(-1, 2) for regions in own]
    voices = Voices(
        groups[:2], groups[2], np.ones(at, np.float32), 1.0, [NONE, NONE], 9.0
    )
    taken = np.zeros(at + 100, int)
    for before, after in zip(groups, turns_of(voices), strict=True):
        covered = np.zeros(len(taken), bool)
        for start, end in after:
            covered[start:end] = True
            taken[start:end] += 1
        for start, end in before:
            assert covered[start:end].all()
    assert taken.max(initial=0) <= 1


def test_voices_with_the_same_role_have_tiers_of_their_own(
    mono, tmp_path, tiny_bundle, in_turn
):
    own = config(tiny_bundle, score={"roles": ["customer"]}, speakers={"count": "2"})
    analyzed([mono], tmp_path / "out", own)
    target = tmp_path / "grids"
    made = ser("export", tmp_path / "out", "--to", "textgrid", "--out", target)
    assert made.returncode == 0, made.stderr
    (grid,) = target.rglob("*.TextGrid")
    text = grid.read_text()
    assert "customer speaker 1" in text
    assert "customer speaker 2" in text


def test_every_side_of_a_recording_fits_into_one_number():
    assert CHANNELS == MAX_CHANNELS
    largest = CHANNELS * MAX_VOICES + CHANNELS - 1
    assert speaker_of(largest) == MAX_VOICES - 1
    # turns.sql packs a side into 8 bits.
    assert largest < 255
