"""Predictions for waveforms, alone or with the speaker's other clips as context."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ser_batch.emotion.batches import padded
from ser_batch.emotion.features import Features, feature_sums
from ser_batch.emotion.network import CnnBiLstm
from ser_batch.training.corpora.clips import is_unknown_speaker


def predict_logits(
    features: Features,
    network: CnnBiLstm,
    waves: Sequence[np.ndarray],
    speakers: Sequence[str] | None = None,
    batch_size: int = 64,
) -> Tensor:
    """Return the logits of waveforms in their order, on the CPU.

    With `speakers`, the context of each clip is other clips of its speaker, as many as
    the features are configured for.

    Shape:
        (clips, labels).
    """
    device = network.feature_mean.device
    order = sorted(range(len(waves)), key=lambda i: len(waves[i]))
    batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    with torch.inference_mode():
        parts = []
        for rows in batches:
            waveforms, lengths = padded([waves[i] for i in rows])
            parts.append(features.static(waveforms.to(device), lengths.to(device)))
        context = None
        if speakers is not None:
            known = torch.zeros(
                len(waves), 1 + 2 * features.config.n_static, device=device
            )
            for rows, (static, frames) in zip(batches, parts, strict=True):
                known[rows] = feature_sums(static, frames)
            context = other_clips(
                known, speakers, features.config.context_s * features.config.frame_rate
            )
        logits = torch.zeros(len(waves), network.n_labels)
        for rows, (static, frames) in zip(batches, parts, strict=True):
            x, frames = features.normalised(
                static, frames, None if context is None else context[rows]
            )
            logits[rows] = network(x, frames).float().cpu()
    return logits


def other_clips(known: Tensor, speakers: Sequence[str], n_frames: float) -> Tensor:
    """Return the feature sums of other clips of each clip's speaker.

    In a random ring of the speaker's clips, those that follow the clip are summed until
    they have `n_frames`.
    """
    context = torch.zeros_like(known)
    by_speaker: dict[str, list[int]] = {}
    for i, speaker in enumerate(speakers):
        if not is_unknown_speaker(speaker):
            by_speaker.setdefault(speaker, []).append(i)
    rng = np.random.default_rng(0)
    for own in by_speaker.values():
        # Shuffled, so that neighbours are no more alike than any two clips.
        ring = rng.permutation(own)
        for place, i in enumerate(ring):
            after = torch.from_numpy(np.roll(ring, -place)[1:]).to(known.device)
            enough = int((known[after, 0].cumsum(0) < n_frames).sum()) + 1
            context[i] = known[after[:enough]].sum(0)
    return context
