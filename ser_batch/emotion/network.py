"""The network that turns features into logits.

Convolutions, a bidirectional LSTM, pooling over time and a dense head. Every block is
configurable and may be omitted; a recipe lists those to use.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from ser_batch.emotion.features import frame_mask
from ser_batch.errors import ConfigError


@dataclass(frozen=True, slots=True)
class ConvConfig:
    """One convolution, with ReLU and max-pooling by `pool`.

    It has `channels` filters of `kernel` frames (and features, in two dimensions).
    """

    channels: int
    kernel: int = 3
    pool: int = 2
    norm: Literal["none", "before_relu", "after_relu", "after_dropout"] = "before_relu"
    """Where batch normalisation is applied."""
    dropout: float = 0.0
    """Applied after the pooling."""
    residual: bool = False
    """Two convolutions with a shortcut (He et al. 2016).

    Their channels are weighted by squeeze-and-excitation (Hu et al. 2018).
    """

    def __post_init__(self) -> None:
        if self.kernel % 2 == 0 or min(self.channels, self.kernel, self.pool) < 1:
            raise ConfigError(
                "a convolution needs channels and pool of 1 or more, and an odd kernel"
            )
        if not 0 <= self.dropout < 1:
            raise ConfigError(
                "the dropout of a convolution must be 0 or more, and below 1"
            )
        if self.residual and self.norm != "before_relu":
            raise ConfigError('a residual convolution needs norm "before_relu"')


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """The shape of a CNN-BiLSTM; part of the bundle."""

    convolutions: tuple[ConvConfig, ...] = ()
    """Without any, the LSTM reads the features."""
    dimensions: Literal[1, 2] = 1
    """1: convolutions over time, with features as channels.

    2: over time and features, with the feature, its delta and delta-delta as channels.
    """
    lstm_width: int = 128
    """0: no LSTM; the output of the convolutions is pooled."""
    bidirectional: bool = True
    pooling: Literal["attention", "statistics", "mean", "last"] = "attention"
    """How the steps of a segment become one vector.

    Weighted by learnt attention (Mirsamadi et al. 2017); their attention-weighted mean
    and standard deviation (Okabe et al. 2018); their mean; or the last step of each
    direction of the LSTM.
    """
    pooled_norm: Literal["none", "before_dropout", "after_dropout"] = "none"
    dropout: float = 0.3
    """Applied to the pooled vector and to each hidden layer of the head."""
    dense: tuple[int, ...] = ()
    """The widths of the head's hidden layers."""
    members: int = 1
    """The number of networks, each initialised separately.

    Their log-probabilities are averaged.
    """

    def __post_init__(self) -> None:
        if not self.convolutions and not self.lstm_width:
            raise ConfigError("a network needs convolutions or an LSTM")
        if self.pooling == "last" and not self.lstm_width:
            raise ConfigError('pooling "last" needs an LSTM')
        if self.members < 1 or self.lstm_width < 0 or min(self.dense, default=1) < 1:
            raise ConfigError(
                "network.members and dense must be 1 or more, lstm_width 0 or more"
            )
        if not 0 <= self.dropout < 1:
            raise ConfigError("network.dropout must be 0 or more, and below 1")


class CnnBiLstm(nn.Module):
    """From features (batch, frame, feature) to logits (batch, label).

    Padding has no effect: frames after a segment's end are zeroed before every
    convolution, the LSTM reads packed sequences, and the pooling ignores them.
    """

    def __init__(
        self, config: NetworkConfig, n_static: int, n_orders: int, n_labels: int
    ) -> None:
        """`n_static` features per frame, in `n_orders`: static, delta, delta-delta."""
        super().__init__()
        self.config, self.n_labels = config, n_labels
        # Training-set statistics, to normalise every feature to mean 0 and deviation 1.
        self.feature_mean: Tensor
        self.feature_std: Tensor
        self.register_buffer("feature_mean", torch.zeros(n_static * n_orders))
        self.register_buffer("feature_std", torch.ones(n_static * n_orders))
        self.members = nn.ModuleList(
            _Member(config, n_static, n_orders, n_labels) for _ in range(config.members)
        )

    @property
    def min_frames(self) -> int:
        """The fewest frames that leave one step after all pooling layers."""
        return math.prod(c.pool for c in self.config.convolutions)

    def forward(
        self,
        features: Float[Tensor, "batch frames features"],
        frames: Int[Tensor, " batch"],
    ) -> Float[Tensor, "batch labels"]:
        """Return logits: the mean log-probabilities of the members."""
        return self.member_log_probabilities(features, frames).mean(0)

    def member_log_probabilities(
        self,
        features: Float[Tensor, "batch frames features"],
        frames: Int[Tensor, " batch"],
    ) -> Float[Tensor, "members batch labels"]:
        """Return the log-probabilities of each member."""
        # (batch, feature, frame)
        x = ((features - self.feature_mean) / self.feature_std).transpose(1, 2)
        # Pad short segments, so that one step is left after all pooling layers.
        x = nn.functional.pad(
            x * _mask(x, frames), (0, max(0, self.min_frames - x.shape[2]))
        )
        frames = frames.clamp(min=self.min_frames)
        return torch.stack(
            [member(x, frames).log_softmax(-1) for member in self.members]
        )


class _Member(nn.Module):
    def __init__(
        self, config: NetworkConfig, n_static: int, n_orders: int, n_labels: int
    ) -> None:
        super().__init__()
        self.config, self.n_orders = config, n_orders
        width = n_orders if config.dimensions == 2 else n_static * n_orders
        height = n_static
        blocks = []
        for c in config.convolutions:
            blocks.append(
                (_Residual if c.residual else _Convolution)(width, c, config.dimensions)
            )
            width, height = c.channels, height // c.pool
        if config.dimensions == 2 and not height:
            raise ConfigError(
                f"{n_static} features are too few for the pooling of the convolutions"
            )
        self.convolutions = nn.ModuleList(blocks)
        if config.dimensions == 2:
            width *= height
        self.lstm = None
        if config.lstm_width:
            self.lstm = nn.LSTM(
                width,
                config.lstm_width,
                batch_first=True,
                bidirectional=config.bidirectional,
            )
            width = config.lstm_width * (1 + config.bidirectional)
        self.attention = None
        if config.pooling in ("attention", "statistics"):
            self.attention = nn.Sequential(
                nn.Linear(width, 64), nn.Tanh(), nn.Linear(64, 1)
            )
            width *= 1 + (config.pooling == "statistics")
        self.norm = (
            nn.BatchNorm1d(width) if config.pooled_norm != "none" else nn.Identity()
        )
        self.dropout = nn.Dropout(config.dropout)
        layers: list[nn.Module] = []
        for hidden in config.dense:
            layers += [nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(config.dropout)]
            width = hidden
        self.hidden = nn.Sequential(*layers)
        self.output = nn.Linear(width, n_labels)

    def forward(
        self, x: Float[Tensor, "batch features frames"], frames: Int[Tensor, " batch"]
    ) -> Tensor:
        if self.config.dimensions == 2:
            # (batch, order, static, frame): features are stored order by order
            x = x.unflatten(1, (self.n_orders, -1)).contiguous(
                memory_format=torch.channels_last
            )
        for block, shape in zip(
            self.convolutions, self.config.convolutions, strict=True
        ):
            x = block(x, frames)
            frames = frames // shape.pool
        # (batch, step, channel), with the channels of all features side by side
        x = x.flatten(1, -2).transpose(1, 2)
        pooled = self._pool(x, frames)
        if self.config.pooled_norm == "before_dropout":
            pooled = self.dropout(self.norm(pooled))
        else:
            pooled = self.norm(self.dropout(pooled))
        return self.output(self.hidden(pooled))

    def _pool(
        self, x: Float[Tensor, "batch steps channels"], frames: Int[Tensor, " batch"]
    ) -> Tensor:
        if self.lstm is not None:
            packed = pack_padded_sequence(
                x, frames.cpu(), batch_first=True, enforce_sorted=False
            )
            out, (last, _) = self.lstm(packed)
            if self.config.pooling == "last":
                # (batch, directions * lstm_width)
                return last.transpose(0, 1).flatten(1)
            x, _ = pad_packed_sequence(out, batch_first=True)
        mask = frame_mask(frames, x.shape[1])
        if self.attention is None:
            return (x * (mask / mask.sum(1, keepdim=True))[..., None]).sum(1)
        weights = (
            self.attention(x)[..., 0]
            .masked_fill(mask == 0, float("-inf"))
            .softmax(-1)[..., None]
        )
        mean = (weights * x).sum(1)
        if self.config.pooling == "attention":
            return mean
        variance = (weights * (x - mean[:, None]).square()).sum(1)
        return torch.cat([mean, (variance + 1e-5).sqrt()], -1)


def _layers(dimensions: int) -> tuple[type[nn.Module], type[nn.Module]]:
    return (
        (nn.Conv2d, nn.BatchNorm2d) if dimensions == 2 else (nn.Conv1d, nn.BatchNorm1d)
    )


def _max_pool(x: Tensor, pool: int) -> Tensor:
    return (nn.functional.max_pool2d if x.ndim == 4 else nn.functional.max_pool1d)(
        x, pool
    )


def _mask(x: Tensor, frames: Tensor) -> Tensor:
    """Return 1 for a segment's own frames, in a shape that broadcasts to `x`."""
    return frame_mask(frames, x.shape[-1]).view(len(x), *[1] * (x.ndim - 2), -1)


class _Convolution(nn.Module):
    def __init__(self, width: int, config: ConvConfig, dimensions: int) -> None:
        super().__init__()
        convolution, norm = _layers(dimensions)
        self.pool, self.place = config.pool, config.norm
        self.convolution = convolution(
            width,
            config.channels,
            config.kernel,
            padding=config.kernel // 2,
            bias=config.norm != "before_relu",
        )
        self.norm = norm(config.channels) if config.norm != "none" else nn.Identity()
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, frames: Tensor) -> Tensor:
        x = self.convolution(x * _mask(x, frames))
        x = self.norm(x).relu() if self.place == "before_relu" else x.relu()
        x = self.norm(x) if self.place == "after_relu" else x
        x = self.dropout(_max_pool(x, self.pool))
        return self.norm(x) if self.place == "after_dropout" else x


class _Residual(nn.Module):
    def __init__(self, width: int, config: ConvConfig, dimensions: int) -> None:
        super().__init__()
        convolution, norm = _layers(dimensions)
        n, k = config.channels, config.kernel
        self.pool = config.pool
        self.first, self.first_norm = (
            convolution(width, n, k, padding=k // 2, bias=False),
            norm(n),
        )
        self.second, self.second_norm = (
            convolution(n, n, k, padding=k // 2, bias=False),
            norm(n),
        )
        self.shortcut = (
            convolution(width, n, 1, bias=False) if width != n else nn.Identity()
        )
        self.squeeze, self.excite = (
            nn.Linear(n, max(1, n // 8)),
            nn.Linear(max(1, n // 8), n),
        )
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, frames: Tensor) -> Tensor:
        mask = _mask(x, frames)
        x = x * mask
        y = self.first_norm(self.first(x)).relu() * mask
        y = self.second_norm(self.second(y))
        level = (y * mask).flatten(2).sum(-1) / (
            mask.flatten(1).sum(-1, keepdim=True) * y[0, 0, ..., 0].numel()
        )
        gate = self.excite(self.squeeze(level).relu()).sigmoid()
        y = (y * gate.view(*gate.shape, *[1] * (y.ndim - 2)) + self.shortcut(x)).relu()
        return self.dropout(_max_pool(y, self.pool))
