"""The features of speech emotion recognition, as torch functions on any device.

Spectral features take a power spectrogram (batch, bins, frames) and return (batch,
frames, features); the others take zero-padded waveforms (batch, samples). Frames are
centred on every `hop_length`-th sample, with silence before the first sample and after
the last. Each function equals the librosa function that its docstring names, and each
segment of a batch gets the values that it would get alone.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

Power = Float[Tensor, "batch bins frames"]
Values = Float[Tensor, "batch frames features"]

TOP_DB = 80.0
CONTRAST_BANDS, CONTRAST_FIRST_HZ, CONTRAST_SHARE = 6, 200.0, 0.02
N_CHROMA = 12


def decibels(
    power: Float[Tensor, "batch bins frames"], own: Float[Tensor, "batch frames"]
) -> Tensor:
    """Return 10 log10 of a power, as `power_to_db`.

    Powers are at least 1e-10, and at most 80 dB below each segment's maximum. `own` is
    1 for a segment's own frames: padding does not count towards the maximum.
    """
    db = 10 * power.clamp(min=1e-10).log10()
    loudest = db.masked_fill(own[:, None] == 0, float("-inf")).amax(
        dim=(1, 2), keepdim=True
    )
    return torch.maximum(db, loudest - TOP_DB)


def chroma(power: Power, filters: Float[Tensor, "chroma bins"]) -> Values:
    """Return the energy of the 12 pitch classes, as `chroma_stft` with `tuning=0`.

    The maximum in each frame is 1.
    """
    energy = filters @ power
    peak = energy.amax(1, keepdim=True)
    # As in librosa's normalisation, silent frames are not changed.
    return (
        energy / torch.where(peak < torch.finfo(peak.dtype).tiny, 1.0, peak)
    ).transpose(1, 2)


def chroma_filters(sample_rate: int, n_fft: int) -> Float[Tensor, "chroma bins"]:
    """Return the weights of the FFT bins in each pitch class.

    Ellis, Chroma feature analysis and synthesis, 2007. As `librosa.filters.chroma`:
    A440, octaves weighted by a Gaussian around 5 with a deviation of 2.
    """
    hz = torch.arange(1, n_fft, dtype=torch.float64) * sample_rate / n_fft
    bins = N_CHROMA * (hz / 27.5).log2()
    # Bin 0 (DC) is placed 1.5 octaves below bin 1.
    bins = torch.cat([bins[:1] - 1.5 * N_CHROMA, bins])
    widths = torch.cat(
        [(bins[1:] - bins[:-1]).clamp(min=1.0), torch.ones(1, dtype=bins.dtype)]
    )
    distance = bins - torch.arange(N_CHROMA, dtype=bins.dtype)[:, None]
    half = round(N_CHROMA / 2)
    distance = torch.remainder(distance + half + 10 * N_CHROMA, N_CHROMA) - half
    weights = torch.exp(-0.5 * (2 * distance / widths) ** 2)
    weights = weights / weights.norm(dim=0)
    weights = weights * torch.exp(-0.5 * ((bins / N_CHROMA - 5.0) / 2.0) ** 2)
    return weights.roll(-3, 0)[:, : n_fft // 2 + 1].float()  # from A to C


def tonnetz(chroma_values: Values) -> Values:
    """Return tonal centroids: fifths, minor and major thirds, as `tonnetz(chroma=...)`.

    Harte et al. 2006.
    """
    share = chroma_values / chroma_values.sum(-1, keepdim=True).clamp(
        min=torch.finfo(torch.float32).tiny
    )
    steps = torch.arange(N_CHROMA, device=share.device, dtype=share.dtype)
    scale = torch.tensor(
        [7 / 6, 7 / 6, 3 / 2, 3 / 2, 2 / 3, 2 / 3],
        device=share.device,
        dtype=share.dtype,
    )
    angle = scale[:, None] * steps
    angle[::2] -= 0.5
    radius = torch.tensor(
        [1, 1, 1, 1, 0.5, 0.5], device=share.device, dtype=share.dtype
    )
    return share @ (radius[:, None] * torch.cos(torch.pi * angle)).T


def contrast_bands(sample_rate: int) -> list[float]:
    """Return the lower edge of each band of the spectral contrast, in Hz."""
    octaves = (CONTRAST_FIRST_HZ * 2**k for k in range(CONTRAST_BANDS))
    return [0.0, *(hz for hz in octaves if hz < sample_rate / 2)]


def contrast(
    power: Power, own: Float[Tensor, "batch frames"], sample_rate: int
) -> Values:
    """Return peak over valley in dB, in octaves from 200 Hz, as `spectral_contrast`.

    Jiang et al. 2002. Bands above half the sample rate are left out.
    """
    magnitude = power.sqrt()
    hz = torch.linspace(0, sample_rate / 2, power.shape[1])
    starts = contrast_bands(sample_rate)
    valleys, peaks = [], []
    for number, low in enumerate(starts):
        is_last = number == len(starts) - 1
        high = CONTRAST_FIRST_HZ * 2**number
        band = torch.nonzero((hz >= low) & (hz <= high)).flatten()
        # As in librosa: a band starts one bin early and leaves its last to the next.
        first = int(band[0]) - (number > 0)
        last = power.shape[1] if is_last else int(band[-1])
        bins = magnitude[:, first:last].sort(dim=1).values
        n = max(1, round(CONTRAST_SHARE * (last - first + (not is_last))))
        valleys.append(bins[:, :n].mean(1))
        peaks.append(bins[:, -n:].mean(1))
    return (
        decibels(torch.stack(peaks, 1), own) - decibels(torch.stack(valleys, 1), own)
    ).transpose(1, 2)


def rms(
    waveforms: Float[Tensor, "batch samples"], n_fft: int, hop_length: int
) -> Values:
    """Return the root mean square of each frame, as `rms`."""
    half = n_fft // 2
    frames = torch.nn.functional.pad(waveforms, (half, half)).unfold(
        1, n_fft, hop_length
    )
    return frames.square().mean(-1, keepdim=True).sqrt()


def zero_crossing_rate(
    waveforms: Float[Tensor, "batch samples"],
    lengths: Int[Tensor, " batch"],
    n_fft: int,
    hop_length: int,
) -> Values:
    """Return the share of samples at which the sign changes, as `zero_crossing_rate`.

    Beyond its ends, a segment's first and last samples are repeated.
    """
    half = n_fft // 2
    index = torch.arange(-half, waveforms.shape[1] + half, device=waveforms.device)
    index = torch.minimum(
        index.clamp(min=0).expand(len(waveforms), -1), (lengths - 1)[:, None]
    )
    negative = waveforms.masked_fill(waveforms.abs() <= 1e-10, 0.0).gather(1, index) < 0
    frames = negative.unfold(1, n_fft, hop_length)
    return (frames[..., 1:] != frames[..., :-1]).float().sum(-1, keepdim=True) / n_fft
