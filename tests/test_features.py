"""MFCC and network: librosa and the unpadded way are the oracles."""

import librosa
import numpy as np
import pytest
import torch
import torchaudio
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_batch.features import Mfcc, MfccConfig, frame_mask, regression
from ser_batch.model import CnnBiLstm, NetworkConfig


def noise(n: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(0, 0.1, n).astype(np.float32))


def alone(module: Mfcc, waveform: torch.Tensor) -> torch.Tensor:
    return module(waveform[None], torch.tensor([len(waveform)]))[0][0]


@pytest.mark.parametrize("config", [MfccConfig(level_dbfs=None), MfccConfig(16000, 400, 160, 80, 20, level_dbfs=None)])
@pytest.mark.parametrize("n", [24077, 8000, 700])
def test_coefficients_equal_librosas_to_a_thousandth(config, n):
    waveform = noise(n)
    expected = librosa.feature.mfcc(
        y=waveform.numpy(),
        sr=config.sample_rate,
        n_mfcc=config.n_mfcc,
        n_fft=config.n_fft,
        hop_length=config.hop_length,
        n_mels=config.n_mels,
        pad_mode="constant",
    ).T
    ours = alone(Mfcc(config), waveform)[:, : config.n_mfcc].numpy()
    assert ours.shape == expected.shape == (1 + n // config.hop_length, config.n_mfcc)
    np.testing.assert_allclose(ours, expected, atol=1e-3)


def test_deltas_equal_torchaudios():
    x = noise(1200).reshape(1, 30, 40)
    expected = torchaudio.functional.compute_deltas(x.transpose(1, 2), 5).transpose(1, 2)
    torch.testing.assert_close(regression(x, torch.tensor([30]), 5), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("mean_normalisation", [False, True])
@given(st.lists(st.integers(1, 9000), min_size=1, max_size=5))
@settings(max_examples=20, deadline=None)
def test_padding_and_company_change_neither_features_nor_logits(mean_normalisation, lengths):
    torch.manual_seed(0)
    module = Mfcc(MfccConfig(mean_normalisation=mean_normalisation)).eval()
    network = CnnBiLstm(NetworkConfig(module.config.n_features, 8, (16, 16, 16), lstm_width=8)).eval()
    waveforms = torch.zeros(len(lengths), max(lengths))
    for i, n in enumerate(lengths):
        waveforms[i, :n] = noise(n, i)
    with torch.inference_mode():
        features, frames = module(waveforms, torch.tensor(lengths))
        logits = network(features, frames)
        for i, n in enumerate(lengths):
            single = alone(module, noise(n, i))
            torch.testing.assert_close(features[i, : frames[i]], single, atol=1e-3, rtol=1e-4)
            assert (features[i, frames[i] :] == 0).all()
            torch.testing.assert_close(logits[i], network(single[None], frames[i : i + 1])[0], atol=1e-4, rtol=1e-4)


def test_a_loud_neighbour_does_not_clamp_a_quiet_segment():
    module = Mfcc(MfccConfig(level_dbfs=None))
    quiet, loud = noise(8000) * 1e-4, noise(8000, 1) * 5
    together = module(torch.stack([quiet, loud]), torch.tensor([8000, 8000]))[0][0]
    torch.testing.assert_close(together, alone(module, quiet))


@given(st.floats(-50, 10))
@settings(deadline=None, max_examples=10)
def test_the_level_of_the_line_changes_nothing(gain_db):
    module = Mfcc(MfccConfig())
    torch.testing.assert_close(
        alone(module, noise(8000)), alone(module, noise(8000) * 10 ** (gain_db / 20)), atol=2e-3, rtol=1e-3
    )


def test_with_mean_normalisation_a_filter_of_the_line_moves_little():
    module = Mfcc(MfccConfig(mean_normalisation=True))
    assert alone(module, noise(8000))[:, :40].mean(0).abs().max() < 1e-3


def test_silence_and_a_single_sample_give_finite_logits():
    module = Mfcc(MfccConfig())
    network = CnnBiLstm(NetworkConfig(module.config.n_features, 8)).eval()
    for waveform in (torch.zeros(8000), torch.ones(1)):
        features = alone(module, waveform)
        assert network(features[None], torch.tensor([len(features)])).isfinite().all()


def test_a_mask_is_one_up_to_each_segments_end():
    assert frame_mask(torch.tensor([0, 2, 3]), 3).tolist() == [[0, 0, 0], [1, 1, 0], [1, 1, 1]]
