"""From waveforms to features: MFCC and related ones, with deltas.

They are normalised by the speaker's own speech.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torchaudio
from jaxtyping import Float, Int
from torch import Tensor, nn

from ser_batch.emotion.spectral import (
    N_CHROMA,
    chroma,
    chroma_filters,
    contrast,
    contrast_bands,
    decibels,
    rms,
    tonnetz,
    zero_crossing_rate,
)
from ser_batch.errors import ConfigError

KINDS = ("mfcc", "mel", "chroma", "contrast", "tonnetz", "zcr", "rms")


@dataclass(frozen=True, slots=True)
class FeatureConfig:
    """Everything that affects the features; part of the bundle. Lengths in samples."""

    sample_rate: int = 8000
    n_fft: int = 256
    hop_length: int = 80
    kinds: tuple[str, ...] = ("mfcc",)
    """The features, in this order: any of `KINDS`."""
    n_mels: int = 64
    n_mfcc: int = 40
    deltas: int = 2
    """0: none; 1: deltas after the features; 2: delta-deltas too."""
    delta_window: int = 5
    level: Literal["none", "rms", "peak"] = "none"
    """The level to which each segment is scaled first.

    An RMS of -20 dBFS, a peak of 0 dBFS, or none.
    """
    normalisation: Literal["none", "mean", "mean_std"] = "none"
    """Subtraction of each feature's mean, and division by its standard deviation.

    The mean removes the colour of the line (Atal 1974). Both are taken over the segment
    and the other known speech of its speaker (`context`).
    """
    context_s: float = 0.0
    """How many seconds of a speaker's first speech form that context; 0: none."""
    n_frames: int | None = None
    """Every segment is cut or zero-padded to this many frames; None: it is not."""

    def __post_init__(self) -> None:
        wrong = [kind for kind in self.kinds if kind not in KINDS]
        if wrong or not self.kinds:
            raise ConfigError(
                f"features.kinds must be one or more of {', '.join(KINDS)}, not "
                f"{list(self.kinds)}"
            )
        if (
            self.hop_length < 1
            or self.n_fft < 64
            or self.n_fft % 2
            or self.sample_rate < 1
        ):
            raise ConfigError(
                "features.hop_length must be 1 or more, n_fft even and 64 or more"
            )
        if (
            self.delta_window < 3
            or self.delta_window % 2 == 0
            or (self.n_frames is not None and self.n_frames < 1)
        ):
            raise ConfigError(
                "features.delta_window must be odd and 3 or more, n_frames 1 or more"
            )
        if not 1 <= self.n_mfcc <= self.n_mels:
            raise ConfigError(
                f"features.n_mfcc must be 1 to n_mels ({self.n_mels}), not "
                f"{self.n_mfcc}"
            )
        if not 0 <= self.deltas <= 2:
            raise ConfigError(f"features.deltas must be 0, 1 or 2, not {self.deltas}")
        if self.context_s and self.normalisation == "none":
            raise ConfigError(
                "features.context_s needs features.normalisation, which the context is "
                "for"
            )

    @property
    def frame_rate(self) -> float:
        """Frames per second."""
        return self.sample_rate / self.hop_length

    @property
    def n_static(self) -> int:
        """The number of features in a frame, before deltas."""
        bands = len(contrast_bands(self.sample_rate))
        sizes = {
            "mfcc": self.n_mfcc,
            "mel": self.n_mels,
            "chroma": N_CHROMA,
            "contrast": bands,
            "tonnetz": 6,
        }
        return sum(sizes.get(kind, 1) for kind in self.kinds)


class Features(nn.Module):
    """From waveforms at the configured sample rate to features; see `spectral`.

    MFCC are those of Davis & Mermelstein (1980) as librosa computes them: Slaney mel
    filters, orthonormal DCT-II, 80 dB of dynamic range below each segment's own
    maximum. Deltas are regression deltas (Young et al., The HTK Book, eq. 5.16) of the
    normalised features: the first and the last frame are repeated beyond the edges,
    where librosa fits a polynomial instead.

    Padding has no effect: in a batch of segments of different lengths, each gets the
    values that it would get alone.
    """

    def __init__(self, config: FeatureConfig) -> None:
        super().__init__()
        self.config = config
        c = config
        self._spectrogram = torchaudio.transforms.Spectrogram(
            c.n_fft, hop_length=c.hop_length, pad_mode="constant"
        )
        self._mel = torchaudio.transforms.MelScale(
            c.n_mels,
            c.sample_rate,
            n_stft=c.n_fft // 2 + 1,
            norm="slaney",
            mel_scale="slaney",
        )
        self._dct: Tensor
        self._chroma: Tensor
        self.register_buffer(
            "_dct", torchaudio.functional.create_dct(c.n_mfcc, c.n_mels, "ortho")
        )
        self.register_buffer("_chroma", chroma_filters(c.sample_rate, c.n_fft))

    def forward(
        self,
        waveforms: Float[Tensor, "batch samples"],
        lengths: Int[Tensor, " batch"],
        context: Float[Tensor, "batch sums"] | None = None,
    ) -> tuple[Float[Tensor, "batch frames features"], Int[Tensor, " batch"]]:
        """Return the features of zero-padded waveforms, and the frames per segment.

        `lengths` are the true lengths in samples. `context` is the `feature_sums` of
        other speech of each segment's speaker: zeros or None if there is none. Frames
        beyond the end of a segment are zero.
        """
        static, frames = self.static(waveforms, lengths)
        return self.normalised(static, frames, context)

    def static(
        self, waveforms: Float[Tensor, "batch samples"], lengths: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch frames static"], Int[Tensor, " batch"]]:
        """Return raw features, and the frames per segment.

        Raw: before normalisation and deltas.
        """
        c = self.config
        if c.level != "none":
            waveforms = waveforms * _gain(waveforms, lengths, c.level)[:, None]
        kinds = set(c.kinds)
        power = (
            self._spectrogram(waveforms)
            if kinds - {"zcr", "rms"}
            else waveforms[:, None]
        )
        frames = 1 + lengths // c.hop_length  # centred on every hop_length-th sample
        own = frame_mask(frames, power.shape[2])
        mel = decibels(self._mel(power), own) if kinds & {"mfcc", "mel"} else power
        pitch = chroma(power, self._chroma) if kinds & {"chroma", "tonnetz"} else power
        values = []
        for kind in c.kinds:
            if kind == "mfcc":
                values.append(mel.transpose(1, 2) @ self._dct)
            elif kind == "mel":
                values.append(mel.transpose(1, 2))
            elif kind == "chroma":
                values.append(pitch)
            elif kind == "tonnetz":
                values.append(tonnetz(pitch))
            elif kind == "contrast":
                values.append(contrast(power, own, c.sample_rate))
            elif kind == "zcr":
                values.append(
                    zero_crossing_rate(waveforms, lengths, c.n_fft, c.hop_length)
                )
            elif kind == "rms":
                values.append(rms(waveforms, c.n_fft, c.hop_length))
        return torch.cat(values, -1), frames

    def normalised(
        self,
        static: Float[Tensor, "batch frames static"],
        frames: Int[Tensor, " batch"],
        context: Float[Tensor, "batch sums"] | None = None,
    ) -> tuple[Float[Tensor, "batch frames features"], Int[Tensor, " batch"]]:
        """Return normalised features with deltas, and the frames per segment.

        They are cut or padded as configured.
        """
        c = self.config
        if c.normalisation != "none":
            known = (
                feature_sums(static, frames)
                if context is None
                else feature_sums(static, frames) + context
            )
            n, total, squares = known[:, :1], *known[:, 1:].chunk(2, -1)
            mean = total / n
            static = static - mean[:, None]
            if c.normalisation == "mean_std":
                variance = (squares / n - mean.square()).clamp(min=1e-3)
                static = static / variance.sqrt()[:, None]
        orders = [static]
        for _ in range(c.deltas):
            orders.append(regression(orders[-1], frames, c.delta_window))
        features = torch.cat(orders, -1)
        features = features * frame_mask(frames, features.shape[1])[..., None]
        if c.n_frames is not None:
            features = nn.functional.pad(
                features, (0, 0, 0, max(0, c.n_frames - features.shape[1]))
            )[:, : c.n_frames]
            frames = torch.full_like(frames, c.n_frames)
        return features, frames


def feature_sums(
    static: Float[Tensor, "batch frames static"], frames: Int[Tensor, " batch"]
) -> Float[Tensor, "batch sums"]:
    """Return what normalisation needs: frame count, feature sums and sums of squares.

    Those of several segments add up to those of all.

    Shape: (batch, 1 + 2 * static).
    """
    static = static * frame_mask(frames, static.shape[1])[..., None]
    return torch.cat(
        [frames[:, None].to(static.dtype), static.sum(1), static.square().sum(1)], -1
    )


def frame_mask(frames: Int[Tensor, " batch"], n: int) -> Float[Tensor, "batch n"]:
    """Return 1 for the frames of each segment, and 0 for the padding after them."""
    return (torch.arange(n, device=frames.device) < frames[:, None]).float()


def regression(
    x: Float[Tensor, "batch frames features"],
    frames: Int[Tensor, " batch"],
    window: int,
) -> Float[Tensor, "batch frames features"]:
    """Return the regression slope of each feature over a window.

    d[t] = sum_n n (x[t+n] - x[t-n]) / (2 sum_n n^2), for n up to half the window.
    Beyond its edges, a segment's first and last frames are repeated.
    """
    reach, n_frames = window // 2, x.shape[1]
    t = torch.arange(-reach, n_frames + reach, device=x.device)
    own = torch.minimum(t.clamp(min=0).expand(len(x), -1), (frames - 1)[:, None])
    wide = x.gather(1, own[..., None].expand(-1, -1, x.shape[2]))

    def at(offset: int) -> Tensor:
        return wide[:, reach + offset : reach + offset + n_frames]

    slope = torch.stack([n * (at(n) - at(-n)) for n in range(1, reach + 1)]).sum(0)
    return slope / (2 * sum(n * n for n in range(1, reach + 1)))


def _gain(waveforms: Tensor, lengths: Tensor, level: str) -> Tensor:
    if level == "peak":
        return 1 / waveforms.abs().amax(-1).clamp(min=1e-5)
    power = waveforms.square().sum(-1) / lengths.clamp(min=1)
    return 10 ** (-20 / 20) / power.sqrt().clamp(min=1e-5)
