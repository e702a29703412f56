"""What a telephone line does to a voice, drawn at random: the same clip never sounds alike twice.

All functions take and give float32 waveforms of shape (samples,) at `sample_rate` Hz.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.signal
import soundfile
import soxr
import torch
import torchaudio

Wave = np.ndarray

CODECS = ("ULAW", "ALAW", "GSM610")
"""G.711 mu-law and A-law, GSM 06.10 full rate: libsndfile's names."""


@dataclass(frozen=True, slots=True)
class AugmentationConfig:
    """How often (probabilities) and how much (ranges, drawn evenly) each change is made."""

    speed_p: float = 0.5
    speed: tuple[float, float] = (0.9, 1.1)
    pitch_p: float = 0.3
    pitch_semitones: tuple[float, float] = (-2.0, 2.0)
    reverberation_p: float = 0.25
    reverberation_t60_s: tuple[float, float] = (0.1, 0.5)
    noise_p: float = 0.6
    noise_snr_db: tuple[float, float] = (5.0, 35.0)
    band_p: float = 0.5
    band_low_hz: tuple[float, float] = (50.0, 400.0)
    band_high_hz: tuple[float, float] = (2800.0, 3800.0)
    gain_p: float = 0.8
    peak_dbfs: tuple[float, float] = (-30.0, 6.0)
    """The peak is brought here; what lies above 0 dBFS is clipped."""
    codec_p: float = 0.6


class Telephone:
    """Random speed, pitch, room, noise, band limits, gain and codec, in the order of a real call.

    `noises` are waveforms to draw from beside the coloured noise that is made here.
    """

    def __init__(self, config: AugmentationConfig, sample_rate: int, noises: Sequence[Wave] = ()) -> None:
        self.config, self.sample_rate, self.noises = config, sample_rate, noises

    def __call__(self, wave: Wave, rng: np.random.Generator) -> Wave:
        c, rate = self.config, self.sample_rate
        steps: tuple[tuple[float, Callable[[Wave], Wave]], ...] = (
            (c.speed_p, lambda x: change_speed(x, rng.uniform(*c.speed))),
            (c.pitch_p, lambda x: shift_pitch(x, rng.uniform(*c.pitch_semitones))),
            (c.reverberation_p, lambda x: reverberate(x, rate, rng.uniform(*c.reverberation_t60_s), rng)),
            (c.noise_p, lambda x: add_noise(x, self._noise(len(x), rng), rng.uniform(*c.noise_snr_db))),
            (c.band_p, lambda x: band_limit(x, rate, rng.uniform(*c.band_low_hz), rng.uniform(*c.band_high_hz))),
            (c.gain_p, lambda x: set_peak(x, rng.uniform(*c.peak_dbfs))),
            (c.codec_p, lambda x: through_codec(x, rate, CODECS[rng.integers(len(CODECS))])),
        )
        for probability, change in steps:
            if rng.random() < probability:
                wave = change(wave)
        return wave.astype(np.float32)

    def _noise(self, length: int, rng: np.random.Generator) -> Wave:
        if self.noises and rng.random() < 0.5:
            noise = self.noises[int(rng.integers(len(self.noises)))]
            start = rng.integers(len(noise))
            return np.take(noise, np.arange(start, start + length), mode="wrap")
        return coloured_noise(length, rng.uniform(0.0, 2.0), rng)


def change_speed(wave: Wave, factor: float) -> Wave:
    """Faster and higher, as a tape that runs at `factor` times its speed (Ko et al., Interspeech 2015)."""
    return soxr.resample(wave, round(1000 * factor), 1000, "LQ")


def shift_pitch(wave: Wave, semitones: float, n_fft: int = 256, hop: int = 64) -> Wave:
    """Higher or lower at the same length: a phase vocoder stretches, resampling undoes the stretch."""
    factor = 2 ** (semitones / 12)
    window = torch.hann_window(n_fft)
    spectrum = torch.stft(torch.from_numpy(wave), n_fft, hop, window=window, return_complex=True)
    advance = torch.linspace(0, torch.pi * hop, n_fft // 2 + 1)[:, None]
    stretched = torchaudio.functional.phase_vocoder(spectrum, 1 / factor, advance)
    slow = torch.istft(stretched, n_fft, hop, window=window).numpy()
    out = soxr.resample(slow, round(1000 * factor), 1000, "LQ")
    return np.pad(out, (0, max(0, len(wave) - len(out))))[: len(wave)]


def reverberate(wave: Wave, sample_rate: int, t60_s: float, rng: np.random.Generator) -> Wave:
    """A small room: a direct path, then noise that decays by 60 dB in `t60_s` (Polack's model)."""
    t = np.arange(int(t60_s * sample_rate)) / sample_rate
    tail = rng.standard_normal(len(t)) * 10 ** (-3 * t / t60_s)
    tail *= rng.uniform(0.2, 1.0) / np.sqrt(np.sum(tail**2))
    return scipy.signal.fftconvolve(wave, np.concatenate([[1.0], tail]))[: len(wave)].astype(np.float32)


def coloured_noise(length: int, exponent: float, rng: np.random.Generator) -> Wave:
    """Noise whose power falls with frequency to the `exponent`: 0 is white, 1 pink, 2 brown."""
    spectrum = np.fft.rfft(rng.standard_normal(length))
    spectrum[1:] /= np.arange(1, len(spectrum)) ** (exponent / 2)
    return np.fft.irfft(spectrum, length).astype(np.float32)


def add_noise(wave: Wave, noise: Wave, snr_db: float) -> Wave:
    """The wave with noise `snr_db` below it, both by their mean power."""
    power, noise_power = np.mean(wave**2), np.mean(noise**2)
    if not (power and noise_power):
        return wave
    return wave + noise * np.sqrt(power / noise_power * 10 ** (-snr_db / 10))


def band_limit(wave: Wave, sample_rate: int, low_hz: float, high_hz: float) -> Wave:
    """The band of a telephone line: fourth-order Butterworth edges."""
    high_hz = min(high_hz, 0.49 * sample_rate)
    sections = scipy.signal.butter(4, (low_hz, high_hz), "bandpass", fs=sample_rate, output="sos")
    return scipy.signal.sosfilt(sections, wave).astype(np.float32)


def set_peak(wave: Wave, peak_dbfs: float) -> Wave:
    """The wave with its peak at `peak_dbfs`, clipped at full scale."""
    peak = np.abs(wave).max()
    return np.clip(wave * (10 ** (peak_dbfs / 20) / peak), -1, 1) if peak else wave


def through_codec(wave: Wave, sample_rate: int, codec: str) -> Wave:
    """The wave coded and decoded by one of `CODECS`."""
    coded = io.BytesIO()
    shape = {"format": "RAW", "subtype": codec, "samplerate": sample_rate}
    soundfile.write(coded, np.clip(wave, -1, 1), **shape)
    coded.seek(0)
    decoded, _ = soundfile.read(coded, dtype="float32", channels=1, **shape)
    return np.pad(decoded, (0, max(0, len(wave) - len(decoded))))[: len(wave)]
