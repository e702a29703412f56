"""Random augmentation that simulates a telephone line; no clip sounds the same twice.

All functions take and return float32 waveforms of shape (samples,) at `sample_rate` Hz.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import scipy.signal
import soundfile
import soxr
import torch
import torchaudio

from ser_batch.errors import ConfigError

Wave = np.ndarray

CODECS = ("ULAW", "ALAW", "GSM610")
"""G.711 mu-law and A-law, and GSM 06.10 full rate, by their names in libsndfile."""
LINE_HZ = 8000


@dataclass(frozen=True, slots=True)
class AugmentationConfig:
    """Probability (`_p`) and range (drawn uniformly) of each augmentation.

    All are off by default.
    """

    clean_p: float = 0.0
    """Probability that a call is left unchanged."""
    speed_p: float = 0.0
    speed: tuple[float, float] = (0.9, 1.1)
    pitch_p: float = 0.0
    pitch_semitones: tuple[float, float] = (-2.0, 2.0)
    reverberation_p: float = 0.0
    reverberation_t60_s: tuple[float, float] = (0.1, 0.5)
    noise_p: float = 0.0
    noise_snr_db: tuple[float, float] = (5.0, 35.0)
    band_p: float = 0.0
    band_low_hz: tuple[float, float] = (50.0, 400.0)
    band_high_hz: tuple[float, float] = (2800.0, 3800.0)
    gain_p: float = 0.0
    peak_dbfs: tuple[float, float] = (-30.0, 6.0)
    """The peak of a call is scaled to this level; samples above 0 dBFS are clipped."""
    codec_p: float = 0.0

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name.endswith("_p") and not 0 <= value <= 1:
                raise ConfigError(
                    f"augmentation.{f.name} must be a probability between 0 and 1"
                )
            if not f.name.endswith("_p") and value[0] > value[1]:
                raise ConfigError(
                    f"augmentation.{f.name} must be a range, given as (low, high)"
                )
        if (
            min(self.speed) <= 0.1
            or self.reverberation_t60_s[0] <= 0
            or self.band_low_hz[1] >= self.band_high_hz[0]
        ):
            raise ConfigError(
                "augmentation: speed must be above 0.1, reverberation_t60_s above 0, "
                "and band_low_hz below band_high_hz"
            )


@dataclass(frozen=True, slots=True)
class Line:
    """The changes that one call applies to all its clips, drawn once per call.

    None disables a change.
    """

    speed: float | None
    semitones: float | None
    room: tuple[float, int] | None
    """T60 [s], and the seed of the reverberation tail."""
    snr_db: float | None
    noise: int | float
    """Index of a recorded noise, or exponent of coloured noise."""
    band_hz: tuple[float, float] | None
    peak_dbfs: float | None
    """Peak level of the loudest clip of the call; relative levels are preserved."""
    codec: str | None

    @classmethod
    def draw(
        cls, config: AugmentationConfig, n_noises: int, rng: np.random.Generator
    ) -> "Line":
        """Draw a random line.

        If there are recorded noises (`n_noises`), half of the noisy lines use one of
        them, the others coloured noise.
        """

        def happens(p: float) -> bool:
            return bool(rng.random() < p)

        c = config
        if happens(c.clean_p):
            return cls(None, None, None, None, 0, None, None, None)
        return cls(
            speed=rng.uniform(*c.speed) if happens(c.speed_p) else None,
            semitones=rng.uniform(*c.pitch_semitones) if happens(c.pitch_p) else None,
            room=(rng.uniform(*c.reverberation_t60_s), int(rng.integers(2**31)))
            if happens(c.reverberation_p)
            else None,
            snr_db=rng.uniform(*c.noise_snr_db) if happens(c.noise_p) else None,
            noise=int(rng.integers(n_noises))
            if n_noises and happens(0.5)
            else rng.uniform(0.0, 2.0),
            band_hz=(rng.uniform(*c.band_low_hz), rng.uniform(*c.band_high_hz))
            if happens(c.band_p)
            else None,
            peak_dbfs=rng.uniform(*c.peak_dbfs) if happens(c.gain_p) else None,
            codec=CODECS[int(rng.integers(len(CODECS)))]
            if happens(c.codec_p)
            else None,
        )

    def carry(
        self,
        wave: Wave,
        sample_rate: int,
        peak: float,
        power: float,
        noises: Sequence[Wave],
        rng: np.random.Generator,
    ) -> Wave:
        """Apply the line to one clip.

        Speed, pitch, room, noise, band, gain and codec are applied in the order in
        which they occur in a real call. `peak` and `power` (mean square) are those of
        the whole call.
        """
        if self.speed is not None:
            wave = change_speed(wave, self.speed)
        if self.semitones is not None:
            wave = shift_pitch(wave, self.semitones, sample_rate)
        if self.room is not None:
            wave = reverberate(
                wave, sample_rate, self.room[0], np.random.default_rng(self.room[1])
            )
        if self.snr_db is not None:
            if isinstance(self.noise, int):
                # A recording shorter than the clip is repeated.
                noise = noises[self.noise]
                start = int(rng.integers(len(noise)))
                noise = np.take(noise, np.arange(start, start + len(wave)), mode="wrap")
            else:
                noise = coloured_noise(len(wave), self.noise, rng)
            wave = add_noise(wave, noise, self.snr_db, power)
        if self.band_hz is not None:
            wave = band_limit(wave, sample_rate, *self.band_hz)
        if self.peak_dbfs is not None and peak:
            wave = np.clip(wave * (10 ** (self.peak_dbfs / 20) / peak), -1, 1)
        if self.codec is not None:
            wave = through_codec(wave, sample_rate, self.codec)
        return np.ascontiguousarray(wave, np.float32)


def change_speed(wave: Wave, factor: float) -> Wave:
    """Change speed and pitch together by `factor`, as a tape would.

    Speed perturbation (Ko et al., Interspeech 2015).
    """
    return soxr.resample(wave, round(1000 * factor), 1000, "LQ")


def shift_pitch(wave: Wave, semitones: float, sample_rate: int) -> Wave:
    """Shift the pitch and keep the length: a phase vocoder, then resampling."""
    factor = 2 ** (semitones / 12)
    n_fft = 2 ** round(np.log2(0.032 * sample_rate))
    hop = n_fft // 4
    if len(wave) <= n_fft:
        return wave  # shorter than one window: pitch is not defined
    window = torch.hann_window(n_fft)
    spectrum = torch.stft(
        torch.from_numpy(wave), n_fft, hop, window=window, return_complex=True
    )
    advance = torch.linspace(0, torch.pi * hop, n_fft // 2 + 1)[:, None]
    stretched = torchaudio.functional.phase_vocoder(spectrum, 1 / factor, advance)
    slow = torch.istft(stretched, n_fft, hop, window=window).numpy()
    out = soxr.resample(slow, round(1000 * factor), 1000, "LQ")
    return np.pad(out, (0, max(0, len(wave) - len(out))))[: len(wave)]


def reverberate(
    wave: Wave, sample_rate: int, t60_s: float, rng: np.random.Generator
) -> Wave:
    """Add the reverberation of a small room (Polack's model).

    The impulse response is the direct path, then noise that decays by 60 dB in `t60_s`.
    """
    t = np.arange(int(t60_s * sample_rate)) / sample_rate
    tail = rng.standard_normal(len(t)) * 10 ** (-3 * t / t60_s)
    # The tail has 0 to 14 dB less energy than the direct path.
    tail *= rng.uniform(0.2, 1.0) / np.sqrt(np.sum(tail**2))
    return scipy.signal.fftconvolve(wave, np.concatenate([[1.0], tail]))[
        : len(wave)
    ].astype(np.float32)


def coloured_noise(length: int, exponent: float, rng: np.random.Generator) -> Wave:
    """Generate noise with power proportional to 1 / frequency ** `exponent`.

    Exponent 0 is white noise, 1 pink, 2 brown.
    """
    spectrum = np.fft.rfft(rng.standard_normal(length))
    spectrum[1:] /= np.arange(1, len(spectrum)) ** (exponent / 2)
    return np.fft.irfft(spectrum, length).astype(np.float32)


def add_noise(
    wave: Wave, noise: Wave, snr_db: float, power: float | None = None
) -> Wave:
    """Add noise at an SNR, relative to the mean power of the wave or to `power`.

    Pass `power` when the wave is only part of the signal that the SNR refers to.
    """
    power = float(np.mean(wave**2)) if power is None else power
    noise_power = float(np.mean(noise**2))
    if not (power and noise_power):
        return wave
    return wave + noise * np.float32(
        np.sqrt(power / noise_power * 10 ** (-snr_db / 10))
    )


def band_limit(wave: Wave, sample_rate: int, low_hz: float, high_hz: float) -> Wave:
    """Apply a telephone band: a fourth-order Butterworth bandpass filter."""
    high_hz = min(high_hz, 0.49 * sample_rate)
    sections = scipy.signal.butter(
        4, (low_hz, high_hz), "bandpass", fs=sample_rate, output="sos"
    )
    return scipy.signal.sosfilt(sections, wave).astype(np.float32)


def through_codec(wave: Wave, sample_rate: int, codec: str) -> Wave:
    """Encode and decode a wave with one of `CODECS`, at 8 kHz as in telephony."""
    if sample_rate != LINE_HZ:
        narrow = through_codec(
            soxr.resample(wave, sample_rate, LINE_HZ), LINE_HZ, codec
        )
        wide = soxr.resample(narrow, LINE_HZ, sample_rate)
        return np.pad(wide, (0, max(0, len(wave) - len(wide))))[: len(wave)]
    coded = io.BytesIO()
    shape = {"format": "RAW", "subtype": codec, "samplerate": sample_rate}
    soundfile.write(coded, np.clip(wave, -1, 1), **shape)
    coded.seek(0)
    decoded, _ = soundfile.read(coded, dtype="float32", channels=1, **shape)
    return np.pad(decoded, (0, max(0, len(wave) - len(decoded))))[: len(wave)]
