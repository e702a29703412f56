"""A CNN-BiLSTM whose inputs and pooled vector are normalised by place.

    cepstra -> 2-D convolutions -+
    pitch, voicing, energy ------+-> 1x1 -> BiLSTM -> mean and deviation over time
                                         -> norm by place -> labels, arousal, valence

Padding has no effect: frames after a segment's end are zeroed before every convolution,
the backward LSTM reads each segment reversed by its own length, and the pooling is
masked.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ser_batch.emotion.place import N_CEPSTRA, N_SIDE, Statistics
from ser_batch.errors import ConfigError

STRIDES = ((2, 1), (2, 2), (2, 2), (2, 1))
"""The strides of each convolution, as (coefficients, frames)."""
N_AXES = 2
"""Arousal and valence."""


@dataclass(frozen=True, slots=True)
class ProfiledNetworkConfig:
    """The shape of the network; part of the bundle."""

    channels: tuple[int, ...] = (16, 36, 64, 96)
    """Channels of the convolutions over cepstra and time."""
    side_channels: int = 24
    """Channels of the convolutions over pitch, voicing and energy."""
    projection: int = 96
    lstm_width: int = 64
    dropout: float = 0.4
    members: int = 1
    """The number of networks, each initialised separately.

    Their probabilities are averaged.
    """

    def __post_init__(self) -> None:
        if len(self.channels) != len(STRIDES):
            raise ConfigError(
                f"network.channels must be {len(STRIDES)} numbers",
                option="network.channels",
            )
        if (
            min(*self.channels, self.side_channels, self.projection, self.lstm_width)
            < 1
        ):
            raise ConfigError("network: widths must be 1 or more", option="network")
        if self.members < 1 or not 0 <= self.dropout < 1:
            raise ConfigError(
                "network.members must be 1 or more, dropout 0 or more and below 1",
                option="network",
            )

    @property
    def pooled_width(self) -> int:
        """The size of the pooled vector: mean and deviation of both directions."""
        return 4 * self.lstm_width


class MaskedNorm(nn.Module):
    """Batch normalisation of (batch, channels, bins, frames) over true frames only."""

    def __init__(self, channels: int, momentum: float = 0.1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.mean: Tensor
        self.var: Tensor
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("var", torch.ones(channels))
        self.momentum = momentum

    def forward(self, x: Tensor, mask: Float[Tensor, "batch 1 1 frames"]) -> Tensor:
        """Return the normalised values."""
        mean, var = self.mean, self.var
        if self.training:
            n = mask.sum() * x.shape[2]
            mean = (x * mask).sum((0, 2, 3)) / n
            var = (x.square() * mask).sum((0, 2, 3)) / n - mean.square()
            with torch.no_grad():
                self.mean.lerp_(mean.detach(), self.momentum)
                self.var.lerp_(var.detach(), self.momentum)
        scale = self.weight * torch.rsqrt(var.clamp(min=0) + 1e-5)
        shift = (self.bias - mean * scale)[None, :, None, None]
        return torch.addcmul(shift, x, scale[None, :, None, None])


class Block(nn.Module):
    """A convolution, its normalisation and a ReLU, over true frames only."""

    def __init__(
        self, n_in: int, n_out: int, kernel: tuple[int, int], stride: tuple[int, int]
    ) -> None:
        super().__init__()
        padding = (kernel[0] // 2, kernel[1] // 2)
        self.conv = nn.Conv2d(n_in, n_out, kernel, stride, padding, bias=False)
        self.norm = MaskedNorm(n_out)
        self.stride = stride[1]

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return the values and their mask, at the block's own frame rate."""
        mask = mask[..., :: self.stride]
        return torch.relu(self.norm(self.conv(x), mask)) * mask, mask


class ProfiledNetwork(nn.Module):
    """One member of the network.

    `pooled` and `outputs` are separate, because the normalisation by place comes
    between them.
    """

    def __init__(self, config: ProfiledNetworkConfig, n_labels: int) -> None:
        super().__init__()
        self.config, self.n_labels = config, n_labels
        n_in, bins = 1, N_CEPSTRA
        self.blocks = nn.ModuleList()
        for n_out, stride in zip(config.channels, STRIDES, strict=True):
            self.blocks.append(Block(n_in, n_out, (3, 3), stride))
            n_in, bins = n_out, -(-bins // stride[0])
        n_side, side_strides = N_SIDE, [t for _, t in STRIDES if t > 1]
        self.side = nn.ModuleList()
        for stride_t in side_strides:
            self.side.append(Block(n_side, config.side_channels, (1, 5), (1, stride_t)))
            n_side = config.side_channels
        self.project = Block(n_in * bins + n_side, config.projection, (1, 1), (1, 1))
        width = config.lstm_width
        self.forward_lstm = nn.LSTM(config.projection, width, batch_first=True)
        self.backward_lstm = nn.LSTM(config.projection, width, batch_first=True)
        # The statistics of pooled vectors over the training corpora.
        self.place_mean: Tensor
        self.place_var: Tensor
        self.register_buffer("place_mean", torch.zeros(config.pooled_width))
        self.register_buffer("place_var", torch.full((config.pooled_width,), 0.02))
        self.gain = nn.Parameter(torch.ones(config.pooled_width))
        self.shift = nn.Parameter(torch.zeros(config.pooled_width))
        self.drop = nn.Dropout(config.dropout)
        self.heads = nn.Linear(config.pooled_width, n_labels + N_AXES)

    @property
    def own_place(self) -> Statistics:
        """The statistics of pooled vectors over the training corpora."""
        return Statistics(self.place_mean, self.place_var)

    def pooled(
        self,
        cepstra: Float[Tensor, "batch cepstra frames"],
        side: Float[Tensor, "batch side frames"],
        count: Int[Tensor, " batch"],
    ) -> Float[Tensor, "batch pooled"]:
        """Return the mean and deviation of the BiLSTM's output over each segment."""
        return self.summarised(*self.steps(cepstra, side, count))

    def steps(
        self,
        cepstra: Float[Tensor, "batch cepstra frames"],
        side: Float[Tensor, "batch side frames"],
        count: Int[Tensor, " batch"],
    ) -> tuple[Float[Tensor, "batch steps projection"], Float[Tensor, "batch steps"]]:
        """Return what the BiLSTM hears, and 1 for each step of the segment."""
        t = torch.arange(cepstra.shape[2], device=cepstra.device)
        mask = (t < count[:, None])[:, None, None].to(cepstra.dtype)
        x, m = cepstra[:, None] * mask, mask
        for block in self.blocks:
            x, m = block(x, m)
        s, side_mask = side[:, :, None] * mask, mask
        for block in self.side:
            s, side_mask = block(s, side_mask)
        x, _ = self.project(torch.cat([x.flatten(1, 2)[:, :, None], s], 1), m)
        return x[:, :, 0].transpose(1, 2), m[:, 0, 0]

    def summarised(
        self,
        steps: Float[Tensor, "batch steps projection"],
        m: Float[Tensor, "batch steps"],
    ) -> Float[Tensor, "batch pooled"]:
        """Return the mean and deviation of the BiLSTM's output over each segment."""
        n = m.sum(1, keepdim=True)
        reversal = n.long() - 1 - torch.arange(steps.shape[1], device=steps.device)
        reversal = reversal.clamp(min=0)[..., None]
        ahead, _ = self.forward_lstm(steps)
        back, _ = self.backward_lstm(steps.gather(1, reversal.expand_as(steps)))
        back = back.gather(1, reversal.expand_as(back))
        h = torch.cat([ahead, back], 2).float()
        m, n = m[..., None], n.clamp(min=1)
        mean = (h * m).sum(1) / n
        variance = ((h - mean[:, None]).square() * m).sum(1) / n
        return torch.cat([mean, torch.sqrt(variance + 1e-5)], 1)

    def outputs(
        self, pooled: Float[Tensor, "batch pooled"], place: Statistics
    ) -> Float[Tensor, "batch outputs"]:
        """Return the logits of all labels, then those of arousal and valence."""
        return self.heads(self.drop(self.placed(pooled, place)))

    def placed(
        self, pooled: Float[Tensor, "batch pooled"], place: Statistics
    ) -> Float[Tensor, "batch pooled"]:
        """Return pooled vectors normalised by place: what the last layer is given."""
        x = (pooled - place.mean) * torch.rsqrt(place.variance + 1e-4)
        return x * self.gain + self.shift


def megaflops_per_s(config: ProfiledNetworkConfig) -> float:
    """Return millions of operations per second of speech, for all members together.

    Each multiply-add of the convolutions, LSTM and linear layers counts as two.
    """
    bins, frames, n_in, products = N_CEPSTRA, 100.0, 1, 0.0
    for n_out, (stride_b, stride_t) in zip(config.channels, STRIDES, strict=True):
        bins, frames = -(-bins // stride_b), frames / stride_t
        products += 9 * n_in * n_out * bins * frames
        n_in = n_out
    side = config.side_channels
    products += 5 * side * (N_SIDE * 50 + side * 25)
    products += (n_in * bins + side) * config.projection * frames
    width = config.lstm_width
    products += 8 * width * (config.projection + width) * frames
    return 2 * products / 1e6 * config.members
