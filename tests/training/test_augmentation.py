"""Augmentation and test conditions have the stated effect and are reproducible."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_batch.errors import UsageError
from ser_batch.training.data import augmentation as aug
from ser_batch.training.evaluation.conditions import in_condition

RATE = 8000
EVERYTHING = aug.AugmentationConfig(
    speed_p=0.5,
    pitch_p=0.5,
    reverberation_p=0.5,
    noise_p=0.5,
    band_p=0.5,
    gain_p=0.5,
    codec_p=0.5,
)


def tone(hz: float, seconds: float = 1.0) -> np.ndarray:
    return (
        0.3 * np.sin(2 * np.pi * hz * np.arange(int(seconds * RATE)) / RATE)
    ).astype(np.float32)


def pitch_hz(wave: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave))))
    return float(np.argmax(spectrum) * RATE / len(wave))


def level_db(wave: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(wave**2)))


def test_speed_changes_length_and_pitch_but_a_pitch_shift_keeps_the_length():
    fast = aug.change_speed(tone(400), 1.1)
    assert len(fast) == pytest.approx(RATE / 1.1, abs=2)
    assert pitch_hz(fast) == pytest.approx(440, abs=3)
    high = aug.shift_pitch(tone(400), 2.0, RATE)
    assert len(high) == RATE
    assert pitch_hz(high[1000:-1000]) == pytest.approx(400 * 2 ** (2 / 12), abs=8)


@given(st.floats(-5, 40), st.floats(0, 2))
@settings(max_examples=20, deadline=None)
def test_noise_has_the_requested_signal_to_noise_ratio(snr_db, colour):
    wave = tone(300)
    noise = aug.coloured_noise(len(wave), colour, np.random.default_rng(0))
    assert level_db(wave) - level_db(
        aug.add_noise(wave, noise, snr_db) - wave
    ) == pytest.approx(snr_db, abs=0.1)


def test_noise_has_the_colour_of_its_exponent():
    noise = aug.coloured_noise(2**16, 1.0, np.random.default_rng(0))
    power = np.abs(np.fft.rfft(noise)) ** 2
    low, high = power[100:200].mean(), power[10_000:20_000].mean()
    # A hundred times the frequency makes 20 dB.
    assert 10 * np.log10(low / high) == pytest.approx(20, abs=1.5)


def test_a_band_limit_attenuates_only_frequencies_outside():
    for hz, loss_db in ((1000, 0), (60, 40), (3950, 40)):
        lost = level_db(tone(hz)) - level_db(
            aug.band_limit(tone(hz), RATE, 300, 3400)[2000:]
        )
        assert (lost < 1) if not loss_db else (lost > 10), hz


@pytest.mark.parametrize(
    ("codec", "snr_db"), [("ULAW", 30), ("ALAW", 30), ("GSM610", 5)]
)
def test_codecs_change_a_voice_but_keep_it_recognisable(codec, snr_db):
    wave = tone(500) + 0.3 * tone(1100)
    coded = aug.through_codec(wave, RATE, codec)
    assert len(coded) == len(wave)
    error = level_db(coded - wave)
    assert level_db(wave) - error > snr_db
    assert error > -90  # the codec did have an effect


def test_reverberation_decays_by_60_db_in_the_given_time():
    click = np.zeros(RATE, np.float32)
    click[0] = 1
    tail = aug.reverberate(click, RATE, 0.4, np.random.default_rng(0))
    early, late = level_db(tail[80:400]), level_db(tail[1680:2000])
    assert early - late == pytest.approx(60 * 0.2 / 0.4, abs=5)


@given(
    st.integers(0, 10**6),
    st.integers(400, 20_000),
    st.sampled_from([8000, 16000, 22050]),
)
@settings(max_examples=40, deadline=None)
def test_a_line_gives_finite_float32_and_is_reproducible_by_seed(seed, n, rate):
    wave = np.random.default_rng(1).normal(0, 0.1, n).astype(np.float32)

    def carried() -> np.ndarray:
        rng = np.random.default_rng(seed)
        return aug.Line.draw(EVERYTHING, 1, rng).carry(
            wave, rate, 0.4, 0.01, [tone(50)], rng
        )

    one, two = carried(), carried()
    assert one.dtype == np.float32
    assert np.isfinite(one).all()
    assert np.array_equal(one, two)
    assert 0.85 * n < len(one) < 1.15 * n + 2


def test_clips_of_a_call_keep_their_level_difference_and_share_noise():
    config = aug.AugmentationConfig(gain_p=1.0, peak_dbfs=(-20.0, -20.0))
    loud, quiet = tone(300), 0.1 * tone(300)
    line = aug.Line.draw(config, 0, np.random.default_rng(0))
    sent = [
        line.carry(wave, RATE, 0.3, 0.02, (), np.random.default_rng(1))
        for wave in (loud, quiet)
    ]
    assert np.abs(sent[0]).max() == pytest.approx(0.1, rel=0.01)
    assert level_db(sent[0]) - level_db(sent[1]) == pytest.approx(20, abs=0.01)
    noisy = aug.Line.draw(
        aug.AugmentationConfig(noise_p=1.0), 0, np.random.default_rng(0)
    )
    power = float(np.mean(loud**2))
    hiss = [
        noisy.carry(wave, RATE, 0.3, power, (), np.random.default_rng(1)) - wave
        for wave in (loud, quiet)
    ]
    assert level_db(hiss[0]) == pytest.approx(level_db(hiss[1]), abs=0.01)


def test_the_default_changes_nothing_and_gain_clips_at_full_scale():
    rng = np.random.default_rng(0)
    wave = tone(300)
    assert np.array_equal(
        aug.Line.draw(aug.AugmentationConfig(), 3, rng).carry(
            wave, RATE, 1, 1, (), rng
        ),
        wave,
    )
    loud = aug.AugmentationConfig(gain_p=1.0, peak_dbfs=(6.0, 6.0))
    assert (
        np.abs(aug.Line.draw(loud, 0, rng).carry(wave, RATE, 0.3, 1, (), rng)).max()
        == 1
    )
    silence = np.zeros(100, np.float32)
    assert not aug.Line.draw(loud, 0, rng).carry(silence, RATE, 0.0, 0.0, (), rng).any()


@pytest.mark.parametrize(
    "condition", ["clean", "g711", "gsm", "telephone", "reverb", "noise=5dB"]
)
@pytest.mark.parametrize("rate", [8000, 22050])
def test_a_condition_is_reproducible_and_keeps_the_length(condition, rate):
    waves = [tone(300)[:5000], tone(500)]
    one, two = (in_condition(waves, rate, condition) for _ in range(2))
    for before, a, b in zip(waves, one, two, strict=True):
        assert np.array_equal(a, b)
        assert (len(a), a.dtype) == (len(before), np.float32)
    changed = not np.array_equal(one[0], waves[0])
    assert changed == (condition != "clean")


def test_an_unknown_condition_is_refused_and_the_known_ones_are_listed():
    with pytest.raises(UsageError, match="choose one of clean, g711"):
        in_condition([tone(300)], RATE, "underwater")
