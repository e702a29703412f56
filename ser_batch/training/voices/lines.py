"""Batches of simulated telephone lines, with several speakers on each."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from ser_batch.speech.diarization import SAMPLE_RATE
from ser_batch.speech.voices import FLOOR, HOP, N_MELS, WINDOW, mel_filters
from ser_batch.training.voices.clips import Clips

LINES, SPEAKERS, CROPS = 12, 4, 2
LENGTH_S = (0.8, 2.0)
GAIN_DB = 6.0
LOW_HZ, HIGH_HZ = (0.0, 350.0), (3200.0, 4200.0)
TILT_DB, KNOTS = 4.0, 6
SNR_DB = (8.0, 40.0)
BINS = WINDOW // 2 + 1


class Lines:
    """Draws batches: crops of a few speakers on each of a few telephone lines.

    A line has band edges, a frequency response and noise of its own. As in a channel to
    be analysed, the bands are relative to their mean over the line, so that what
    remains is what differs between its speakers.
    """

    def __init__(self, clips: Clips, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._noise = torch.Generator().manual_seed(seed)
        self._waveforms = clips.waveforms
        self.speakers = sorted(set(clips.speakers))
        number = {name: i for i, name in enumerate(self.speakers)}
        own: list[list[int]] = [[] for _ in self.speakers]
        for i, speaker in enumerate(clips.speakers):
            own[number[speaker]].append(i)
        self._own = [np.array(rows) for rows in own]
        weight = np.sqrt([len(rows) for rows in own])
        self._weight = weight / weight.sum()
        self._window = torch.hann_window(WINDOW)
        self._mel = torch.from_numpy(mel_filters())

    def draw(
        self,
    ) -> tuple[Float[Tensor, "crops frames mels"], Int[Tensor, " crops"]]:
        """Return the bands of a batch, and the number of each crop's speaker."""
        rng = self._rng
        n_samples = int(rng.uniform(*LENGTH_S) * SAMPLE_RATE)
        drawn = [
            speaker
            for _ in range(LINES)
            for speaker in rng.choice(len(self._own), SPEAKERS, p=self._weight)
            for _ in range(CROPS)
        ]
        crops = np.stack([self._crop(speaker, n_samples) for speaker in drawn])
        gain = 10 ** (rng.uniform(-GAIN_DB, GAIN_DB, (len(crops), 1)) / 20)
        waveforms = torch.from_numpy((crops * gain).astype(np.float32))
        return self._bands(waveforms), torch.tensor(drawn)

    def _crop(self, speaker: int, n_samples: int) -> np.ndarray:
        """Return speech of one speaker, of several clips if one is too short."""
        parts, missing = [], n_samples
        while missing:
            waveform = self._waveforms[self._rng.choice(self._own[speaker])]
            if len(waveform) > missing:
                start = self._rng.integers(0, len(waveform) - missing + 1)
                waveform = waveform[start : start + missing]
            parts.append(waveform.astype(np.float32))
            missing -= len(waveform)
        return np.concatenate(parts)

    def _bands(self, waveforms: Tensor) -> Tensor:
        line = torch.arange(LINES).repeat_interleave(SPEAKERS * CROPS)
        frames = waveforms.unfold(1, WINDOW, HOP) * self._window
        spectrum = torch.fft.rfft(frames) * self._responses()[line][:, None]
        power = spectrum.abs().square()
        hz = torch.arange(BINS) * SAMPLE_RATE / WINDOW
        slope = -self._uniform(0, 2)
        colour = (hz.clamp(min=60) / 1000) ** slope
        level = power.reshape(LINES, -1, BINS).mean((1, 2))[:, None]
        level = level * 10 ** (-self._uniform(*SNR_DB) / 10)
        mean_noise = (colour / colour.mean(1, keepdim=True) * level)[line][:, None]
        noise = mean_noise * torch.empty_like(power).exponential_(generator=self._noise)
        phase = 2 * np.pi * torch.rand(power.shape, generator=self._noise)
        both = power + noise + 2 * (power * noise).sqrt() * phase.cos()
        bands = torch.log(both.clamp(min=0) @ self._mel + FLOOR)
        mean = bands.reshape(LINES, -1, N_MELS).mean(1)
        return bands - mean[line][:, None]

    def _responses(self) -> Float[Tensor, "lines bins"]:
        """Return a frequency response for each line."""
        hz = torch.arange(BINS) * SAMPLE_RATE / WINDOW
        low = (self._uniform(*LOW_HZ) / hz.clamp(min=1)) ** 8
        high = (hz / self._uniform(*HIGH_HZ)) ** 16
        knots = torch.from_numpy(self._rng.normal(0, TILT_DB, (LINES, 1, KNOTS)))
        tilt = functional.interpolate(
            knots.float(), BINS, mode="linear", align_corners=True
        )
        gain: Tensor = 10 ** (tilt[:, 0] / 20)
        return gain / (1 + low).sqrt() / (1 + high).sqrt()

    def _uniform(self, low: float, high: float) -> Float[Tensor, "lines 1"]:
        return torch.from_numpy(self._rng.uniform(low, high, (LINES, 1))).float()
