"""Voices within a channel: clusters, smoothing over time, and the voice of a frame."""

import shutil
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_batch.speech import smoothing, voice_diarizer
from ser_batch.speech.clustering import clustered
from ser_batch.speech.diarization import SAMPLE_RATE
from ser_batch.speech.regions import inside
from ser_batch.speech.silero import SileroVad
from ser_batch.speech.smoothing import smoothed
from ser_batch.speech.vad import FRAME_S
from ser_batch.speech.voice_diarizer import VoiceDiarizer
from ser_batch.speech.voices import STEP_S, load_voices
from ser_batch.training.corpora.readers import read_corpora
from ser_batch.training.voices.calibrating import read_from
from ser_batch.training.voices.clips import read_clips
from ser_batch.training.voices.conversations import (
    paired,
    right_share,
    speech_of,
)

NO_REGIONS = np.zeros((0, 2), int)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 4), st.integers(0, 99))
def test_distant_groups_of_points_are_found_whatever_their_sizes(n_groups, seed):
    rng = np.random.default_rng(seed)
    directions = np.linalg.qr(rng.normal(0, 1, (6, n_groups)))[0].T
    truth = np.concatenate([np.full(rng.integers(15, 60), k) for k in range(n_groups)])
    rng.shuffle(truth)
    points = 5 * directions[truth] + rng.normal(0, 0.5, (len(truth), 6))
    labels = clustered(points, n_groups)
    assert any(
        np.array_equal(np.array(order)[labels], truth)
        for order in permutations(range(n_groups))
    )
    np.testing.assert_array_equal(labels, clustered(points, n_groups))


@pytest.mark.parametrize("n_points", [0, 1, 2, 3])
def test_fewer_points_than_clusters_are_clusters_of_their_own(n_points):
    labels = clustered(np.eye(4)[:n_points], 3)
    assert labels.tolist() == list(range(n_points))


def test_smoothing_in_blocks_matches_smoothing_at_once(monkeypatch):
    rng = np.random.default_rng(0)
    evidence, changes = rng.normal(0, 1, (100, 3)), rng.uniform(0.01, 0.5, 100)
    at_once = smoothed(evidence, changes)
    monkeypatch.setattr(smoothing, "BLOCK", 7)
    np.testing.assert_allclose(smoothed(evidence, changes), at_once, atol=1e-12)


def test_points_without_a_direction_make_no_error():
    points = np.random.default_rng(0).normal(0, 1, (30, 5))
    points[[3, 9]] = 0
    assert len(clustered(points, 2)) == 30
    assert len(clustered(np.zeros((8, 5)), 2)) == 8


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.integers(1, 3), st.integers(0, 999))
def test_smoothing_matches_the_sum_over_all_sequences(n_cells, n_voices, seed):
    rng = np.random.default_rng(seed)
    evidence = rng.normal(0, 2, (n_cells, n_voices))
    changes = rng.uniform(0.01, 0.6, n_cells)
    naive = np.zeros((n_cells, n_voices))
    for sequence in product(range(n_voices), repeat=n_cells):
        weight = np.exp(sum(evidence[i, k] for i, k in enumerate(sequence)))
        for i in range(1, n_cells):
            if n_voices > 1:
                same = sequence[i] == sequence[i - 1]
                other = changes[i] / (n_voices - 1)
                weight *= 1 - changes[i] if same else other
        for i, k in enumerate(sequence):
            naive[i, k] += weight
    expected = naive / naive.sum(1, keepdims=True)
    np.testing.assert_allclose(smoothed(evidence, changes), expected, atol=1e-9)


def speech(seconds: float, seed: int = 0) -> np.ndarray:
    """Return noise, of which the voice model makes what it will."""
    n = round(seconds * SAMPLE_RATE)
    return np.random.default_rng(seed).normal(0, 0.05, n).astype(np.float32)


def test_every_frame_of_speech_has_one_voice_or_is_unclear():
    samples = speech(40)
    regions = np.array([[10, 18], [30, 400], [410, 425], [500, 1200]])
    voices = VoiceDiarizer(load_voices()).voices(read_from(samples), regions, 1, 4)
    given_to = np.zeros(1200, int)
    for own in [*voices.regions, voices.unclear]:
        for start, end in own:
            given_to[start:end] += 1
    expected = np.zeros(1200, int)
    for start, end in regions:
        expected[start:end] = 1
    np.testing.assert_array_equal(given_to, expected)
    assert (voices.certainty[expected == 1] > 0).all()
    starts = [own[0, 0] for own in voices.regions]
    assert starts == sorted(starts)


@pytest.mark.parametrize(
    "regions",
    [NO_REGIONS, np.array([[5, 6]]), np.array([[0, 1], [9, 10]]), np.array([[0, 900]])],
    ids=["none", "a frame", "two frames", "one long"],
)
@pytest.mark.parametrize("least", [1, 2])
def test_hardly_any_speech_or_silence_makes_no_error(regions, least):
    diarizer = VoiceDiarizer(load_voices())
    for samples in (speech(30), np.zeros(240_000, np.float32)):
        voices = diarizer.voices(read_from(samples), regions, least, 3)
        frames = sum(int((own[:, 1] - own[:, 0]).sum()) for own in voices.regions)
        assert frames + int((voices.unclear[:, 1] - voices.unclear[:, 0]).sum()) == int(
            (regions[:, 1] - regions[:, 0]).sum()
        )


def test_the_level_of_a_channel_does_not_matter():
    samples, regions = speech(30), np.array([[10, 300], [320, 900]])
    diarizer = VoiceDiarizer(load_voices())
    loud, faint = (
        diarizer.voices(read_from(gain * samples), regions, 2, 2) for gain in (1, 0.01)
    )
    for a, b in zip(loud.regions, faint.regions, strict=True):
        np.testing.assert_array_equal(a, b)


def test_long_speech_is_sampled_evenly_with_bounded_windows(monkeypatch):
    asked = []
    cluster = voice_diarizer.clustered
    monkeypatch.setattr(
        voice_diarizer,
        "clustered",
        lambda points, n: (asked.append(len(points)), cluster(points, n))[1],
    )
    samples = speech(1200)
    frames = int(1200 / FRAME_S)
    regions = np.array([[i, i + 590] for i in range(0, frames - 590, 600)])
    VoiceDiarizer(load_voices()).voices(read_from(samples), regions, 2, 2)
    assert asked == [400]


@pytest.mark.corpus
@pytest.mark.slow
def test_voices_that_training_never_heard_are_told_apart(data, tmp_path):
    for actor in ("Actor_02", "Actor_05"):
        shutil.copytree(data / "ravdess" / actor, tmp_path / "heard" / actor)
    corpora = read_corpora([f"ravdess={tmp_path / 'heard'}"])
    [call] = paired(read_clips(corpora, None, tmp_path), [30], seed=1)
    voices = VoiceDiarizer(load_voices()).voices(
        read_from(call.samples), speech_of(call, SileroVad()), 2, 2
    )
    assert right_share(call.turns, voices.regions, FRAME_S) > 0.85


@pytest.mark.corpus
@pytest.mark.slow
def test_speech_of_two_at_once_is_mostly_that(data, tmp_path):
    for actor in ("Actor_03", "Actor_06"):
        shutil.copytree(data / "ravdess" / actor, tmp_path / "heard" / actor)
    corpora = read_corpora([f"ravdess={tmp_path / 'heard'}"])
    [call] = paired(read_clips(corpora, None, tmp_path), [30], seed=1, overlaps=0.5)
    voices = VoiceDiarizer(load_voices()).voices(
        read_from(call.samples), speech_of(call, SileroVad()), 2, 2
    )
    middles = (np.arange(len(call.both)) + 0.5) * STEP_S / FRAME_S
    found = inside(voices.overlap, int(middles[-1]) + 1)[middles.astype(int)]
    assert found.sum() * STEP_S > 2
    assert (call.both & found).sum() > 0.5 * found.sum()
