"""Diarizers with a known answer, and a small voice model of random weights."""

from dataclasses import dataclass

import numpy as np
import torch

from ser_batch.speech.diarization import Read, Voices
from ser_batch.speech.regions import Regions
from ser_batch.speech.voices import VoiceModel
from ser_batch.training.voices.network import VoiceNetwork, folded


@dataclass(frozen=True)
class EveryOther:
    """A diarizer that gives the speech regions to two voices in turn."""

    confidence: float = 0.97
    unclear: int = 0
    """How many regions at the end could be any voice's."""
    certainty: float = 1.0
    behind: Regions | None = None
    """Where the first voice speaks during the second's speech."""

    def voices(self, read: Read, regions: Regions, least: int, most: int) -> Voices:
        clear, unclear = np.split(regions, [len(regions) - self.unclear])
        n_frames = int(regions[-1, 1]) if len(regions) else 0
        certainty = np.full(n_frames, self.certainty, np.float32)
        own = [part for part in (clear[::2], clear[1::2]) if len(part)]
        none = regions[:0]
        behind = [none if self.behind is None else self.behind, *[none] * len(own)]
        return Voices(own, unclear, certainty, self.confidence, behind[: len(own)], 9.0)


def random_network(seed: int = 0) -> VoiceNetwork:
    """Return a small network whose batch norms have been used."""
    torch.manual_seed(seed)
    network = VoiceNetwork(width=6, n_values=10, n_axes=5)
    with torch.no_grad():
        for norm in network.norms:
            norm.weight.uniform_(0.5, 2)
            norm.bias.normal_()
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
    return network.eval()


def model_of(network: VoiceNetwork) -> VoiceModel:
    """Return the voice model of a network, whose axes are those of its embeddings."""
    axes = np.eye(network.embedding.out_features, dtype=np.float32)
    return VoiceModel(folded(network) | {"axes": axes}, (1.0, 0.0))
