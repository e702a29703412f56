"""From speech probabilities to regions and segments: nothing is lost or duplicated."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ser_batch.config.options import SegmentConfig, VadConfig
from ser_batch.errors import UsageError
from ser_batch.speech.regions import (
    CURVE_PARTS,
    close_gaps,
    frame_levels_db,
    hysteresis,
    level_curve,
    speech_regions,
)
from ser_batch.speech.segments import segment_regions
from ser_batch.speech.silero import SileroVad, silero_model_path
from ser_batch.speech.vad import FRAME_S, FRAME_SAMPLES

PROBABILITIES = arrays(
    np.float32,
    st.integers(1, 400),
    elements=st.sampled_from([0.0, 0.2, 0.4, 0.45, 0.6, 0.9]),
)


def frames(regions: np.ndarray) -> set[int]:
    return {frame for start, end in regions.tolist() for frame in range(start, end)}


def is_ordered_and_disjoint(regions: np.ndarray) -> bool:
    return bool(
        np.all(regions[:, 0] < regions[:, 1])
        and np.all(regions[:-1, 1] <= regions[1:, 0])
    )


@given(PROBABILITIES)
def test_hysteresis_matches_a_loop_over_the_frames(probabilities):
    on, expected = False, []
    for p in probabilities:
        on = True if p >= 0.5 else False if p < 0.35 else on
        expected.append(on)
    assert hysteresis(probabilities, 0.5, 0.35).tolist() == expected


@given(PROBABILITIES)
def test_regions_are_ordered_disjoint_and_contain_all_long_speech(probabilities):
    config = VadConfig()
    regions = speech_regions(probabilities, config)
    assert is_ordered_and_disjoint(regions)
    assert frames(regions) <= set(range(len(probabilities)))
    shortest = round(config.min_speech_s / FRAME_S)
    assert all(end - start >= shortest for start, end in regions)
    on = hysteresis(probabilities, config.onset, config.offset)
    for start in range(len(on) - shortest + 1):
        if on[start : start + shortest].all():
            assert set(range(start, start + shortest)) <= frames(regions)


@given(
    st.lists(st.tuples(st.integers(1, 60), st.integers(1, 400)), max_size=12),
    st.integers(0, 2**32 - 1),
    st.floats(0, 1),
    st.floats(0.1, 2),
    st.floats(2, 5),
)
@settings(max_examples=200)
def test_segments_neither_lose_nor_duplicate_speech(
    gaps_and_lengths, seed, pause_s, min_s, times
):
    edges = np.cumsum(np.array(gaps_and_lengths, int).reshape(-1))
    regions = edges.reshape(-1, 2)
    n = int(edges[-1]) + 5 if len(edges) else 5
    rng = np.random.default_rng(seed)
    probabilities, levels = rng.random(n), rng.normal(-40, 5, n)
    config = SegmentConfig(pause_s, min_s, min_s * times)
    segments = segment_regions(regions, probabilities, levels, config)

    assert is_ordered_and_disjoint(segments)
    shortest, longest = round(config.min_s / FRAME_S), round(config.max_s / FRAME_S)
    groups = close_gaps(regions, round(pause_s / FRAME_S) + 1)
    longest_group = max((end - start for start, end in groups), default=0)
    if longest_group < shortest:
        # Nothing is long enough: only the longest is kept, if it is at least half as
        # long.
        shortest = max(shortest / 2, longest_group)
    assert all(shortest <= end - start <= longest for start, end in segments)
    # Every region is fully covered by segments, or isolated and too short.
    alone = [group for group in groups if group[1] - group[0] < shortest]
    unscored = frames(np.array(alone, int).reshape(-1, 2)) & frames(regions)
    assert frames(segments) & frames(regions) == frames(regions) - unscored
    assert not frames(segments) & unscored


def test_a_single_short_word_on_a_channel_is_scored():
    config = SegmentConfig()
    short, half = round(0.5 / FRAME_S), round(0.3 / FRAME_S)

    def segments(*regions):
        regions = np.array(regions, int).reshape(-1, 2)
        return segment_regions(regions, np.ones(900), np.zeros(900), config).tolist()

    assert segments((10, 10 + short)) == [[10, 10 + short]]
    assert segments((10, 10 + half)) == []
    assert segments((10, 10 + short), (500, 600)) == [[500, 600]]


def test_a_long_region_is_split_without_losing_any_of_it():
    n = round(25 / FRAME_S)
    segments = segment_regions(
        np.array([[0, n]]), np.ones(n), np.zeros(n), SegmentConfig(max_s=10.0)
    )
    assert segments[0, 0] == 0
    assert segments[-1, 1] == n
    assert (segments[1:, 0] == segments[:-1, 1]).all()


def test_regions_are_cut_at_the_weakest_and_then_the_quietest_frame():
    n = round(8 / FRAME_S)
    probabilities, levels = np.ones(n), np.zeros(n)
    probabilities[[150, 160]] = 0.4
    levels[160] = -50
    segments = segment_regions(
        np.array([[0, n]]), probabilities, levels, SegmentConfig()
    )
    assert segments.tolist() == [[0, 160], [160, n]]


def test_the_sequence_vad_gives_the_same_in_blocks_as_in_one_pass(call):
    from silero_vad.sequence_vad import SileroVADSequence

    wide = np.repeat(call[0], 2).astype(np.float32)
    oracle = SileroVADSequence(
        str(silero_model_path()), max_frames=10**6
    ).audio_forward(wide)
    rng = np.random.default_rng(0)
    stream, out, at = SileroVad().stream(), [], 0
    while at < len(wide):
        size = int(rng.integers(1, 40_000))
        out.append(stream.push(wide[at : at + size]))
        at += size
    out.append(stream.finish())
    np.testing.assert_allclose(np.concatenate(out), oracle, atol=1e-5)


@given(
    seed=st.integers(0, 2**32 - 1),
    n_frames=st.integers(1, 700),
    level=st.sampled_from([0.0, 1e-4, 0.1, 1.0]),
    tone=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_the_fast_encoder_gives_the_probabilities_of_the_sequence_model(
    seed, n_frames, level, tone
):
    from silero_vad.sequence_vad import SileroVADSequence

    rng = np.random.default_rng(seed)
    samples = level * rng.standard_normal(n_frames * FRAME_SAMPLES)
    if tone:
        samples += 0.3 * np.sin(np.arange(len(samples)) * rng.uniform(0.01, 1.5))
    samples = samples.astype(np.float32)
    oracle = SileroVADSequence(str(silero_model_path()), max_frames=10**6)
    fast = SileroVad().stream().push(samples)
    np.testing.assert_allclose(fast, oracle.audio_forward(samples), atol=2e-5)


def test_unknown_weights_are_refused(tmp_path, monkeypatch):
    other = tmp_path / "silero_vad_16k_sequence.onnx"
    other.write_bytes(silero_model_path().read_bytes() + b"x")
    monkeypatch.setattr("ser_batch.speech.silero.silero_model_path", lambda: other)
    with pytest.raises(UsageError, match=r"unknown Silero weights; install silero-vad"):
        SileroVad()


@pytest.mark.parametrize(
    "n", [0, 1, FRAME_SAMPLES - 1, FRAME_SAMPLES, FRAME_SAMPLES + 1, 10 * FRAME_SAMPLES]
)
def test_every_full_or_partial_frame_has_a_probability(n):
    stream = SileroVad().stream()
    got = len(stream.push(np.zeros(n, np.float32))) + len(stream.finish())
    assert got == -(-n // FRAME_SAMPLES)


def test_levels_of_a_sine_and_of_silence_are_exact():
    sine = np.sin(np.arange(FRAME_SAMPLES) * 2 * np.pi / 64).astype(np.float32)
    levels = frame_levels_db(np.stack([sine, 0.1 * sine, np.zeros_like(sine)]))
    np.testing.assert_allclose(levels, [-3.01, -23.01, -120], atol=0.01)


@given(st.lists(st.floats(-120, 10), max_size=2000))
def test_a_level_curve_has_the_highest_level_of_each_part(levels):
    frames = np.array(levels, np.float32)
    curve = np.frombuffer(level_curve(frames), np.uint8)
    assert len(curve) == min(len(levels), CURVE_PARTS)
    if levels:
        parts = np.split(frames, np.arange(1, len(curve)) * len(frames) // len(curve))
        expected = [255 * min(max(part.max() / 60 + 1, 0), 1) for part in parts]
        np.testing.assert_allclose(curve, expected, atol=0.51)
