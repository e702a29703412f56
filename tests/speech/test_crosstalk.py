"""Crosstalk is removed from a channel, and the channel's own speech is kept.

Voices are synthetic: harmonics of a varying pitch, in syllables, with consonants of
noise. Speech and crosstalk are therefore known exactly.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import fftconvolve

from ser_batch.speech.crosstalk import AHEAD, FRAME, STEP, Crosstalk, bridged
from ser_batch.speech.crosstalk_path import (
    CONTEXT,
    EARLY,
    MAX_DELAY,
    RATE,
    WINDOW,
    CrosstalkPath,
)
from ser_batch.speech.vad import FRAME_S

OFFSET = 0.35
SECONDS = 40


def voice(seed: int, seconds: float = SECONDS) -> np.ndarray:
    """Synthesise continuous speech at about -20 dB, with pauses of a syllable."""
    rng = np.random.default_rng(seed)
    n = int(seconds * RATE)
    t = np.arange(n) / RATE
    pitch = rng.uniform(90, 230) * (
        1 + 0.15 * np.sin(2 * np.pi * rng.uniform(0.2, 0.5) * t + rng.uniform(0, 6))
    )
    phase = (
        2
        * np.pi
        * np.cumsum(pitch * (1 + 0.01 * rng.standard_normal(n).cumsum() / np.sqrt(n)))
        / RATE
    )
    vowels = sum(
        np.sin(k * phase + rng.uniform(0, 6)) / k ** rng.uniform(0.5, 1.2)
        for k in range(1, 14)
    )
    syllables = np.repeat(rng.random(n // 1200 + 1), 1200)[:n]
    smooth = np.hanning(800) / 400
    loud = fftconvolve(np.where(syllables > 0.25, syllables, 0), smooth, "same")
    hiss = fftconvolve(
        np.where(syllables > 0.8, 1.0, 0), smooth, "same"
    ) * rng.standard_normal(n)
    speech = vowels * loud + hiss
    return 0.1 * speech / np.sqrt(np.mean(speech**2))


def channels(*signals: np.ndarray) -> np.ndarray:
    """Stack the signals as channels, and add a little line noise to each."""
    rng = np.random.default_rng(99)
    stacked = np.stack(signals)
    return (stacked + 2e-4 * rng.standard_normal(stacked.shape)).astype(np.float32)


def talk(samples: np.ndarray) -> np.ndarray:
    """Return the probabilities of an ideal VAD: 0.9 for every frame with sound."""
    frames = samples[:, : samples.shape[1] // FRAME * FRAME].reshape(
        len(samples), -1, FRAME
    )
    return np.where(np.square(frames).mean(2) > 1e-6, 0.9, 0.01).astype(np.float32)


def cleaned(
    samples: np.ndarray, probabilities: np.ndarray, cuts: Sequence[int] = ()
) -> np.ndarray:
    """Return the cleaned probabilities, for blocks that end at `cuts`."""
    stage = Crosstalk(len(samples), OFFSET)
    edges = [0, *sorted(cuts), probabilities.shape[1]]
    parts = [
        stage.push(samples[:, a * FRAME : b * FRAME], probabilities[:, a:b])
        for a, b in pairwise(edges)
    ]
    return np.concatenate([*parts, stage.finish()], axis=1)


def leak(source: np.ndarray, delay_ms: float, level_db: float) -> np.ndarray:
    delay = round(delay_ms * RATE / 1000)
    return np.r_[np.zeros(delay), source][: len(source)] * 10 ** (level_db / 20)


@pytest.mark.parametrize("level_db", [0, -10, -20, -30, -40])
def test_a_quiet_speaker_keeps_every_frame_exactly(level_db):
    samples = channels(voice(1), voice(2) * 10 ** (level_db / 20))
    probabilities = talk(samples)
    np.testing.assert_array_equal(cleaned(samples, probabilities), probabilities)


@pytest.mark.parametrize("delay_ms", [0, 3.5, 20, 200])
@pytest.mark.parametrize("level_db", [-10, -15, -30])
def test_an_echo_is_removed_and_its_source_is_unchanged(delay_ms, level_db):
    source = voice(3)
    samples = channels(source, leak(source, delay_ms, level_db))
    probabilities = talk(samples)
    left = cleaned(samples, probabilities)
    np.testing.assert_array_equal(left[0], probabilities[0])
    assert (left[1] > OFFSET).sum() <= 0.02 * (probabilities[1] > OFFSET).sum()


def test_an_echo_through_a_room_is_removed():
    source, rng = voice(4), np.random.default_rng(4)
    room = rng.standard_normal(1600) * np.exp(-7 * np.arange(1600) / 1600) * 0.15
    room[0] = 1
    samples = channels(source, leak(fftconvolve(source, room)[: len(source)], 40, -15))
    probabilities = talk(samples)
    left = cleaned(samples, probabilities)
    assert (left[1] > OFFSET).sum() <= 0.05 * (probabilities[1] > OFFSET).sum()


@pytest.mark.parametrize("own_db", [0, -6, -15])
def test_own_speech_on_top_of_an_echo_is_kept(own_db):
    source, own = voice(5), voice(6) * 10 ** (own_db / 20)
    own[: len(own) // 2] = 0
    samples = channels(source, own + leak(source, 30, -15))
    probabilities, alone = talk(samples), talk(channels(source, own))[1] > OFFSET
    left = cleaned(samples, probabilities)[1] > OFFSET
    assert (left & alone).sum() >= 0.9 * alone.sum()
    assert left[: len(left) // 2 - 16].mean() <= 0.05


def test_identical_channels_are_not_treated_as_crosstalk():
    source = voice(7)
    samples = np.stack([source, source]).astype(np.float32)
    probabilities = talk(samples)
    np.testing.assert_array_equal(cleaned(samples, probabilities), probabilities)


def test_an_echo_is_removed_only_from_its_own_channel_of_three():
    source, other = voice(8), voice(9)
    samples = channels(source, leak(source, 60, -12), other)
    probabilities = talk(samples)
    left = cleaned(samples, probabilities)
    np.testing.assert_array_equal(left[[0, 2]], probabilities[[0, 2]])
    assert (left[1] > OFFSET).mean() <= 0.02


def test_echoes_in_both_directions_are_removed_without_losing_own_speech():
    turns = np.repeat(np.arange(8) % 2, SECONDS * RATE // 8)
    one, two = voice(10) * (turns == 0), voice(11) * (turns == 1)
    samples = channels(one + leak(two, 25, -20), two + leak(one, 45, -20))
    left = cleaned(samples, talk(samples)) > OFFSET
    for channel, own in enumerate((one, two)):
        alone = talk(channels(own))[0] > OFFSET
        assert (left[channel] & alone).sum() >= 0.95 * alone.sum()
        assert (left[channel] & ~alone).sum() <= 0.1 * (~alone).sum()


@given(st.lists(st.integers(0, 1250), max_size=12), st.integers(0, 400))
@settings(max_examples=15, deadline=None)
def test_block_boundaries_do_not_change_the_result(cuts, short):
    source = voice(12)
    samples = channels(source, leak(source, 15, -15))
    n = samples.shape[1] // FRAME - short
    samples, probabilities = samples[:, : n * FRAME], talk(samples)[:, :n]
    whole = cleaned(samples, probabilities)
    np.testing.assert_array_equal(
        cleaned(samples, probabilities, [c for c in cuts if c < n]), whole
    )


def test_a_frame_does_not_depend_on_audio_over_eight_seconds_later():
    source = voice(13)
    samples = channels(source, leak(source, 15, -15))
    probabilities = talk(samples)
    now = 5 * STEP
    known = now + AHEAD * STEP
    later = samples.copy()
    later[1, known * FRAME :] = voice(14)[known * FRAME : later.shape[1]]
    np.testing.assert_array_equal(
        cleaned(samples, probabilities)[:, :now], cleaned(later, probabilities)[:, :now]
    )
    assert AHEAD * STEP * FRAME_S <= 8.2


def test_the_response_of_a_crosstalk_path_is_estimated():
    rng = np.random.default_rng(0)
    source = rng.standard_normal(CONTEXT + 6 * STEP * FRAME)
    taps = np.zeros(MAX_DELAY)
    taps[200:230] = rng.standard_normal(30) * np.exp(-np.arange(30) / 8) * 0.2
    sink, path = fftconvolve(source, taps)[: len(source)], CrosstalkPath()
    for start in range(CONTEXT, len(source), STEP * FRAME):
        end = start + STEP * FRAME
        path.learn(sink[start:end], source[start - CONTEXT : end])
    for start in range(MAX_DELAY, len(source) - WINDOW, 4 * WINDOW):
        path.look(
            sink[start : start + WINDOW], source[start - MAX_DELAY : start + WINDOW]
        )
    delay = path.delay()
    assert delay is not None
    found, gain = path.response(delay)
    expected = np.r_[taps[delay - EARLY :], np.zeros(EARLY)][: len(found)]
    np.testing.assert_allclose(
        found[: len(expected)], expected[: len(found)], atol=0.01
    )
    assert gain == pytest.approx(np.square(taps).sum(), rel=0.05)


def test_no_delay_is_found_with_too_few_or_inconsistent_windows():
    path, rng = CrosstalkPath(), np.random.default_rng(1)
    assert path.delay() is None
    for seed in range(30):
        window, other = (rng.standard_normal(WINDOW + MAX_DELAY) for _ in range(2))
        path.look(window[:WINDOW], other)
        assert path.delay() is None, seed


@given(st.lists(st.booleans(), max_size=80))
def test_bridging_fills_only_short_pauses_between_own_speech(own):
    values = np.array(own, bool)
    result = bridged(values)
    assert len(result) == len(values)
    edges = np.flatnonzero(np.diff(np.r_[False, result, False])).reshape(-1, 2)
    assert all(end - start >= 5 for start, end in edges)
    gaps = [b - a for a, b in zip(edges[:-1, 1], edges[1:, 0], strict=True)]
    assert all(gap >= 12 for gap in gaps)
