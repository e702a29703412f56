"""Waveforms to mel-frequency cepstral coefficients with deltas, as torch modules on any device."""

from dataclasses import dataclass

import torch
import torchaudio
from jaxtyping import Float, Int
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class MfccConfig:
    """Everything that shapes the features; it travels in the bundle. Lengths are in samples."""

    sample_rate: int = 8000
    n_fft: int = 256
    hop_length: int = 128
    n_mels: int = 64
    n_mfcc: int = 40
    delta_window: int = 5
    level_dbfs: float | None = -20.0
    """Each segment is brought to this RMS level first, so that a quiet line counts as much as a loud
    one; None leaves the level as it is."""
    mean_normalisation: bool = False
    """Takes each coefficient's mean over the segment away, and with it the colour of the line (Atal 1974)."""

    @property
    def n_features(self) -> int:
        """Coefficients, deltas and delta-deltas."""
        return 3 * self.n_mfcc


class Mfcc(nn.Module):
    """MFCC (Davis & Mermelstein 1980) with regression deltas (Young et al., The HTK Book, eq. 5.16).

    The coefficients equal `librosa.feature.mfcc` (Slaney mel filters, orthonormal DCT-II, zero padding,
    80 dB of dynamic range below each segment's own maximum). The deltas are torchaudio's: the first and
    the last frame are repeated beyond the edges, where librosa fits a polynomial instead.

    Padding changes nothing: a batch of segments of different lengths gives each the values that it
    would have alone.
    """

    def __init__(self, config: MfccConfig) -> None:
        super().__init__()
        self.config = config
        self._mfcc = torchaudio.transforms.MFCC(
            config.sample_rate,
            config.n_mfcc,
            melkwargs={
                "n_fft": config.n_fft,
                "hop_length": config.hop_length,
                "n_mels": config.n_mels,
                "norm": "slaney",
                "mel_scale": "slaney",
                "pad_mode": "constant",
            },
        )

    def forward(
        self, waveforms: Float[Tensor, "batch samples"], lengths: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch frames features"], Int[Tensor, " batch"]]:
        """Features of zero-padded waveforms with their true lengths in samples; frames per segment.

        Frames beyond a segment's own are zero.
        """
        config = self.config
        if config.level_dbfs is not None:
            power = waveforms.square().sum(-1) / lengths.clamp(min=1)
            gain = 10 ** (config.level_dbfs / 20) / power.sqrt().clamp(min=1e-5)
            waveforms = waveforms * gain[:, None]
        # (batch, 1, samples): with two axes, torchaudio would clamp the dynamic range across the batch.
        coefficients = self._mfcc(waveforms[:, None])[:, 0].transpose(1, 2)  # (batch, frames, n_mfcc)
        frames = 1 + lengths // config.hop_length  # centred on every hop_length-th sample
        if config.mean_normalisation:
            mask = frame_mask(frames, coefficients.shape[1])[..., None]
            coefficients = coefficients - (coefficients * mask).sum(1, keepdim=True) / frames[:, None, None]
        deltas = regression(coefficients, frames, config.delta_window)
        features = torch.cat([coefficients, deltas, regression(deltas, frames, config.delta_window)], dim=-1)
        return features * frame_mask(frames, features.shape[1])[..., None], frames


def frame_mask(frames: Int[Tensor, " batch"], n: int) -> Float[Tensor, "batch n"]:
    """1 for the frames of each segment, 0 for the padding behind them."""
    return (torch.arange(n, device=frames.device) < frames[:, None]).float()


def regression(
    x: Float[Tensor, "batch frames features"], frames: Int[Tensor, " batch"], window: int
) -> Float[Tensor, "batch frames features"]:
    """The slope d[t] = sum_n n (x[t+n] - x[t-n]) / (2 sum_n n^2), for n up to half the window.

    Frames beyond the edges of a segment repeat its first and last.
    """
    reach = window // 2
    last = (frames - 1)[:, None]
    t = torch.arange(x.shape[1], device=x.device)[None]

    def at(index: Tensor) -> Tensor:
        index = torch.minimum(index.clamp(min=0).expand(len(x), -1), last)
        return x.gather(1, index[..., None].expand(-1, -1, x.shape[2]))

    slope = torch.stack([n * (at(t + n) - at(t - n)) for n in range(1, reach + 1)]).sum(0)
    return slope / (2 * sum(n * n for n in range(1, reach + 1)))
