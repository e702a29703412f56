"""Fitting of the voice network, and of the discriminant space of its embeddings."""

from collections import Counter, defaultdict
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ser_batch.speech.voices import (
    STEP_S,
    VoiceModel,
    log_mel,
)
from ser_batch.training.voices.clips import Clips
from ser_batch.training.voices.lines import Lines
from ser_batch.training.voices.network import VoiceNetwork, folded

WIDTH, VALUES, AXES, KEPT_AXES = 96, 192, 96, 30
RATE, WEIGHT_DECAY, CLIP_NORM = 3e-3, 0.02, 5.0
SCALE, MARGIN, GROWS = 24.0, 0.2, 0.3
"""Additive angular margin; it grows over this share of the steps."""
WINDOW_S, WINDOW_HOP_S = 1.2, 0.6
CLIPS_OF_SPEAKER, LEAST_WINDOWS = 12, 4
RIDGE = 1e-4


def fit_network(
    lines: Lines, steps: int, seed: int, on_step: Callable[[int, float], None]
) -> VoiceNetwork:
    """Return a network trained to recognise the speakers of the lines.

    Additive angular margin softmax (Deng et al. 2019), AdamW, one cycle.
    """
    torch.manual_seed(seed)
    network = VoiceNetwork(WIDTH, VALUES, AXES)
    speakers = nn.Parameter(torch.randn(len(lines.speakers), AXES) * 0.05)
    optimiser = torch.optim.AdamW(
        [*network.parameters(), speakers], RATE, weight_decay=WEIGHT_DECAY
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    network.train()
    for step in range(1, steps + 1):
        bands, speaker = lines.draw()
        cosine = network(bands) @ functional.normalize(speakers).T
        margin = MARGIN * min(1, step / (GROWS * steps))
        loss = functional.cross_entropy(_margined(cosine, speaker, margin), speaker)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), CLIP_NORM)
        optimiser.step()
        schedule.step()
        on_step(step, loss.item())
    return network.eval()


def _margined(cosine: Tensor, speaker: Tensor, margin: float) -> Tensor:
    own = functional.one_hot(speaker, cosine.shape[1]).bool()
    further = torch.cos(torch.acos(cosine.clamp(-0.999, 0.999)) + margin)
    return SCALE * torch.where(own, further, cosine)


def with_axes(network: VoiceNetwork, clips: Clips) -> VoiceModel:
    """Return the voice model: the network, and the discriminant space of its speakers.

    In this space, one voice has unit variance in all directions, and the axes that tell
    voices apart are kept, each scaled by its reliability for one window.
    """
    weights = folded(network)
    plain = VoiceModel(weights | {"axes": np.eye(AXES, dtype=np.float32)}, (1.0, 0.0))
    points, speakers = embeddings(plain, clips)
    weights["axes"] = discriminant_axes(points, speakers)
    return VoiceModel(weights, (1.0, 0.0))


def embeddings(
    model: VoiceModel, clips: Clips
) -> tuple[Float[np.ndarray, "windows axes"], np.ndarray]:
    """Return the points of windows of some clips of each speaker, and the speakers.

    Each corpus is treated as a line, whose mean is subtracted.
    """
    corpora: dict[str, list[int]] = defaultdict(list)
    taken: Counter[str] = Counter()
    order = np.random.default_rng(0).permutation(len(clips.speakers))
    for i in order:
        speaker = clips.speakers[i]
        if taken[speaker] < CLIPS_OF_SPEAKER:
            taken[speaker] += 1
            corpora[speaker.split("/")[0]].append(int(i))
    length, hop = round(WINDOW_S / STEP_S), round(WINDOW_HOP_S / STEP_S)
    points, speakers = [], list[str]()
    for rows in corpora.values():
        bands = [log_mel(clips.waveforms[i].astype(np.float32)) for i in rows]
        steps = model.steps(bands, np.concatenate(bands).mean(0))
        own = steps.every(hop, length)
        clip = np.searchsorted(steps.regions[:, 0], own[:, 0], "right") - 1
        points.append(model.points(steps.pooled(own)))
        speakers += [clips.speakers[rows[i]] for i in clip]
    return np.concatenate(points), np.array(speakers)


def discriminant_axes(
    points: Float[np.ndarray, "windows axes"], speakers: np.ndarray
) -> Float[np.ndarray, "axes kept"]:
    """Return the axes of linear discriminant analysis, scaled by their reliability."""
    n = points.shape[1]
    within, means = np.zeros((n, n)), []
    names, number = np.unique(speakers, return_inverse=True)
    for k in range(len(names)):
        own = points[number == k].astype(np.float64)
        if len(own) >= LEAST_WINDOWS:
            means.append(own.mean(0))
            within += np.cov(own.T, bias=True)
    within /= len(means)
    between = np.cov(np.stack(means).T, bias=True)
    values, vectors = np.linalg.eigh(within + RIDGE * np.eye(n) * within.trace() / n)
    white = vectors / np.sqrt(values)
    ratios, axes = np.linalg.eigh(white.T @ between @ white)
    best = np.argsort(-ratios)[:KEPT_AXES]
    reliability = ratios[best] / (1 + ratios[best])
    return (white @ axes[:, best] * np.sqrt(reliability)).astype(np.float32)
