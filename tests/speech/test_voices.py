"""The voice model in numpy: the same as in torch, and each region on its own."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_batch.errors import BundleError
from ser_batch.shipped import MODELS_FOLDER
from ser_batch.speech.voices import (
    FLOOR,
    FORMAT,
    HOP,
    N_MELS,
    VARIANCE_FLOOR,
    WINDOW,
    Steps,
    load_voices,
    log_mel,
    mel_filters,
    running_sums,
)
from tests.support.voices import model_of, random_network


def test_mel_bands_match_torch():
    samples = np.random.default_rng(0).normal(0, 0.05, 9001).astype(np.float32)
    frames = torch.from_numpy(samples).unfold(0, WINDOW, HOP)
    power = torch.fft.rfft(frames * torch.hann_window(WINDOW)).abs().square()
    expected = torch.log(power @ torch.from_numpy(mel_filters()) + FLOOR)
    np.testing.assert_allclose(log_mel(samples), expected.numpy(), atol=1e-4)
    assert log_mel(samples[: WINDOW - 1]).shape == (0, N_MELS)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 90), min_size=1, max_size=4), st.integers(0, 99))
def test_regions_that_go_through_together_match_torch_on_each_alone(lengths, seed):
    rng = np.random.default_rng(seed)
    regions = [rng.normal(0, 1, (n, N_MELS)).astype(np.float32) for n in lengths]
    mean = rng.normal(0, 1, N_MELS).astype(np.float32)
    network = random_network()
    found = model_of(network).steps(regions, mean)
    for (first, last), region in zip(found.regions, regions, strict=True):
        alone = torch.from_numpy(region - mean)[None]
        with torch.inference_mode():
            expected = network.steps(alone)[0].T.numpy()
        sums = found.sums[first : last + 1, : expected.shape[1]]
        np.testing.assert_allclose(np.diff(sums, axis=0), expected, atol=1e-3)


def test_a_window_of_a_whole_region_matches_the_embedding_in_torch():
    network = random_network()
    region = np.random.default_rng(1).normal(0, 1, (120, N_MELS)).astype(np.float32)
    model = model_of(network)
    steps = model.steps([region], np.zeros(N_MELS, np.float32))
    point = model.points(steps.pooled(steps.regions))
    with torch.inference_mode():
        expected = network(torch.from_numpy(region)[None]).numpy()
    np.testing.assert_allclose(point, expected, atol=1e-4)


def test_windows_are_pooled_as_if_each_were_cut_out():
    values = np.random.default_rng(2).normal(0, 1, (50, 10)).astype(np.float32)
    windows = np.array([[0, 20], [7, 27], [30, 50], [45, 50]])
    steps = Steps(running_sums(values), np.array([[0, 50]]))
    for (start, end), own in zip(windows, steps.pooled(windows), strict=True):
        alone = values[start:end]
        deviation = np.sqrt(alone.var(0) + VARIANCE_FLOOR)
        np.testing.assert_allclose(own, [*alone.mean(0), *deviation], atol=1e-4)


@given(
    st.lists(st.integers(0, 60), min_size=1, max_size=5),
    st.integers(1, 30),
    st.integers(1, 9),
)
def test_windows_stay_within_their_region_and_reach_all_of_it(lengths, length, hop):
    last = np.cumsum(lengths) + 3 * np.arange(len(lengths))
    steps = Steps(np.zeros((200, 2)), np.stack([last - lengths, last], axis=1))
    every = steps.every(hop, length)
    for first, end in steps.regions:
        own = every[(every[:, 0] >= first) & (every[:, 0] < end)]
        assert (np.diff(own) == min(length, end - first)).all()
        assert len(own) == (end > first) * (max(end - first - length, 0) // hop + 1)
    spoken = np.array([i for i, n in enumerate(lengths) for _ in range(n)], int)
    middles = np.array([i for n in lengths for i in range(n)], int)
    around = steps.around(spoken, middles, length)
    first, end = steps.regions[spoken].T
    at = first + middles
    assert ((first <= around[:, 0]) & (around[:, 1] <= end)).all()
    assert ((around[:, 0] <= at) & (at < around[:, 1])).all()
    assert (np.diff(around)[:, 0] == np.minimum(length, end - first)).all()


def test_confidence_grows_with_separation_from_chance_to_certainty():
    model = load_voices()
    accuracies = [model.expected_accuracy(d) for d in np.linspace(0, 30, 50)]
    assert accuracies == sorted(accuracies)
    assert 0.5 <= accuracies[0] < accuracies[-1] <= 1


def test_a_damaged_voice_model_is_refused(tmp_path):
    for name in ("voices.json", "voices.safetensors"):
        (tmp_path / name).write_bytes((MODELS_FOLDER / "voices" / name).read_bytes())
    load_voices(tmp_path)
    weights = tmp_path / "voices.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"abcd")
    with pytest.raises(BundleError, match="do not match voices.json"):
        load_voices(tmp_path)
    settings_ = tmp_path / "voices.json"
    settings_.write_text(
        settings_.read_text().replace(f'"format": {FORMAT}', '"format": 99')
    )
    with pytest.raises(BundleError, match="format 99"):
        load_voices(tmp_path)
    settings_.unlink()
    with pytest.raises(BundleError, match="cannot be read"):
        load_voices(tmp_path)
