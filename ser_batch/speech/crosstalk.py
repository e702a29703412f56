"""Removal of crosstalk: speech that a channel picks up from another channel.

Level does not distinguish a quiet speaker from crosstalk; the signal does. Where there
is a crosstalk path from one channel into another (`CrosstalkPath`), the estimated
crosstalk is subtracted, and frames in which hardly anything remains are not speech of
the channel. The channel's own speech on top of crosstalk is kept. Without a path,
nothing is changed.

Decisions look ahead `AHEAD` steps (8 s), and do not depend on the block size.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32

from ser_batch.speech.crosstalk_path import (
    CONTEXT,
    MAX_DELAY,
    RATE,
    WINDOW,
    CrosstalkPath,
    crosstalk_of,
)
from ser_batch.speech.regions import spans
from ser_batch.speech.vad import FRAME_S, Probabilities

FRAME = round(RATE * FRAME_S)
STEP, AHEAD = 128, 2
"""Frames decided at once, and steps of look-ahead."""
MARGIN = 48
"""Frames before a step that its decisions look back on."""
WINDOW_FRAMES = WINDOW // FRAME
IN_SPEECH = 0.75
"""The share of a window's frames in which both channels must be in speech."""
OFTEN, SELDOM, MANY = 8, 32, 50
"""Frames from one window to the next: `OFTEN`, and `SELDOM` after `MANY` windows."""
LOUDEST = 0.5
"""Crosstalk has at most half the power of its source; otherwise, it is the source."""
SMOOTH = 11
"""Frames over which powers are averaged."""
PAST = 960
"""Past frames from which noise and residual are estimated: 31 s."""
REMAINS, LEAST, MOST = 0.35, 0.015, 0.15
"""How the residual of pure crosstalk is estimated, as a share of the power observed.

The quantile of that share over frames in speech, and the bounds of the estimate.
"""
OWN, ABOVE_NOISE = 3.0, 2.0
"""Factors by which own speech exceeds the residual of pure crosstalk, and the noise."""
SHORTEST, PAUSE = 5, 12
"""Own speech lasts at least `SHORTEST` frames, and includes pauses below `PAUSE`."""


class Crosstalk:
    """Removes crosstalk from the speech probabilities of a recording's channels."""

    def __init__(self, n_channels: int, offset: float) -> None:
        """`offset` is the lowest probability at which a frame is speech."""
        self._n, self._offset = n_channels, offset
        self._paths = {
            (source, sink): CrosstalkPath()
            for source in range(n_channels)
            for sink in range(n_channels)
            if source != sink
        }
        # Everything from the frame `_first` on: the past that decisions look back on,
        # the step to decide, and the look-ahead.
        self._first = -MARGIN
        self._samples = np.zeros((n_channels, CONTEXT + MARGIN * FRAME), np.float32)
        self._probabilities = np.zeros((n_channels, MARGIN), np.float32)
        self._window = self._decided = 0
        self._learned = dict.fromkeys(self._paths, 0)
        self._levels = np.zeros((n_channels, 0))
        self._remaining = [np.zeros(0) for _ in range(n_channels)]

    def push(
        self,
        samples: Float32[np.ndarray, "channels samples"],
        probabilities: Sequence[Probabilities],
    ) -> Float32[np.ndarray, "channels frames"]:
        """Add samples and their frames as they come; return the frames now decided.

        Samples are at `RATE`.
        """
        self._samples = np.concatenate([self._samples, samples], axis=1)
        added = np.stack(probabilities)
        self._probabilities = np.concatenate([self._probabilities, added], axis=1)
        heard = (self._samples.shape[1] - CONTEXT) // FRAME
        known = self._first + min(self._probabilities.shape[1], heard)
        decided = [np.zeros((self._n, 0), np.float32)]
        while self._decided + (1 + AHEAD) * STEP <= known:
            decided.append(self._decide(self._decided + (1 + AHEAD) * STEP))
        return np.concatenate(decided, axis=1)

    def finish(self) -> Float32[np.ndarray, "channels frames"]:
        """Return the remaining frames."""
        end = self._first + self._probabilities.shape[1]
        missing = CONTEXT + (end - self._first) * FRAME - self._samples.shape[1]
        silence = np.zeros((self._n, max(0, missing)), np.float32)
        self._samples = np.concatenate([self._samples, silence], axis=1)
        decided = [np.zeros((self._n, 0), np.float32)]
        while self._decided < end:
            decided.append(self._decide(min(end, self._decided + (1 + AHEAD) * STEP)))
        return np.concatenate(decided, axis=1)

    def _decide(self, known: int) -> Float32[np.ndarray, "channels frames"]:
        """Return the next step, given all frames before `known`."""
        self._look(known)
        self._levels = np.concatenate(
            [self._levels[:, -PAST:], self._powers_from(known)], axis=1
        )
        start, end = self._decided, min(self._decided + STEP, known)
        result = self._of(start, end).copy()
        for sink in range(self._n):
            found = self._crosstalk_into(sink, known)
            if found:
                own = self._own_speech(sink, found, known)
                result[sink, ~own] = 0
        self._decided = end
        self._forget(end - MARGIN)
        return result

    def _look(self, known: int) -> None:
        """Measure the delays in the windows before `known`."""
        while self._window + WINDOW_FRAMES <= known:
            start = self._window
            own = self._of(start, start + WINDOW_FRAMES) >= self._offset
            talks = own.mean(axis=1) >= IN_SPEECH
            for (source, sink), path in self._paths.items():
                if talks[source] and talks[sink]:
                    heard = self._samples_of(sink, start, start + WINDOW_FRAMES)
                    before = self._samples_of(
                        source, start, start + WINDOW_FRAMES, MAX_DELAY
                    )
                    path.look(heard, before)
            many = min(path.windows for path in self._paths.values()) >= MANY
            self._window += SELDOM if many else OFTEN

    def _powers_from(self, known: int) -> np.ndarray:
        """Return the powers of the frames that are new since the last step."""
        since = min(known, self._decided + AHEAD * STEP if self._decided else 0)
        return np.stack(
            [_powers(self._samples_of(c, since, known)) for c in range(self._n)]
        )

    def _crosstalk_into(
        self, sink: int, known: int
    ) -> list[tuple[int, np.ndarray, int]]:
        """Return the sources, responses and delays of the crosstalk into a channel."""
        found = []
        for (source, into), path in self._paths.items():
            if into != sink or (delay := path.delay()) is None:
                continue
            start = max(self._learned[source, sink], self._decided)
            for first in range(start, known, STEP):
                last = min(first + STEP, known)
                before = self._samples_of(source, first, last, CONTEXT)
                path.learn(self._samples_of(sink, first, last), before)
            self._learned[source, sink] = known
            taps, gain = path.response(delay)
            if gain < LOUDEST:
                found.append((source, taps, delay))
        return found

    def _own_speech(
        self, sink: int, found: list[tuple[int, np.ndarray, int]], known: int
    ) -> np.ndarray:
        """Return which frames of the step contain more than crosstalk and noise."""
        first = self._decided - MARGIN
        heard = self._samples_of(sink, first, known)
        rest = heard.astype(float)
        for source, taps, delay in found:
            rest -= crosstalk_of(
                self._samples_of(source, first, known, CONTEXT), taps, delay
            )
        noise = np.quantile(self._levels[sink], 0.1)
        there = np.maximum(_smooth(_powers(heard)) - noise, 0)
        remains = _smooth(_powers(rest))
        speaks = self._of(first, known)[sink] >= self._offset
        ratio = np.maximum(remains - noise, 0) / np.maximum(there, 1e-12)
        seen = np.concatenate([self._remaining[sink], ratio[speaks]])
        # The share of crosstalk that subtraction usually leaves.
        usual = MOST
        if len(seen) > 20:
            usual = float(np.clip(np.quantile(seen, REMAINS), LEAST, MOST))
        own = bridged(remains > ABOVE_NOISE * noise + OWN * usual * there)
        step = slice(MARGIN, MARGIN + STEP)
        ours = ratio[step][speaks[step]]
        self._remaining[sink] = np.concatenate([self._remaining[sink], ours])[-PAST:]
        return own[step]

    def _of(self, start: int, end: int) -> np.ndarray:
        return self._probabilities[:, start - self._first : end - self._first]

    def _samples_of(
        self, channel: int, start: int, end: int, before: int = 0
    ) -> Float32[np.ndarray, " samples"]:
        """Return the samples of frames, and `before` samples preceding them."""
        at = CONTEXT + (start - self._first) * FRAME - before
        return self._samples[channel, at : CONTEXT + (end - self._first) * FRAME]

    def _forget(self, first: int) -> None:
        """Drop everything before a frame."""
        n = first - self._first
        self._samples = self._samples[:, n * FRAME :]
        self._probabilities = self._probabilities[:, n:]
        self._first = first


def _powers(samples: np.ndarray) -> np.ndarray:
    return np.square(samples.astype(float)).reshape(-1, FRAME).sum(axis=1)


def _smooth(powers: np.ndarray) -> np.ndarray:
    return np.convolve(powers, np.ones(SMOOTH) / SMOOTH, "same")


def bridged(own: np.ndarray) -> np.ndarray:
    """Return own speech without bursts that are too short, with short pauses filled."""
    result = np.zeros(len(own), bool)
    last = -PAUSE
    for start, end in spans(own).tolist():
        if end - start < SHORTEST:
            continue
        result[last if start - last < PAUSE else start : end] = True
        last = end
    return result
