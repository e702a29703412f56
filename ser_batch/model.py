"""The network: features to logits. A convolutional front end, a bidirectional LSTM, attention pooling."""

from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from ser_batch.features import frame_mask


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """The shape of a CNN-BiLSTM; it travels in the bundle."""

    n_features: int
    n_labels: int
    conv_channels: tuple[int, ...] = (128, 128)
    kernel: int = 5
    lstm_width: int = 128
    dropout: float = 0.3


class CnnBiLstm(nn.Module):
    """Features (batch, frame, feature) to logits (batch, label).

    Each convolution over time (batch norm, ReLU) halves the frames; a BiLSTM reads what is left; a
    learnt attention (Mirsamadi et al., ICASSP 2017) weighs its steps into one vector.

    Padding changes nothing: frames behind a segment's end are zeroed before every convolution, the
    LSTM reads packed sequences, and the attention ignores them.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        # Statistics of the training set, so that every feature enters with mean 0 and deviation 1.
        self.feature_mean: Tensor
        self.feature_std: Tensor
        self.register_buffer("feature_mean", torch.zeros(config.n_features))
        self.register_buffer("feature_std", torch.ones(config.n_features))
        widths = (config.n_features, *config.conv_channels)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(a, b, config.kernel, padding=config.kernel // 2, bias=False) for a, b in pairwise(widths)
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for width in config.conv_channels)
        self.lstm = nn.LSTM(widths[-1], config.lstm_width, batch_first=True, bidirectional=True)
        self.attention = nn.Linear(2 * config.lstm_width, 1)
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(2 * config.lstm_width, config.n_labels)

    @property
    def min_frames(self) -> int:
        """The fewest frames that leave one step after all poolings."""
        return 2 ** len(self.convolutions)

    def forward(
        self, features: Float[Tensor, "batch frames features"], frames: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch labels"]:
        x = ((features - self.feature_mean) / self.feature_std).transpose(1, 2)  # (batch, feature, frame)
        if x.shape[2] < self.min_frames:
            x = nn.functional.pad(x, (0, self.min_frames - x.shape[2]))
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = x * frame_mask(frames, x.shape[2])[:, None]
            x = nn.functional.max_pool1d(norm(convolution(x)).relu(), 2)
            frames = (frames // 2).clamp(min=1)
        x = self.dropout(x).transpose(1, 2)  # (batch, step, channel)
        packed = pack_padded_sequence(x, frames.cpu(), batch_first=True, enforce_sorted=False)
        x, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True)  # (batch, step, 2 * lstm_width)
        scores = self.attention(x)[..., 0]
        scores = scores.masked_fill(frame_mask(frames, x.shape[1]) == 0, float("-inf"))
        pooled = (scores.softmax(-1)[..., None] * x).sum(1)  # (batch, 2 * lstm_width)
        return self.output(self.dropout(pooled))
