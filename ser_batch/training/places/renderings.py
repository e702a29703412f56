"""Renderings: corpora as they would sound in a studio, in a room, or over a telephone.

A rendering simulates one place per corpus: the frequency response and the band edges of
its line are the same for all clips of the corpus, while rooms, noise and level differ.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Complex, Float, Float32, Int
from scipy.signal import butter, sosfreqz
from torch import Tensor

from ser_batch.emotion.frontend import SAMPLE_RATE

Waveforms = Float[Tensor, "batch samples"]


@dataclass(frozen=True, slots=True)
class Rendering:
    """The parameters of one simulated recording condition."""

    name: str
    snr_db: tuple[float, float] | None
    """Range of the SNR [dB]; None leaves clips unchanged."""
    colour: tuple[float, float] = (0.0, 0.0)
    """Range of the noise exponent: 0 is white, 1 pink, 2 brown."""
    low_hz: tuple[float, float] | None = None
    """Range of the lower edge of the telephone band; None: no telephone."""
    high_hz: tuple[float, float] = (3400.0, 3400.0)
    """Range of the upper edge of the telephone band."""
    coloured_line: bool = True
    """Whether the place has its own frequency response."""
    in_room: bool = False
    environment: bool = False
    """Whether to mix in noise recordings, if there are any."""


_LOW, _HIGH = (200.0, 400.0), (3000.0, 3600.0)
_300 = (300.0, 300.0)
RENDERINGS = (
    Rendering("clean", None),
    Rendering("studio", (20, 40), (0, 1.5)),
    Rendering("room", (18, 38), (0, 1.5), in_room=True),
    Rendering("telephone, white noise", (11, 19), (0, 0), _300, coloured_line=False),
    Rendering("telephone, pink noise", (10, 19), (0.8, 1.2), _300, coloured_line=False),
    Rendering("telephone, any noise", (9, 30), (-0.3, 1.8), _LOW, _HIGH),
    Rendering(
        "telephone, surroundings", (8, 25), (0, 1), _LOW, _HIGH, environment=True
    ),
    Rendering("telephone, quiet", (22, 42), (0, 1), _LOW, _HIGH),
)
CLEAN, TELEPHONE = (0, 1, 2), (3, 4, 5, 6, 7)
TAIL = 4000
"""Length of the reverberation tail [samples]."""


def rendered(
    waveforms: Waveforms,
    lengths: Int[Tensor, " batch"],
    rendering: Rendering,
    rng: np.random.Generator,
    surroundings: Float[Tensor, " samples"] | None = None,
) -> Waveforms:
    """Apply a rendering to padded waveforms; the padding stays zero.

    `rng` draws the place before the clips, so generators in the same state give the
    same place. The noise itself comes from torch's generator.
    """
    if rendering.snr_db is None:
        return waveforms
    batch, n = waveforms.shape
    own = torch.arange(n, device=waveforms.device) < lengths[:, None]
    # Powers of two, so that few FFT plans are needed.
    size = 1 << (n + TAIL).bit_length()
    response = _response(size, rendering, rng).to(waveforms.device)
    y = torch.fft.irfft(torch.fft.rfft(waveforms, size) * response, size)[:, :n]

    def drawn(low: float, high: float) -> Float[Tensor, "batch 1"]:
        values = rng.uniform(low, high, (batch, 1)).astype(np.float32)
        return torch.from_numpy(values).to(waveforms.device)

    if rendering.in_room:
        tail = _tails(drawn(0.1, 0.5), drawn(0, 14))
        y = torch.fft.irfft(torch.fft.rfft(y, size) * torch.fft.rfft(tail, size), size)
        y = y[:, :n]
    peak = (y * own).abs().amax(1, keepdim=True) + 1e-6
    y = y / peak * torch.exp(drawn(math.log(0.08), math.log(0.7)))
    power = (y.square() * own).sum(1, keepdim=True) / lengths[:, None]
    noise = coloured_noise(n, drawn(*rendering.colour))
    if rendering.environment and surroundings is not None:
        noise = 0.4 * noise + 0.8 * _excerpts(surroundings, batch, n, rng)
    y = y + noise * torch.sqrt(power / 10 ** (drawn(*rendering.snr_db) / 10))
    return (mu_law(y) if rendering.low_hz else y) * own


def mu_law(waveforms: Waveforms) -> Waveforms:
    """Encode and decode waveforms with 8-bit mu-law companding, as in G.711."""
    x = waveforms.clamp(-1, 1)
    code = torch.sign(x) * torch.log1p(255 * x.abs()) / math.log(256)
    code = torch.round((code + 1) * 127.5) / 127.5 - 1
    return torch.sign(code) * torch.expm1(code.abs() * math.log(256)) / 255


def coloured_noise(n: int, exponent: Float[Tensor, "batch 1"]) -> Waveforms:
    """Return noise of unit variance, with power proportional to 1 / f ** `exponent`."""
    size = 1 << (n - 1).bit_length()
    white = torch.randn(len(exponent), size, device=exponent.device)
    bins = torch.arange(size // 2 + 1, device=exponent.device)
    # The spectrum is flat below 20 Hz.
    frequency = bins.clamp(min=max(1, n // 400)).float() / size
    shaped = torch.fft.rfft(white) * frequency ** (-exponent / 2)
    noise = torch.fft.irfft(shaped, size)[:, :n]
    return noise / noise.std(1, keepdim=True)


def _response(
    size: int, rendering: Rendering, rng: np.random.Generator
) -> Complex[Tensor, " bins"]:
    """Draw the frequency response of a place: its line and its telephone band."""
    response = torch.ones(size // 2 + 1, dtype=torch.complex64)
    edges = None
    if rendering.low_hz:
        edges = (rng.uniform(*rendering.low_hz), rng.uniform(*rendering.high_hz))
    if rendering.coloured_line:
        f = torch.linspace(0, 1, size // 2 + 1).sqrt()
        waves = [
            float(rng.normal() * 2 / math.sqrt(k)) * torch.cos(torch.pi * k * f)
            for k in range(1, 5)
        ]
        response = response * 10 ** (sum(waves) / 20)
    if edges:
        response = response * _telephone_band(size, *edges)
    return response


def _telephone_band(
    size: int, low_hz: float, high_hz: float
) -> Complex[Tensor, " bins"]:
    filters = butter(4, [low_hz, high_hz], "bandpass", fs=SAMPLE_RATE, output="sos")
    angles = np.arange(size // 2 + 1) * 2 * np.pi / size
    _, response = sosfreqz(filters, worN=angles)
    return torch.from_numpy(response.astype(np.complex64))


def _tails(
    t60_s: Float[Tensor, "batch 1"], below_db: Float[Tensor, "batch 1"]
) -> Float[Tensor, "batch tail"]:
    """Return room impulse responses: a direct path, then decaying noise after 2 ms."""
    t = torch.arange(TAIL, device=t60_s.device) / SAMPLE_RATE
    later: Bool[Tensor, " tail"] = t > 0.002
    noise = torch.randn(len(t60_s), TAIL, device=t60_s.device)
    tail = noise * 10 ** (-3 * t / t60_s) * later
    tail = tail / tail.square().sum(1, keepdim=True).sqrt() * 10 ** (-below_db / 20)
    tail[:, 0] = 1
    return tail


def _excerpts(
    surroundings: Float[Tensor, " samples"],
    batch: int,
    n: int,
    rng: np.random.Generator,
) -> Float32[Tensor, "batch samples"]:
    """Draw excerpts of `n` samples from noise recordings, scaled to unit power."""
    at = torch.from_numpy(rng.integers(0, max(1, len(surroundings) - n), batch))
    index = at[:, None] + torch.arange(n)
    noise = surroundings[index.to(surroundings.device) % len(surroundings)]
    return noise / (noise.square().mean(1, keepdim=True).sqrt() + 1e-6)
