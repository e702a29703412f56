"""Features and network, checked against librosa and against unpadded input."""

import librosa
import numpy as np
import pytest
import torch
import torchaudio
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_batch.emotion.features import (
    KINDS,
    FeatureConfig,
    Features,
    feature_sums,
    frame_mask,
    regression,
)
from ser_batch.emotion.network import CnnBiLstm, ConvConfig, NetworkConfig
from ser_batch.errors import ConfigError
from ser_batch.training.evaluation.cost import mflop_per_s
from ser_batch.training.recipe import shipped_recipes


def noise(n: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(
        np.random.default_rng(seed).normal(0, 0.1, n).astype(np.float32)
    )


def alone(module: Features, waveform: torch.Tensor) -> torch.Tensor:
    return module(waveform[None], torch.tensor([len(waveform)]))[0][0]


def network_for(features: FeatureConfig, config: NetworkConfig) -> CnnBiLstm:
    torch.manual_seed(0)
    return CnnBiLstm(config, features.n_static, 1 + features.deltas, 8).eval()


def librosa_features(kind: str, y: np.ndarray, c: FeatureConfig) -> np.ndarray:
    """Return librosa's features of a waveform, shape (features, frames)."""
    spectrum = {"sr": c.sample_rate, "n_fft": c.n_fft, "hop_length": c.hop_length}
    magnitude = np.abs(
        librosa.stft(y, n_fft=c.n_fft, hop_length=c.hop_length, pad_mode="constant")
    )
    if kind == "mfcc":
        return librosa.feature.mfcc(
            y=y, n_mfcc=c.n_mfcc, n_mels=c.n_mels, pad_mode="constant", **spectrum
        )
    if kind == "mel":
        mel = librosa.feature.melspectrogram(
            y=y, n_mels=c.n_mels, pad_mode="constant", **spectrum
        )
        return librosa.power_to_db(mel)
    if kind == "zcr":
        return librosa.feature.zero_crossing_rate(
            y, frame_length=c.n_fft, hop_length=c.hop_length
        )
    if kind == "rms":
        return librosa.feature.rms(
            y=y, frame_length=c.n_fft, hop_length=c.hop_length, pad_mode="constant"
        )
    if kind == "contrast":
        n_bands = FeatureConfig(c.sample_rate, kinds=("contrast",)).n_static - 1
        return librosa.feature.spectral_contrast(
            S=magnitude, sr=c.sample_rate, n_fft=c.n_fft, n_bands=n_bands
        )
    chroma = librosa.feature.chroma_stft(S=magnitude**2, tuning=0.0, **spectrum)
    return chroma if kind == "chroma" else librosa.feature.tonnetz(chroma=chroma)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("sample_rate", "n_fft", "hop_length"),
    [(8000, 256, 80), (16000, 512, 160), (22050, 2048, 512)],
)
@pytest.mark.parametrize("n", [24077, 4000, 700])
def test_each_feature_matches_librosa(kind, sample_rate, n_fft, hop_length, n):
    config = FeatureConfig(
        sample_rate, n_fft, hop_length, (kind,), n_mels=64, n_mfcc=40, deltas=0
    )
    t = np.arange(n) / sample_rate
    voice = (
        0.2 * np.sin(2 * np.pi * 220 * t * (1 + 0.1 * t)) + noise(n).numpy() * 0.1
    ).astype(np.float32)
    expected = librosa_features(kind, voice, config).T
    ours = alone(Features(config), torch.from_numpy(voice)).numpy()
    assert (
        ours.shape
        == expected.shape
        == (1 + n // hop_length, config.n_static * (1 + config.deltas))
    )
    # Decibels and their sums reach several hundred; a contrast valley is a few bins of
    # almost nothing.
    tolerance = {"mfcc": 5e-3, "mel": 5e-3, "contrast": 0.15}.get(kind, 1e-5)
    np.testing.assert_allclose(ours, expected, atol=tolerance)


def test_features_are_concatenated_in_the_requested_order():
    both = alone(Features(FeatureConfig(kinds=("rms", "mfcc"), deltas=0)), noise(8000))
    apart = [
        alone(Features(FeatureConfig(kinds=(kind,), deltas=0)), noise(8000))
        for kind in ("rms", "mfcc")
    ]
    torch.testing.assert_close(both, torch.cat(apart, -1))


def test_deltas_match_torchaudio():
    x = noise(1200).reshape(1, 30, 40)
    expected = torchaudio.functional.compute_deltas(x.transpose(1, 2), 5).transpose(
        1, 2
    )
    torch.testing.assert_close(
        regression(x, torch.tensor([30]), 5), expected, atol=1e-5, rtol=1e-5
    )


CONV = ConvConfig(16, 5)
NETWORKS = {
    "one dimension, attention": NetworkConfig((CONV, CONV, CONV), lstm_width=8),
    "residual, statistics": NetworkConfig(
        (CONV, ConvConfig(16, residual=True)), lstm_width=8, pooling="statistics"
    ),
    "two dimensions, last": NetworkConfig(
        (ConvConfig(8, norm="after_relu"), ConvConfig(8)), 2, 8, pooling="last"
    ),
    "two dimensions, residual": NetworkConfig(
        (CONV, ConvConfig(8, residual=True)), 2, 0, pooling="mean"
    ),
    "no convolution": NetworkConfig(
        (), lstm_width=8, bidirectional=False, pooling="last", dense=(4,)
    ),
    "three members": NetworkConfig(
        (ConvConfig(8, pool=3, norm="after_dropout"),), lstm_width=8, members=3
    ),
}


@pytest.mark.parametrize(
    "kinds",
    [("mfcc",), ("mfcc", "zcr", "rms", "contrast", "tonnetz")],
    ids=["mfcc", "many"],
)
@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS.keys())
@given(
    # From two windows on: the deviation of a few samples is rounding, and divides it.
    st.lists(st.integers(400, 9000), min_size=1, max_size=5),
    st.sampled_from(["none", "mean", "mean_std"]),
)
@settings(max_examples=8, deadline=None)
def test_padding_and_batching_change_neither_features_nor_logits(
    network, kinds, lengths, normalisation
):
    module = Features(FeatureConfig(kinds=kinds, normalisation=normalisation)).eval()
    net = network_for(module.config, network)
    waveforms = torch.zeros(len(lengths), max(lengths))
    for i, n in enumerate(lengths):
        waveforms[i, :n] = noise(n, i)
    with torch.inference_mode():
        features, frames = module(waveforms, torch.tensor(lengths))
        probabilities = net(features, frames).softmax(-1)
        for i, n in enumerate(lengths):
            single = alone(module, noise(n, i))
            torch.testing.assert_close(
                features[i, : frames[i]], single, atol=5e-3, rtol=1e-3
            )
            assert (features[i, frames[i] :] == 0).all()
            alone_ = net(single[None], frames[i : i + 1])[0].softmax(-1)
            torch.testing.assert_close(probabilities[i], alone_, atol=1e-4, rtol=1e-3)


def test_a_loud_neighbour_does_not_clamp_a_quiet_segment():
    module = Features(FeatureConfig())
    quiet, loud = noise(8000) * 1e-4, noise(8000, 1) * 5
    together = module(torch.stack([quiet, loud]), torch.tensor([8000, 8000]))[0][0]
    torch.testing.assert_close(together, alone(module, quiet))


@pytest.mark.parametrize(
    "config",
    [
        FeatureConfig(level="rms"),
        FeatureConfig(level="peak"),
        FeatureConfig(normalisation="mean"),
    ],
)
@given(st.floats(-50, 10))
@settings(deadline=None, max_examples=10)
def test_the_recording_level_does_not_change_features(config, gain_db):
    module = Features(config)
    torch.testing.assert_close(
        alone(module, noise(8000)),
        alone(module, noise(8000) * 10 ** (gain_db / 20)),
        atol=3e-3,
        rtol=1e-3,
    )


def test_normalisation_gives_zero_mean_and_unit_deviation():
    values = alone(
        Features(FeatureConfig(normalisation="mean_std", deltas=0)), noise(8000)
    )
    assert values.mean(0).abs().max() < 1e-3
    assert (values.std(0, correction=0) - 1).abs().max() < 1e-3


def test_a_context_normalises_over_all_speech_together():
    module = Features(FeatureConfig(normalisation="mean_std", context_s=10, deltas=0))
    parts = [noise(8000), noise(6400, 1) * 3, noise(7200, 2) * 0.1]
    known = sum(
        feature_sums(*module.static(p[None], torch.tensor([len(p)]))) for p in parts[1:]
    )
    ours = module(parts[0][None], torch.tensor([8000]), known)[0][0]
    static = [module.static(p[None], torch.tensor([len(p)]))[0][0] for p in parts]
    everything = torch.cat(static)
    expected = (static[0] - everything.mean(0)) / everything.std(0, correction=0)
    torch.testing.assert_close(ours, expected, atol=1e-3, rtol=1e-3)
    nothing = module(parts[0][None], torch.tensor([8000]), torch.zeros_like(known))[0][
        0
    ]
    torch.testing.assert_close(nothing, alone(module, parts[0]))


def test_a_fixed_frame_count_crops_long_segments_and_pads_short_ones():
    module = Features(FeatureConfig(n_frames=50, deltas=0))
    for n in (1000, 20_000):
        features, frames = module(noise(n)[None], torch.tensor([n]))
        own = alone(Features(FeatureConfig(deltas=0)), noise(n))[:50]
        assert features.shape == (1, 50, 40)
        assert frames.tolist() == [50]
        torch.testing.assert_close(features[0, : len(own)], own)
        assert not features[0, len(own) :].any()


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS.keys())
def test_silence_and_a_single_sample_give_finite_logits(network):
    module = Features(FeatureConfig(normalisation="mean_std"))
    for waveform in (torch.zeros(8000), torch.ones(1)):
        features = alone(module, waveform)
        net = network_for(module.config, network)
        assert net(features[None], torch.tensor([len(features)])).isfinite().all()


def test_the_logits_of_several_members_are_their_mean_log_probabilities():
    config = FeatureConfig()
    net = network_for(config, NETWORKS["three members"])
    x, frames = (
        torch.randn(4, 60, config.n_static * (1 + config.deltas)),
        torch.tensor([60, 50, 40, 3]),
    )
    each = net.member_log_probabilities(x, frames)
    assert each.shape == (3, 4, 8)
    assert not torch.allclose(each[0], each[1])
    torch.testing.assert_close(net(x, frames), each.mean(0))


def test_invalid_networks_and_features_are_refused_with_a_reason():
    for make, message in (
        (lambda: NetworkConfig((), lstm_width=0), "convolutions or an LSTM"),
        (lambda: NetworkConfig((CONV,), lstm_width=0, pooling="last"), "needs an LSTM"),
        (lambda: ConvConfig(8, kernel=4), "odd kernel"),
        (
            lambda: network_for(
                FeatureConfig(kinds=("zcr",)), NetworkConfig((CONV,), 2)
            ),
            "too few",
        ),
        (lambda: FeatureConfig(kinds=("pitch",)), "one or more of mfcc"),
        (lambda: FeatureConfig(context_s=3), "needs features.normalisation"),
        (lambda: FeatureConfig(n_mfcc=65), "1 to n_mels"),
        (lambda: FeatureConfig(hop_length=0), "hop_length must be 1 or more"),
        (lambda: FeatureConfig(delta_window=1), "delta_window must be odd"),
        (lambda: NetworkConfig((CONV,), dropout=1.5), "dropout must be 0 or more"),
        (lambda: NetworkConfig((CONV,), lstm_width=-8), "lstm_width 0 or more"),
    ):
        with pytest.raises(ConfigError, match=message):
            make()


def test_a_mask_is_one_up_to_the_end_of_each_segment():
    assert frame_mask(torch.tensor([0, 2, 3]), 3).tolist() == [
        [0, 0, 0],
        [1, 1, 0],
        [1, 1, 1],
    ]


def test_the_cost_of_a_network_is_the_sum_of_its_multiplications():
    # At 100 frames per second: one convolution 40 -> 16 of width 5, then an LSTM 16 ->
    # 8 in both directions at half that rate.
    config = FeatureConfig(deltas=0)
    net = network_for(config, NetworkConfig((CONV,), lstm_width=8, pooling="mean"))
    convolution = 100 * 2 * 40 * 16 * 5
    lstm = 50 * 2 * 2 * 4 * 8 * (16 + 8)
    assert mflop_per_s(net, config.frame_rate) == pytest.approx(
        (convolution + lstm) / 1e6, rel=0.01
    )


def test_the_speaker_recipe_stays_within_its_budget():
    recipe = dict(shipped_recipes())["speaker"]
    net = network_for(recipe.features, recipe.network)
    assert sum(p.numel() for p in net.parameters()) <= 5_000_000
    assert mflop_per_s(net, recipe.features.frame_rate) <= 200
