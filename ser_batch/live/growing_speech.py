"""Speech regions and segments of a channel that is still growing.

The batch's own functions run on the frames so far, from the last pause on. What they
find is passed on when no later frame can change it any more:

- a region, when the silence after it is too long to be bridged;
- a segment, when the pause after it is too long for speech to be scored together, or
  when speech goes on for long enough that the place of the cut is certain;
- short speech, which is scored only if the channel has no other, at the end.
"""

from dataclasses import dataclass, field

import numpy as np

from ser_batch.config.options import SegmentConfig, VadConfig
from ser_batch.speech.regions import Regions, hysteresis, spans, speech_regions
from ser_batch.speech.segments import divided_at_pauses, groups_of
from ser_batch.speech.vad import FRAME_S

Span = tuple[int, int]
"""Frames [start, end) of the channel."""


@dataclass(frozen=True, slots=True)
class Settled:
    """What no later frame can change, in frames of the channel."""

    regions: list[Span] = field(default_factory=list)
    segments: list[Span] = field(default_factory=list)
    short: list[Span] = field(default_factory=list)
    """Speech too short for a segment, in a channel that has had no other so far."""


class GrowingSpeech:
    """The speech of one channel, frame by frame as it is decided."""

    def __init__(self, vad: VadConfig, segments: SegmentConfig) -> None:
        self._vad, self._config = vad, segments
        self._pad = round(vad.pad_s / FRAME_S)
        self._gap = round(vad.min_silence_s / FRAME_S)
        self._pause = round(segments.max_pause_s / FRAME_S)
        self._shortest = round(segments.min_s / FRAME_S)
        self._longest = round(segments.max_s / FRAME_S)
        # Everything from the frame `_first` on.
        self._first = 0
        self._probabilities = np.zeros(0, np.float32)
        self._levels = np.zeros(0, np.float32)
        self._told = 0
        """All regions that end before this frame were passed on."""
        self._cut = 0
        """The last cut in speech that is still going on; 0 if there is none."""
        self._is_long = False
        """Whether any speech was long enough to be scored."""

    @property
    def needed_from(self) -> int:
        """The first frame whose samples may still be needed."""
        return max(self._first, self._cut)

    def push(self, probabilities: np.ndarray, levels_db: np.ndarray) -> Settled:
        """Add frames that are decided; return what is settled by them."""
        self._probabilities = np.concatenate([self._probabilities, probabilities])
        self._levels = np.concatenate([self._levels, levels_db])
        regions = speech_regions(self._probabilities, self._vad)
        nearest = self._nearest_start(regions)
        groups = groups_of(regions, self._config)
        n_regions, n_groups = len(regions), len(groups)
        if n_regions:
            silence = nearest - (regions[-1, 1] - self._pad)
            if silence < max(self._gap, 2 * self._pad + 1):
                n_regions -= 1
            if silence < max(self._gap, 2 * self._pad + self._pause + 1):
                n_groups -= 1
        settled = self._settled(regions[:n_regions], groups[:n_groups])
        if n_groups < len(groups):
            settled.segments.extend(self._sure_cuts(*groups[-1]))
            self._forget(groups[-1, 0])
        else:
            self._forget(nearest - self._pad)
        return settled

    def finish(self) -> Settled:
        """Return what the end of the channel settles."""
        regions = speech_regions(self._probabilities, self._vad)
        return self._settled(regions, groups_of(regions, self._config))

    def unfinished(
        self, probabilities: np.ndarray, levels_db: np.ndarray
    ) -> Span | None:
        """Return the speech that is going on, or is not settled yet.

        Args:
            probabilities: of the frames that are still to be decided, at first sight.
            levels_db: their levels.
        """
        p = np.concatenate([self._probabilities, probabilities])
        regions = speech_regions(p, self._vad)
        if not len(regions):
            return None
        start, end = groups_of(regions, self._config)[-1].tolist()
        if start + self._first < self._cut:
            start = self._cut - self._first
        levels = np.concatenate([self._levels, levels_db])
        if end - start < self._shortest:
            return None
        *_, last = divided_at_pauses(start, end, p, levels, self._config)
        return int(last[0]) + self._first, int(last[1]) + self._first

    def _settled(self, regions: Regions, groups: Regions) -> Settled:
        settled = Settled()
        for start, end in (regions + self._first).tolist():
            if end > self._told:
                settled.regions.append((start, end))
                self._told = end
        for start, end in groups.tolist():
            if end - start < self._shortest:
                if not self._is_long and 2 * (end - start) >= self._shortest:
                    settled.short.append((start + self._first, end + self._first))
                continue
            self._is_long = True
            rest = max(start, self._cut - self._first)
            settled.segments.extend(self._divided(rest, end))
            self._cut = 0
        return settled

    def _sure_cuts(self, start: int, end: int) -> list[Span]:
        """Return segments of speech that goes on at least until `end`."""
        start = max(start, self._cut - self._first)
        found = []
        for segment in self._divided(start, end):
            first = segment[0] - self._first
            if end - first < self._longest + self._shortest:
                break
            found.append(segment)
            self._cut, self._is_long = segment[1], True
        return found

    def _divided(self, start: int, end: int) -> list[Span]:
        cuts = divided_at_pauses(
            start, end, self._probabilities, self._levels, self._config
        )
        return [
            (int(first) + self._first, int(last) + self._first) for first, last in cuts
        ]

    def _nearest_start(self, regions: Regions) -> int:
        """Return the earliest frame at which another region could begin."""
        n = len(self._probabilities)
        on = hysteresis(self._probabilities, self._vad.onset, self._vad.offset)
        nearest = n
        # Bursts at the end may grow into speech, together if close to each other.
        for start, end in spans(on)[::-1].tolist():
            if nearest - end >= self._gap and nearest - end > 0:
                break
            nearest = start
        last = regions[-1, 1] - self._pad if len(regions) else 0
        return max(nearest, last)

    def _forget(self, before: int) -> None:
        """Drop the frames before one, after which nothing depends on them."""
        n = max(0, min(int(before), len(self._probabilities)))
        self._first += n
        self._probabilities = self._probabilities[n:]
        self._levels = self._levels[n:]
