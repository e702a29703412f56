"""The statistics of a place (its lines, language and voices), without any labels.

A place is a call centre or a corpus: recordings that share telephones, rooms, codecs
and a language. Normalising features by the mean and the variance over a place is what
makes a model transfer from one to another. Normalising over a speaker is a trap: a
caller who is angry throughout would become average.

The *summary* of a segment consists of means over its active frames. The summaries of a
sample are averaged, with equal weight for every segment, and give a mean and a variance
for each feature.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ser_batch.emotion.frontend import (
    ENERGY,
    N_MELS,
    PITCH,
    VOICING,
    cepstral_transform,
)

N_CEPSTRA = 40
N_SIDE = 3
"""Pitch, voicing and energy, in addition to the cepstra."""
N_SUMMARY = 2 * N_CEPSTRA + 4
N_STATISTICS = N_CEPSTRA + 2
"""Cepstra, pitch, energy."""
SPEECH = -6.9
"""Frames less than 30 dB below the active level count; in nepers of power."""
PITCH_OCTAVES = 0.4
"""The divisor of pitch, for every place."""
MAX_WEIGHT, HALF_WEIGHT_RECORDINGS = 0.65, 10
MIN_RECORDINGS = 3
"""The statistics of fewer recordings are not used at all."""


@dataclass(frozen=True)
class Statistics:
    """Means and variances of features (42), or of pooled vectors."""

    mean: Float[Tensor, "*n values"]
    variance: Float[Tensor, "*n values"]

    def towards(self, other: "Statistics", share: float | Tensor) -> "Statistics":
        """Return a mixture: `share` of the other statistics, the rest of these."""
        mean = torch.lerp(self.mean, other.mean, torch.as_tensor(share))
        variance = torch.lerp(self.variance, other.variance, torch.as_tensor(share))
        return Statistics(mean, variance)


def place_weight(n_recordings: int) -> float:
    """Return the weight of statistics that were computed from `n_recordings`.

    0.65 n / (n + 10): as much as keeps the distress of a call within 0.1, whether it is
    scored among a hundred angry recordings or among mixed ones
    (docs/explanation/lab-book.md).
    Fewer than three recordings have no weight: one long angry call must not set the
    normalisation statistics.
    """
    if n_recordings < MIN_RECORDINGS:
        return 0.0
    return MAX_WEIGHT * n_recordings / (n_recordings + HALF_WEIGHT_RECORDINGS)


def summaries(
    frames: Float[Tensor, "batch frames values"], count: Int[Tensor, " batch"]
) -> Float[Tensor, "batch summary"]:
    """Return means over active frames.

    Of 40 cepstra and their squares; of pitch weighted by voicing, and that weight; of
    energy and its square.

    Shape: (batch, `N_SUMMARY`).
    """
    x = frames.float()
    own = torch.arange(x.shape[1], device=x.device) < count[:, None]
    weight = (own & (x[..., ENERGY] > SPEECH)).float()
    # Without any active frame, all frames count.
    weight = torch.where(weight.sum(1, keepdim=True) > 0, weight, own.float())
    weight = weight / weight.sum(1, keepdim=True).clamp(min=1)

    def mean(values: Tensor) -> Tensor:
        return (values * weight[..., None]).sum(1)

    cepstra = x[..., :N_MELS] @ cepstral_transform(N_CEPSTRA).to(x)
    voiced = voicing_weight(x[..., VOICING])[..., None]
    energy = x[..., ENERGY:]
    parts = [cepstra, cepstra.square(), voiced * x[..., PITCH : PITCH + 1], voiced]
    return torch.cat([mean(part) for part in (*parts, energy, energy.square())], 1)


def voicing_weight(voicing: Tensor) -> Tensor:
    """Return the weight of a frame's pitch: 0 below a voicing of 0.4, 1 above 0.7."""
    return ((voicing - 0.4) / 0.3).clamp(0, 1)


def statistics_of(summary: Float[Tensor, "*n summary"]) -> Statistics:
    """Return the means and variances that follow from a mean of summaries."""
    n = N_CEPSTRA
    cepstra, squares, pitch, voiced, energy, energy2 = summary.split(
        [n, n, 1, 1, 1, 1], -1
    )
    mean = torch.cat([cepstra, pitch / voiced.clamp(min=1e-3), energy], -1)
    pitch_variance = torch.full_like(pitch, PITCH_OCTAVES**2)
    variances = [squares - cepstra.square(), pitch_variance, energy2 - energy.square()]
    return Statistics(mean, torch.cat(variances, -1).clamp(min=1e-3))


def normalised(
    frames: Float[Tensor, "batch frames values"], statistics: Statistics
) -> tuple[Float[Tensor, "batch cepstra frames"], Float[Tensor, "batch side frames"]]:
    """Return the inputs of a network: cepstra; and pitch, voicing and energy.

    `statistics` are those of one place, (1, 42), or of each segment's place,
    (batch, 42).
    """
    n, scale = N_CEPSTRA, torch.rsqrt(statistics.variance)[:, None]
    mean = statistics.mean[:, None]
    cepstra = frames[..., :N_MELS] @ cepstral_transform(n).to(frames)
    cepstra = (cepstra - mean[..., :n]) * scale[..., :n]
    voicing = frames[..., VOICING]
    pitch = (
        (frames[..., PITCH] - mean[..., n]) * scale[..., n] * voicing_weight(voicing)
    )
    energy = (frames[..., ENERGY] - mean[..., n + 1]) * scale[..., n + 1]
    side = torch.stack([pitch, voicing * 2 - 1, energy], 1)
    return cepstra.transpose(1, 2), side
