"""How many calls this machine bears."""

import time

import numpy as np
import torch

from ser_batch.config.options import Config
from ser_batch.emotion.scorer import Scorer
from ser_batch.live.call_audio import BLOCK_S, on_one_core
from ser_batch.speech.listening import Listening
from ser_batch.speech.vad import Vad

SAMPLE_RATE = 8000
HEARD_S = 60.0
SEGMENT_S, SEGMENTS = 3.0, 8
SPEECH = 0.5
"""The share of a call in which a side that is scored speaks."""
PROVISIONAL = 1.0
"""Provisional scores for each final one."""
USED = 0.33
"""The share of a core that calls may take: sockets and messages need the rest."""


def calls_borne(scorer: Scorer, vad: Vad, config: Config) -> int:
    """Return how many calls in stereo one worker bears, by listening to noise.

    It is measured on this machine in a few seconds: what listening to a second of both
    channels costs, and scoring a segment.
    """
    noise = np.random.default_rng(0).normal(0, 0.05, (2, round(HEARD_S * SAMPLE_RATE)))
    waveform = noise.astype(np.float32)
    listening = Listening(vad, config.vad, SAMPLE_RATE, scorer.sample_rate, 2)
    size = round(BLOCK_S * SAMPLE_RATE)
    segments = [
        waveform[0, : round(SEGMENT_S * scorer.sample_rate)] for _ in range(SEGMENTS)
    ]
    torch.set_num_threads(1)
    scorer.scored(segments)  # the first time is slower
    # CPU time, which other work on the machine hardly changes.
    begun = time.thread_time()
    with on_one_core():
        for at in range(0, waveform.shape[1], size):
            listening.push(waveform[:, at : at + size])
    heard = (time.thread_time() - begun) / HEARD_S
    begun = time.thread_time()
    scorer.scored(segments)
    scored = (time.thread_time() - begun) / (SEGMENTS * SEGMENT_S)
    n_scored = 1 if config.score.roles and not config.score.score_agents else 2
    cost = heard + n_scored * SPEECH * (1 + PROVISIONAL) * scored
    return max(1, int(USED / cost))
