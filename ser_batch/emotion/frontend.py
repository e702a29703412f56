"""The front end of profiled networks: waveforms at 8 kHz to values for each frame.

Frame t covers samples [80 t, 80 t + 256): windows of 32 ms, every 10 ms. It has
`N_VALUES` values:

    0..63  log power in 64 mel bands from 60 to 3900 Hz, relative to the segment's
           active level, at least -60 dB
    64     log2 of the fundamental frequency in Hz, 66 to 500 Hz: the peak of the
           autocorrelation, divided by that of the window (Boersma 1993)
    65     voicing: the height of that peak, 0 to 1
    66     log power of the frame, relative to the active level
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

SAMPLE_RATE, WINDOW, HOP, FFT = 8000, 256, 80, 512
FRAME_RATE = SAMPLE_RATE / HOP
N_MELS, LOW_HZ, HIGH_HZ = 64, 60.0, 3900.0
N_VALUES = N_MELS + 3
PITCH, VOICING, ENERGY = N_MELS, N_MELS + 1, N_MELS + 2
SHORTEST_LAG, LONGEST_LAG = 16, 120
OCTAVE_COST = 0.02
"""The penalty of a lag for each octave below the highest pitch.

It makes the period win over its multiples.
"""
FLOOR = 1e-6
ACTIVE = 10**-2.5
"""The active level is the mean power of frames less than 25 dB below the loudest."""


def n_frames(n_samples: Int[Tensor, " batch"]) -> Int[Tensor, " batch"]:
    """Return the number of whole windows; at least one, padded with silence."""
    return (n_samples - WINDOW).clamp(min=0) // HOP + 1


class Frontend(nn.Module):
    """From waveforms to frames; padding has no effect."""

    def __init__(self) -> None:
        super().__init__()
        window = torch.hann_window(WINDOW)
        own = torch.fft.irfft(torch.fft.rfft(window, FFT).abs().square(), FFT)
        own = own[: LONGEST_LAG + 2]
        lags = torch.arange(LONGEST_LAG + 2).float()
        cost = OCTAVE_COST * torch.log2(lags.clamp(min=1) / SHORTEST_LAG)
        passed = torch.ones(FFT // 2 + 1)
        passed[: round(LOW_HZ * FFT / SAMPLE_RATE)] = 0
        self.window: Tensor
        self.mel: Tensor
        self.gain: Tensor
        self.cost: Tensor
        self.passed: Tensor
        for name, constant in (
            ("window", window), ("mel", mel_filters()), ("gain", own[0] / own),
            ("cost", cost), ("passed", passed),
        ):  # fmt: skip
            self.register_buffer(name, constant, persistent=False)

    def forward(
        self, waveforms: Float[Tensor, "batch samples"], lengths: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch frames values"], Int[Tensor, " batch"]]:
        """Return the frames of zero-padded waveforms, and the frames per segment."""
        if waveforms.shape[1] < WINDOW:
            missing = WINDOW - waveforms.shape[1]
            waveforms = nn.functional.pad(waveforms, (0, missing))
        frames = waveforms.unfold(1, WINDOW, HOP) * self.window
        count = n_frames(lengths)
        t = torch.arange(frames.shape[1], device=waveforms.device)
        mask = (t < count[:, None]).to(waveforms.dtype)
        power = torch.fft.rfft(frames, FFT).abs().square() * self.passed
        energy = power.sum(-1) * mask
        active = energy > ACTIVE * energy.amax(1, keepdim=True)
        n_active = active.sum(1).clamp(min=1)
        level = ((energy * active).sum(1) / n_active).clamp(min=1e-12)[:, None]
        pitch, voicing = self._pitch(power, mask)
        values = [
            torch.log(power @ self.mel / level[..., None] + FLOOR),
            pitch[..., None],
            voicing[..., None],
            torch.log(energy / level + FLOOR)[..., None],
        ]
        return torch.cat(values, -1) * mask[..., None], count

    def _pitch(self, power: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return log2 F0 and voicing.

        Autocorrelations are smoothed over three frames, with weights 1-2-1.

        Shape: (batch, frames) each.
        """
        r = torch.fft.irfft(power, FFT)[..., : LONGEST_LAG + 2]
        r = r / r[..., :1].clamp(min=1e-12) * self.gain * mask[..., None]
        weight, smooth = mask * 2, r * 2
        smooth[:, 1:] += r[:, :-1]
        smooth[:, :-1] += r[:, 1:]
        weight[:, 1:] += mask[:, :-1]
        weight[:, :-1] += mask[:, 1:]
        r = smooth / weight.clamp(min=1)[..., None]
        within = (r - self.cost)[..., SHORTEST_LAG : LONGEST_LAG + 1]
        best = within.argmax(-1, keepdim=True) + SHORTEST_LAG
        before, at, after = (r.gather(-1, best + i) for i in (-1, 0, 1))
        # The peak of the parabola through these three values.
        curvature = (before - 2 * at + after).clamp(max=-1e-6)
        shift = (0.5 * (before - after) / curvature).clamp(-0.5, 0.5)
        pitch = torch.log2(SAMPLE_RATE / (best + shift))
        return pitch[..., 0], at.clamp(0, 1)[..., 0]


def mel_filters() -> Float[Tensor, "bins mels"]:
    """Return triangular filters of height 1, evenly spaced in mel.

    O'Shaughnessy 1987, HTK.
    """

    def mel(hz: float) -> float:
        return 2595 * math.log10(1 + hz / 700)

    points = torch.linspace(mel(LOW_HZ), mel(HIGH_HZ), N_MELS + 2, dtype=torch.float64)
    edges = 700 * (10 ** (points / 2595) - 1)
    bins = torch.arange(FFT // 2 + 1, dtype=torch.float64)[:, None]
    hz = bins * SAMPLE_RATE / FFT
    rise = (hz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - hz) / (edges[2:] - edges[1:-1])
    return torch.minimum(rise, fall).clamp(min=0).float()


def cepstral_transform(n_coefficients: int) -> Float[Tensor, "mels coefficients"]:
    """Return the orthonormal DCT-II that turns log mel bands into MFCC."""
    k = torch.arange(n_coefficients, dtype=torch.float64)
    n = torch.arange(N_MELS, dtype=torch.float64)[:, None]
    dct = torch.cos(math.pi / N_MELS * (n + 0.5) * k) * math.sqrt(2 / N_MELS)
    dct[:, 0] /= math.sqrt(2)
    return dct.float()
