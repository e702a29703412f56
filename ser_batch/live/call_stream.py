"""One call that is going on: packets in, events out, and at the end the batch's rows.

stream = CallStream(scorer, config, sample_rate=8000, channels=2)
for event in stream.feed(channel, samples): ...
for event in stream.finish(): ...
analysis = stream.state.analysis(recording, stamp)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain

import numpy as np

from ser_batch.audio.opening import MAX_CHANNELS, MAX_SAMPLE_RATE, MIN_SAMPLE_RATE
from ser_batch.config.options import Config
from ser_batch.emotion.analysis import Analysis, ScoredSegment, scored_segment
from ser_batch.emotion.pending import PendingSegment
from ser_batch.emotion.scorer import ScoredBatch, Scorer
from ser_batch.errors import UsageError
from ser_batch.intervals import Interval
from ser_batch.live.call_audio import CallAudio, Kind, Piece, Samples
from ser_batch.live.events import (
    CallEnded,
    Event,
    SpeechHeard,
    segment_event,
)
from ser_batch.live.growing_speech import Span
from ser_batch.sources.source import Recording, Stamp
from ser_batch.speech.decoded import Decoded, Speaker
from ser_batch.speech.listening import SAME_NOTE
from ser_batch.speech.speakers import channel_roles
from ser_batch.speech.vad import Vad

ALONE = -1
"""The first channel, taken for the only one; see `CallState`."""
VOICES_NOTE = "the voices of one channel are not told apart while a call goes on"


@dataclass(frozen=True, slots=True)
class Due:
    """A piece that is to be scored, under a role."""

    piece: Piece
    track: int
    """Its channel, or `ALONE`."""
    role: str | None


@dataclass(frozen=True, slots=True)
class Scores:
    """What a model says of a piece."""

    probabilities: np.ndarray
    level_dbfs: float
    values: dict[str, float]


class CallState:
    """A call without its model: what is to be scored next, and what is known so far.

    Channels that are all the same are one, as in the batch: a mono call that comes in
    stereo. Until they differ clearly, nothing is told of them, and the first is also
    scored as if it were alone. (Channels that differ at first, and are then the same
    with ten thousand times the energy, are one for the batch, and two here.)
    """

    def __init__(
        self, vad: Vad, scorer: Scorer, config: Config, sample_rate: int, channels: int
    ) -> None:
        """See `CallStream`."""
        check_is_live(scorer, config, sample_rate, channels)
        n = 1 if config.audio.mix else channels
        self._config, self._scorer, self._n = config, scorer, n
        self.roles, self._kept, self._notes = channel_roles(config, n)
        alone_roles, alone_kept, self._alone_notes = channel_roles(config, 1)
        self._alone_role, self._alone_kept = alone_roles[0], alone_kept[0]
        kept = [*self._kept]
        kept[0] = kept[0] or (n > 1 and self._alone_kept)
        self.audio = CallAudio(
            vad, config, sample_rate, scorer.sample_rate,
            kept * channels if config.audio.mix else kept,
        )  # fmt: skip
        self._sample_rate, self._file_channels = sample_rate, channels
        self._regions: list[list[Interval]] = [[] for _ in range(n)]
        tracks = (*range(n), ALONE)
        self._scored: dict[int, list[ScoredSegment]] = {own: [] for own in tracks}
        self._short: dict[int, list[tuple[Span, ScoredSegment]]] = {
            own: [] for own in tracks
        }
        self._held: list[Event] = []
        self._differs = n == 1
        self._more_notes: list[str] = []
        self._has_voices = config.speakers.range_for(config.score.roles)[1] > 1
        self._has_ended = False

    def feed(self, channel: int, samples: Samples) -> tuple[list[Event], list[Due]]:
        """Add samples; return what can be told at once, and what is to be scored.

        Raises:
            ValueError: there is no such channel, or the call has ended.
        """
        if self._has_ended or not 0 <= channel < self._file_channels:
            raise ValueError(f"no channel {channel}, or the call has ended")
        return self._taken(self.audio.feed(channel, samples))

    def last(self) -> tuple[list[Event], list[Due]]:
        """Return the same for the end of the call; `end` follows the scores.

        Raises:
            ValueError: the call has ended.
        """
        if self._has_ended:
            raise ValueError("the call has ended")
        self._has_ended = True
        return self._taken(self.audio.finish())

    def add(self, due: Due, scores: Scores) -> list[Event]:
        """Add the scores of a piece; return what can be told of it."""
        piece = due.piece
        segment = self._segment(due, scores)
        if piece.kind is Kind.UNFINISHED:
            return [segment_event(segment, is_final=False)]
        if piece.kind is Kind.SHORT:
            self._short[due.track].append((piece.span, segment))
            return []
        self._scored[due.track].append(segment)
        if due.track == ALONE:
            return []
        return self._told([segment_event(segment, is_final=True)])

    def end(self) -> list[Event]:
        """Return what only the end decides, after all scores were added."""
        late: list[ScoredSegment] = []
        for track, own in self._scored.items():
            if not own:
                own += _longest(self._short[track])
                late += own if track != ALONE else []
        events, self._held = self._held, []
        if self._is_same:
            late, role = self._scored[ALONE], self._alone_role
            regions = self._regions[0]
            events = [SpeechHeard(0, role, r.start_s, r.end_s) for r in regions]
        events += [segment_event(own, is_final=True) for own in late]
        return [
            *events,
            CallEnded(self.audio.duration_s, len(self.segments()), tuple(self.notes())),
        ]

    def speakers(self) -> list[Speaker]:
        """Return one speaker for each channel, with what is settled of it."""
        if self._is_same:
            own = [own.interval for own in self._scored[ALONE]]
            regions = self._regions[0]
            return [Speaker(0, self._alone_role, regions, own, self._alone_kept)]
        return [
            Speaker(
                number,
                self.roles[number],
                self._regions[number],
                [own.interval for own in self._scored[number]],
                self._kept[number],
            )
            for number in range(self._n)
        ]

    def segments(self) -> list[ScoredSegment]:
        """Return all final segments, in the order of the table."""
        tracks = [ALONE] if self._is_same else range(self._n)
        found = chain.from_iterable(self._scored[track] for track in tracks)
        return sorted(found, key=lambda own: (own.interval, own.channel))

    def notes(self) -> list[str]:
        """Return what is to be said about the call."""
        own = self._notes
        if self._is_same:
            own = [*self._alone_notes, SAME_NOTE.format(self._file_channels)]
            if self._has_voices:
                own.append(VOICES_NOTE)
        return [*own, *self._more_notes, *self.audio.notes]

    def note(self, text: str) -> None:
        """Add what is to be said about the call."""
        self._more_notes.append(text)

    def analysis(
        self,
        recording: Recording,
        stamp: Stamp,
        content_hash: str = "",
        codec: str = "",
    ) -> Analysis:
        """Return the call as the batch would have analysed its recording."""
        curves = self.audio.level_curves
        decoded = Decoded(
            recording,
            stamp,
            content_hash,
            codec,
            self._sample_rate,
            self._file_channels,
            self.audio.duration_s,
            self.speakers(),
            self.notes(),
            curves[:1] if self._is_same else curves,
        )
        return Analysis(decoded, self.segments())

    @property
    def _is_same(self) -> bool:
        return self.audio.is_same

    def _taken(self, pieces: Sequence[Piece]) -> tuple[list[Event], list[Due]]:
        events: list[Event] = []
        due: list[Due] = []
        if any(piece.kind is Kind.REGION for piece in pieces):
            # Not before there is speech: silence differs by any noise.
            self._differs = self._differs or self.audio.differs_clearly
        for piece in pieces:
            channel = piece.channel
            if piece.kind is Kind.REGION:
                region = piece.interval(self.audio.duration_s)
                self._regions[channel].append(region)
                role = self.roles[channel]
                heard = SpeechHeard(channel, role, region.start_s, region.end_s)
                events += self._told([heard])
                continue
            is_settled = piece.kind is not Kind.UNFINISHED
            if self._kept[channel] and (is_settled or self._differs):
                due.append(Due(piece, channel, self.roles[channel]))
            may_be_alone = channel == 0 and self._alone_kept and not self._differs
            if may_be_alone and is_settled:
                due.append(Due(piece, ALONE, self._alone_role))
        return events, due

    def _told(self, events: list[Event]) -> list[Event]:
        """Return events, after those that were held back; none if they are still."""
        if not self._differs:
            self._held += events
            return []
        held, self._held = self._held, []
        return [*held, *events]

    def _segment(self, due: Due, scores: Scores) -> ScoredSegment:
        if not np.isfinite([*scores.probabilities, *scores.values.values()]).all():
            raise ArithmeticError("the model returns values that are not finite")
        return scored_segment(
            due.piece.interval(self.audio.duration_s),
            Speaker(due.piece.channel, due.role, []),
            self._scorer,
            self._config.score.abstain_below,
            scores.probabilities,
            scores.level_dbfs,
            scores.values,
        )


class CallStream:
    """A call and its model: scores are computed as soon as they are due."""

    def __init__(
        self,
        scorer: Scorer,
        config: Config,
        *,
        sample_rate: int,
        channels: int,
        vad: Vad | None = None,
    ) -> None:
        """Begin a call; its profile is that of the scorer.

        Args:
            scorer: a loaded model, with a profile or without.
            config: the options; roles name the channels.
            sample_rate: of the samples, in Hz.
            channels: how many there are.
            vad: a loaded detector; None to load the one in the configuration.

        Raises:
            UsageError: the whole call would be needed, because the model normalises by
                the channel, or voices within one channel have to be told apart.
        """
        if vad is None:
            from ser_batch.speech.loading import load_vad

            vad = load_vad(config.vad)
        self._scorer = scorer
        self.state = CallState(vad, scorer, config, sample_rate, channels)

    def feed(self, channel: int, samples: Samples) -> list[Event]:
        """Add samples of a channel, with full scale at 1.0; return what is new.

        Channels may come one after the other, in packets of any length.

        Raises:
            ValueError: there is no such channel, the samples are not one channel of
                floats, or the call has ended.
        """
        return self._scored(*self.state.feed(channel, samples))

    def finish(self) -> list[Event]:
        """End the call; return what is left to tell, `CallEnded` last.

        Raises:
            ValueError: the call has ended.
        """
        return [*self._scored(*self.state.last()), *self.state.end()]

    def _scored(self, events: list[Event], due: list[Due]) -> list[Event]:
        for own, scores in zip(due, score(self._scorer, due), strict=True):
            events += self.state.add(own, scores)
        return events


def score(scorer: Scorer, due: Sequence[Due]) -> list[Scores]:
    """Return the scores of pieces, in their order, in one batch.

    Raises:
        Exception: whatever the model raises for one of them.
    """
    if not due:
        return []
    segments = []
    for number, own in enumerate(due):
        waveform = own.piece.waveform
        assert waveform is not None
        read = partial(np.asarray, waveform)
        pending = PendingSegment(number, len(waveform), read)
        segments += scorer.with_context([pending], own.role)
    found: dict[int, Scores] = {}
    for batch in scorer.score(segments, len(segments)):
        if not isinstance(batch, ScoredBatch):
            continue
        for error in batch.errors.values():
            raise error
        for row, key in enumerate(batch.keys):
            values = {name: float(own[row]) for name, own in batch.values.items()}
            level = float(batch.levels_dbfs[row])
            found[key] = Scores(batch.probabilities[row], level, values)
    return [found[number] for number in range(len(due))]


def _longest(short: Sequence[tuple[Span, ScoredSegment]]) -> list[ScoredSegment]:
    """Return the longest of pieces that are scored only if there is no other."""
    longest = max((end - start for (start, end), _ in short), default=0)
    return [own for (start, end), own in short if end - start == longest]


def check_is_live(
    scorer: Scorer, config: Config, sample_rate: int, channels: int
) -> None:
    """Check that calls of a kind can be followed; see `CallStream`.

    Raises:
        UsageError: they cannot.
    """
    if not MIN_SAMPLE_RATE <= sample_rate <= MAX_SAMPLE_RATE:
        raise UsageError(
            f"a sample rate of {sample_rate} Hz; {MIN_SAMPLE_RATE} to "
            f"{MAX_SAMPLE_RATE} Hz are supported"
        )
    if not 1 <= channels <= MAX_CHANNELS:
        raise UsageError(f"{channels} channels; 1 to {MAX_CHANNELS} are supported")
    if scorer.needs_channel:
        raise UsageError(
            f"model {scorer.model_id} normalises by the speech of the whole channel, "
            "and cannot score a call that goes on: choose another, such as telephone",
            option="--bundle",
        )
    _, most = config.speakers.range_for(config.score.roles)
    if (channels == 1 or config.audio.mix) and most > 1:
        raise UsageError(
            "voices within one channel cannot be told apart while a call goes on: that "
            "needs the whole call. Record a channel for each side; or name one role or "
            "none, and no speakers.count",
            option="speakers.count",
        )
