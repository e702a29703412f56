"""A call that is fed packet by packet ends with the rows of the batch."""

import json

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ser_batch
from ser_batch.config.options import Config
from ser_batch.emotion.loading import load_scorer
from ser_batch.errors import UsageError
from ser_batch.live.call_stream import CallStream
from ser_batch.live.events import CallEnded, SegmentScored, SpeechHeard, as_json
from ser_batch.speech.silero import SileroVad
from tests.support.paths import EXAMPLES

VAD = SileroVad()
STEREO = EXAMPLES / "billing" / "1001.wav"
ROLES = Config.from_dict({"score": {"roles": ["agent", "customer"]}})


@pytest.fixture(scope="module")
def scorer(profiled_bundle):
    return load_scorer(str(profiled_bundle), "cpu")


def fed(scorer, waveform, rate, config, packets, together=True):
    """Return the events of a waveform (samples, channels), and the stream.

    `packets` are lengths in samples, used in turn; if not `together`, each channel is
    fed whole before the next.
    """
    n = waveform.shape[1]
    stream = CallStream(scorer, config, sample_rate=rate, channels=n, vad=VAD)
    events = []
    order = [range(n)] if together else [[channel] for channel in range(n)]
    for channels in order:
        at = number = 0
        while at < len(waveform):
            step = packets[number % len(packets)]
            for channel in channels:
                events += stream.feed(channel, waveform[at : at + step, channel])
            at, number = at + step, number + 1
    return events + stream.finish(), stream


def check(events, path, bundle, config):
    """Check that final events are the batch's rows."""
    call = ser_batch.load(str(bundle), "cpu").analyze(path, config=config)
    segments = [e for e in events if isinstance(e, SegmentScored) and e.is_final]
    segments.sort(key=lambda e: (e.start_s, e.end_s, e.channel))
    rows = call.segments.to_dict("records")
    assert len(segments) == len(rows)
    for own, row in zip(segments, rows, strict=True):
        assert (own.channel, own.start_s, own.end_s) == (
            row["channel"], row["start_s"], row["end_s"],
        )  # fmt: skip
        for label, p in own.probabilities.items():
            assert p == pytest.approx(row[f"p_{label}"], abs=1e-4)
        assert own.level_dbfs == pytest.approx(row["level_dbfs"], abs=1e-3)
    heard = sorted(
        (e.channel, e.start_s, e.end_s) for e in events if isinstance(e, SpeechHeard)
    )
    columns = call.speech[["channel", "start_s", "end_s"]]
    assert heard == sorted(columns.itertuples(index=False, name=None))
    assert isinstance(events[-1], CallEnded)
    assert events[-1].duration_s == pytest.approx(call.duration_s)
    assert events[-1].segments == len(rows)
    assert sorted(events[-1].notes) == sorted(call.notes)
    return segments


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.integers(40, 30_000), min_size=1, max_size=5), st.booleans())
def test_final_events_are_the_batch_rows_however_the_audio_is_cut(
    scorer, profiled_bundle, packets, together
):
    packets = [max(packets), *packets]
    waveform, rate = soundfile.read(STEREO, dtype="float32", always_2d=True)
    events, _ = fed(scorer, waveform, rate, ROLES, packets, together)
    assert len(check(events, STEREO, profiled_bundle, ROLES)) > 5


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"score": {"roles": ["customer", "agent"], "score_agents": True}},
        {"audio": {"mix": True}},
        {"vad": {"crosstalk": False}, "segments": {"max_s": 2.0}},
        {"score": {"roles": ["customer"]}},
    ],
    ids=["no-roles", "agents-too", "mix", "no-crosstalk", "roles-do-not-fit"],
)
def test_final_events_are_the_batch_rows_with_other_options(
    given, scorer, profiled_bundle
):
    config = Config.from_dict(given)
    waveform, rate = soundfile.read(STEREO, dtype="float32", always_2d=True)
    events, _ = fed(scorer, waveform, rate, config, [1600])
    check(events, STEREO, profiled_bundle, config)


@pytest.mark.parametrize("rate", [8000, 11_025, 16_000, 44_100])
def test_final_events_are_the_batch_rows_of_one_channel_at_any_rate(
    rate, scorer, profiled_bundle, tmp_path
):
    import soxr

    waveform, own = soundfile.read(STEREO, dtype="float32", always_2d=True)
    path = tmp_path / "mono.wav"
    soundfile.write(path, soxr.resample(waveform[:, 1], own, rate), rate, "FLOAT")
    waveform, _ = soundfile.read(path, dtype="float32", always_2d=True)
    events, _ = fed(scorer, waveform, rate, Config(), [160])
    assert check(events, path, profiled_bundle, Config())


@pytest.mark.parametrize("roles", [[], ["customer"], ["agent", "customer"]])
def test_a_mono_call_that_comes_in_stereo_is_one_channel(
    roles, scorer, profiled_bundle, tmp_path
):
    config = Config.from_dict({"score": {"roles": roles}, "speakers": {"count": "1"}})
    waveform, rate = soundfile.read(STEREO, dtype="float32", always_2d=True)
    twice = np.repeat(waveform[:, 1:], 2, axis=1)
    path = tmp_path / "twice.wav"
    soundfile.write(path, twice, rate, "FLOAT")
    events, _ = fed(scorer, twice, rate, config, [1600])
    check(events, path, profiled_bundle, config)
    # Only one announcement is the same on both sides, and the call goes on in stereo.
    half = len(waveform) // 2
    twice[half:] = waveform[half:]
    soundfile.write(path, twice, rate, "FLOAT")
    events, _ = fed(scorer, twice, rate, config, [1600])
    check(events, path, profiled_bundle, config)


@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.1, 0.5, 1.5, 12.0])
def test_short_calls_are_those_of_the_batch(seconds, scorer, profiled_bundle, tmp_path):
    waveform, rate = soundfile.read(STEREO, dtype="float32", always_2d=True)
    start = 3 * rate
    part = waveform[start : start + round(seconds * rate)]
    path = tmp_path / "short.wav"
    soundfile.write(path, part, rate, "FLOAT")
    events, _ = fed(scorer, part, rate, ROLES, [160])
    if seconds:
        check(events, path, profiled_bundle, ROLES)
    else:
        assert events == [CallEnded(0.0, 0, ())]


def test_speech_that_goes_on_is_scored_provisionally_every_few_seconds(scorer):
    waveform, rate = soundfile.read(STEREO, dtype="float32", always_2d=True)
    customer = waveform[:, 1]
    loud = customer[np.abs(customer) > 1e-3]  # without pauses
    long = np.tile(loud, 3)[: 20 * rate, None]
    events, _ = fed(scorer, long, rate, Config(), [160])
    provisional = [e for e in events if isinstance(e, SegmentScored) and not e.is_final]
    assert provisional
    finals = [e for e in events if isinstance(e, SegmentScored) and e.is_final]
    assert all(any(f.start_s == e.start_s for f in finals) for e in provisional)


def test_events_come_while_the_call_goes_on_and_memory_does_not_grow(scorer):
    waveform, rate = soundfile.read(STEREO, dtype="float32", always_2d=True)
    stream = CallStream(scorer, ROLES, sample_rate=rate, channels=2, vad=VAD)
    kept, early = [], 0
    for _ in range(6):
        for at in range(0, len(waveform), 800):
            for channel in range(2):
                block = waveform[at : at + 800, channel]
                early += len(stream.feed(channel, block))
        tracks = stream.state.audio._tracks
        kept.append(sum(len(track.samples) for track in tracks))
    assert early > 20
    assert max(kept) <= 25 * rate


def test_two_voices_in_one_channel_are_refused(scorer):
    for config in (ROLES, Config.from_dict({"speakers": {"count": "2"}})):
        with pytest.raises(UsageError, match="cannot be told apart while"):
            CallStream(scorer, config, sample_rate=8000, channels=1, vad=VAD)


def test_a_model_that_normalises_by_the_channel_is_refused(tiny_bundle):
    by_channel = load_scorer(str(tiny_bundle), "cpu")
    with pytest.raises(UsageError, match="normalises by the speech of the whole"):
        CallStream(by_channel, ROLES, sample_rate=8000, channels=2, vad=VAD)


def test_events_are_plain_json(scorer):
    waveform, rate = soundfile.read(STEREO, dtype="float32", always_2d=True)
    events, _ = fed(scorer, waveform, rate, ROLES, [16_000])
    values = [as_json(event) for event in events]
    assert {own["event"] for own in values} == {"speech", "segment", "ended"}
    assert json.loads(json.dumps(values)) == values
    one = next(own for own in values if own["event"] == "segment")
    assert type(one["start_s"]) is float
    assert sum(one["probabilities"].values()) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("noise_db", [-80.0, -65.0, -55.0, -30.0])
def test_channels_that_are_nearly_the_same_are_told_as_the_batch_counts_them(
    noise_db, scorer, profiled_bundle, tmp_path
):
    waveform, rate = soundfile.read(STEREO, dtype="float32", always_2d=True)
    twice = np.repeat(waveform[:, 1:], 2, axis=1)
    level = np.sqrt(np.square(twice[:, 0]).mean())
    noise = np.random.default_rng(0).normal(0, 1, len(twice)).astype(np.float32)
    twice[:, 1] += noise * level * 10 ** (noise_db / 20)
    path = tmp_path / "nearly.wav"
    soundfile.write(path, twice, rate, "FLOAT")
    events, _ = fed(scorer, twice, rate, Config(), [1600])
    check(events, path, profiled_bundle, Config())


def test_the_array_of_a_packet_may_be_used_again(scorer, profiled_bundle):
    waveform, rate = soundfile.read(STEREO, dtype="float32", always_2d=True)
    mono = np.ascontiguousarray(waveform[:, 1])
    stream = CallStream(scorer, Config(), sample_rate=rate, channels=1, vad=VAD)
    events, buffer = [], np.zeros(160, np.float32)
    for at in range(0, len(mono) - 160, 160):
        buffer[:] = mono[at : at + 160]
        events += stream.feed(0, buffer)
    events += stream.finish()
    expected, _ = fed(
        scorer, mono[: (len(mono) - 1) // 160 * 160, None], rate, Config(), [8000]
    )
    one, other = (
        [(e.start_s, e.end_s) for e in own if isinstance(e, SpeechHeard)]
        for own in (events, expected)
    )
    assert one == other
    assert len(one) > 5


def test_what_are_no_samples_is_refused_and_what_is_not_finite_is_silence(scorer):
    stream = CallStream(scorer, Config(), sample_rate=8000, channels=1, vad=VAD)
    for wrong in (np.zeros(160, np.int16), np.zeros((160, 2)), np.zeros(())):
        with pytest.raises(ValueError, match="one channel of floats"):
            stream.feed(0, wrong)
    for channel in (-1, 1):
        with pytest.raises(ValueError, match="no channel"):
            stream.feed(channel, np.zeros(160))
    stream.feed(0, np.array([np.nan, np.inf, 1e30] * 2000))
    assert stream.finish() == [
        CallEnded(0.75, 0, ("non-finite samples replaced with silence",))
    ]
    for again in (stream.finish, lambda: stream.feed(0, np.zeros(160))):
        with pytest.raises(ValueError, match="has ended"):
            again()


@pytest.mark.parametrize(
    ("rate", "channels"), [(1, 1), (10_000_000, 1), (8000, 0), (8000, 9)]
)
def test_what_no_call_has_is_refused(rate, channels, scorer):
    with pytest.raises(UsageError, match="are supported"):
        CallStream(scorer, Config(), sample_rate=rate, channels=channels, vad=VAD)
