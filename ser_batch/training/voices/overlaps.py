"""Overlapping speech: a small network on the output of the voice network."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import nn
from torch.nn import functional
from tqdm import tqdm

from ser_batch.speech.vad import FRAME_S
from ser_batch.speech.voice_cells import CELL_FRAMES, OVERLAP_WINDOW_S
from ser_batch.speech.voices import LEVEL, STEP_S, STRIDE, Pooled, VoiceModel, log_mel
from ser_batch.training.voices.clips import Clips
from ser_batch.training.voices.conversations import (
    STEP,
    Conversation,
    Line,
    converse,
)

CONVERSATIONS, TURNS, OVERLAPS = 800, 12, 0.4
HOP = 6
"""Steps from one window to the next."""
CLEAR = 0.8
"""Windows are learned whose middle is alone, or of both, in this share at least."""
HIDDEN, STEPS, BATCH = 64, 3000, 512
RATE, WEIGHT_DECAY = 2e-3, 0.02

Shares = Float[np.ndarray, " windows"]


def with_overlap(model: VoiceModel, clips: Clips, seed: int) -> VoiceModel:
    """Return the model with weights that tell two voices at once from one.

    It learns from simulated conversations in which many turns overlap.
    """
    rng = np.random.default_rng(seed)
    found = [windows(model, own) for own in _conversations(clips, rng)]
    x, share = (np.concatenate(own) for own in zip(*found, strict=True))
    clear = np.abs(share - 0.5) >= CLEAR - 0.5
    return replace(
        model, weights=model.weights | _fitted(x[clear], share[clear] > 0.5, seed)
    )


def _conversations(clips: Clips, rng: np.random.Generator) -> Iterator[Conversation]:
    """Yield conversations of random pairs, of small corpora more often."""
    own: dict[str, dict[str, list[np.ndarray]]] = {}
    for waveform, speaker in zip(clips.waveforms, clips.speakers, strict=True):
        corpus = own.setdefault(speaker.split("/")[0], {})
        corpus.setdefault(speaker, []).append(waveform)
    corpora = [speakers for speakers in own.values() if len(speakers) > 1]
    weight = np.sqrt([len(speakers) for speakers in corpora])
    for _ in tqdm(range(CONVERSATIONS), unit="conversation", disable=None):
        speakers = corpora[rng.choice(len(corpora), p=weight / weight.sum())]
        a, b = rng.choice(sorted(speakers), 2, replace=False)
        line = Line.drawn(rng)
        yield converse(speakers[a], speakers[b], TURNS, rng, OVERLAPS, line)


def windows(model: VoiceModel, conversation: Conversation) -> tuple[Pooled, Shares]:
    """Return the pooled output in windows of speech, and how much of it is of both.

    The share is that of the cell in the middle of the window.
    """
    speech = conversation.active[0] | conversation.active[1]
    samples = conversation.samples
    level = np.sqrt(np.square(samples[: len(speech) * STEP]).reshape(-1, STEP).mean(1))
    gain = LEVEL / np.sqrt(np.square(level[speech]).mean())
    bands = log_mel(np.float32(gain) * samples)
    spoken_frames = np.repeat(speech, STRIDE)[: len(bands)]
    mean = bands[: len(spoken_frames)][spoken_frames].mean(0)
    steps = model.steps([bands], mean)
    n_steps = int(np.diff(steps.regions)[0, 0])
    half = round(CELL_FRAMES * FRAME_S / STEP_S / 2)
    middles = np.arange(half, min(n_steps, len(speech)) - half, HOP)
    sums = np.cumsum(np.stack([conversation.both, speech], 1), axis=0)
    both, spoken = ((sums[middles + half] - sums[middles - half]) / (2 * half)).T
    length = round(OVERLAP_WINDOW_S / STEP_S)
    heard = spoken > 0.5
    own = steps.around(np.zeros(heard.sum(), int), middles[heard], length)
    return steps.pooled(own), both[heard]


def _fitted(x: Pooled, is_both: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Return the weights of a network with one hidden layer."""
    torch.manual_seed(seed)
    mean, scale = x.mean(0), x.std(0) + 1e-3
    inputs = torch.from_numpy((x - mean) / scale).float()
    target = torch.from_numpy(is_both).float()
    network = nn.Sequential(
        nn.Linear(x.shape[1], HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1)
    )
    optimiser = torch.optim.AdamW(network.parameters(), RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=STEPS)
    for _ in range(STEPS):
        chosen = torch.randint(0, len(target), (BATCH,))
        odds = network(inputs[chosen])[:, 0]
        loss = functional.binary_cross_entropy_with_logits(odds, target[chosen])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    first, last = network[0], network[2]
    assert isinstance(first, nn.Linear)
    assert isinstance(last, nn.Linear)
    # The inputs are scaled by the weights.
    kernel = first.weight.detach().numpy().T / scale[:, None]
    weights = {
        "overlap": kernel,
        "overlap_bias": first.bias.detach().numpy() - mean @ kernel,
        "overlap_odds": last.weight.detach().numpy()[0],
        "overlap_odds_bias": last.bias.detach().numpy(),
    }
    # Contiguous, as safetensors writes the memory as it is.
    return {
        name: np.ascontiguousarray(own, np.float32) for name, own in weights.items()
    }
