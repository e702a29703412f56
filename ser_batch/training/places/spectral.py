"""Augmentation of features on their device, drawn independently for every clip."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ser_batch.emotion.frontend import N_MELS, PITCH
from ser_batch.training.places_recipe import SpectralConfig

Frames = Float[Tensor, "batch frames values"]
NEPERS_PER_DB = math.log(10) / 10
NOISE_DB = (8.0, 40.0)
"""Range of the level of the noise below the speech [dB]."""


def cropped(
    bank: Float[Tensor, "all values"],
    first: Int[Tensor, " batch"],
    n_frames: Int[Tensor, " batch"],
    length: int,
    tempo: float,
) -> tuple[Frames, Int[Tensor, " batch"]]:
    """Crop `length` frames from each segment at a random tempo; also return the counts.

    `first` and `n_frames` locate the segments in the bank. Where a segment is too
    short, its last frame is repeated; the counts are the numbers of frames before that.
    """
    device = first.device
    rate = torch.exp((torch.rand(len(first), device=device) * 2 - 1) * tempo)
    last = (n_frames - 1).float()
    room = (last - (length - 1) * rate).clamp(min=0)
    start = torch.rand(len(first), device=device) * room
    at = start[:, None] + torch.arange(length, device=device) * rate[:, None]
    count = (at <= last[:, None]).sum(1)
    at = torch.minimum(at, last[:, None])
    low = at.long()
    high = torch.minimum(low + 1, (n_frames - 1)[:, None])
    before, after = (bank[first[:, None] + i].float() for i in (low, high))
    return torch.lerp(before, after, (at - low)[..., None]), count


def augmented(frames: Frames, config: SpectralConfig) -> Frames:
    """Warp, equalise, add noise to and mask the bands of frames.

    The pitch is shifted along with the vocal tract.
    """
    batch, n_frames, _ = frames.shape
    device = frames.device

    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, device=device)

    band = torch.arange(N_MELS, device=device).float()
    # The warp is zero at both ends of the frequency axis.
    warp = (rand(batch, 1) * 2 - 1) * config.warp
    at = (band * (1 - warp * (1 - band / N_MELS))).clamp(0, N_MELS - 1)
    low = at.long().clamp(max=N_MELS - 2)
    shape = (batch, n_frames, N_MELS)
    mel = frames[..., :N_MELS]
    below = mel.gather(2, low[:, None].expand(shape))
    above = mel.gather(2, (low + 1)[:, None].expand(shape))
    mel = torch.lerp(below, above, (at - low)[:, None])
    shift = torch.log2(1 + warp) + (rand(batch, 1) * 2 - 1) * config.pitch
    mel = mel + _curve(batch, band, config.equaliser_db)[:, None]
    mel = torch.logaddexp(mel, _noise(batch, n_frames, band, config.noise_share))
    mel = torch.where(_hidden(shape, config, device), mel.mean(1, keepdim=True), mel)
    pitch = (frames[..., PITCH] + shift)[..., None]
    return torch.cat([mel, pitch, frames[..., PITCH + 1 :]], -1)


def _curve(batch: int, band: Tensor, db: float) -> Float[Tensor, "batch bands"]:
    """Return smooth random curves over the bands, as sums of cosines [nepers]."""
    order = torch.arange(1, 5, device=band.device).float()
    waves = torch.cos(torch.pi * order[:, None] * (band + 0.5) / N_MELS)
    size = torch.randn(batch, 4, device=band.device) / order.sqrt()
    return (size @ waves) * (db * NEPERS_PER_DB * 0.6)


def _noise(batch: int, n_frames: int, band: Tensor, share: float) -> Frames:
    """Return a tilted, fluctuating noise floor, negligible for clips without noise."""
    device = band.device
    low, high = NOISE_DB
    below_db = low + (high - low) * torch.rand(batch, 1, 1, device=device)
    on = torch.rand(batch, 1, 1, device=device) < share
    tilt = (torch.rand(batch, 1, 1, device=device) * 2 - 1) * 2 * (band / N_MELS - 0.5)
    floor = 0.3 * torch.randn(batch, n_frames, N_MELS, device=device)
    floor = floor - below_db * NEPERS_PER_DB - 3.0 + tilt
    return torch.where(on, floor, torch.full_like(floor, -20.0))


def _hidden(
    shape: tuple[int, int, int], config: SpectralConfig, device: torch.device
) -> Tensor:
    """Return a random mask of time and frequency stretches to hide."""
    batch, n_frames, n_bands = shape
    hidden = torch.zeros(shape, dtype=torch.bool, device=device)
    for axis, n, longest, repeats in (
        (1, n_frames, config.longest_masks[0], config.masks[0]),
        (2, n_bands, config.longest_masks[1], config.masks[1]),
    ):
        at = torch.arange(n, device=device).float()
        for _ in range(repeats):
            width = torch.rand(batch, 1, device=device) * longest
            start = torch.rand(batch, 1, device=device) * n
            hidden |= ((at >= start) & (at < start + width)).unsqueeze(3 - axis)
    return hidden
