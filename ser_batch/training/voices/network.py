"""The network of the voice model in torch, and its weights for `speech/voices.py`."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ser_batch.speech.voices import (
    DILATIONS,
    N_MELS,
    REACH,
    STRIDE,
    VARIANCE_FLOOR,
)


class VoiceNetwork(nn.Module):
    """A TDNN with statistics pooling: log mel bands to an embedding.

    One step for four frames; every convolution is followed by a batch norm.
    """

    def __init__(self, width: int, n_values: int, n_axes: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(
            N_MELS, width, 2 * REACH + 1, stride=STRIDE, padding=REACH, bias=False
        )
        self.blocks = nn.ModuleList(
            nn.Conv1d(width, width, 3, padding=d, dilation=d, bias=False)
            for d in DILATIONS
        )
        self.last = nn.Conv1d(width, n_values, 1, bias=False)
        norms = [*(nn.BatchNorm1d(width) for _ in range(1 + len(DILATIONS)))]
        self.norms = nn.ModuleList([*norms, nn.BatchNorm1d(n_values)])
        self.embedding = nn.Linear(2 * n_values, n_axes)

    def steps(
        self, x: Float[Tensor, "batch frames mels"]
    ) -> Float[Tensor, "batch values steps"]:
        """Return the output for each step, before pooling."""
        h = self.norms[0](self.first(x.transpose(1, 2))).relu()
        for block, norm in zip(self.blocks, self.norms[1:-1], strict=True):
            h = h + norm(block(h)).relu()
        last: Tensor = self.norms[-1](self.last(h)).relu()
        return last

    def forward(
        self, x: Float[Tensor, "batch frames mels"]
    ) -> Float[Tensor, "batch axes"]:
        """Return the embedding of each whole input, of length 1."""
        h = self.steps(x)
        deviation = (h.var(2, unbiased=False) + VARIANCE_FLOOR).sqrt()
        pooled = torch.cat([h.mean(2), deviation], 1)
        return functional.normalize(self.embedding(pooled))


def folded(network: VoiceNetwork) -> dict[str, np.ndarray]:
    """Return the weights with the batch norms folded into the convolutions."""
    weights: dict[str, Tensor] = {}
    convolutions = [network.first, *network.blocks, network.last]
    names = ["in", *(f"block{i}" for i in range(len(DILATIONS))), "out"]
    for name, conv, norm in zip(names, convolutions, network.norms, strict=True):
        assert isinstance(conv, nn.Conv1d)
        assert isinstance(norm, nn.BatchNorm1d)
        mean, variance = norm.running_mean, norm.running_var
        assert mean is not None
        assert variance is not None
        gain = norm.weight / torch.sqrt(variance + norm.eps)
        kernel = conv.weight * gain[:, None, None]
        weights[f"{name}_bias"] = norm.bias - mean * gain
        if name == "in":
            weights[name] = kernel.permute(2, 1, 0).flatten(0, 1)
        elif name == "out":
            weights[name] = kernel[:, :, 0].T
        else:
            weights[name] = kernel.permute(2, 1, 0)
    weights["embedding"] = network.embedding.weight.T
    weights["embedding_bias"] = network.embedding.bias
    return {
        name: np.ascontiguousarray(value.detach().numpy())
        for name, value in weights.items()
    }
