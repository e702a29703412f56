"""The speakers of a recording: its channels, or the voices within a single one."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import soxr

from ser_batch.config.options import Config
from ser_batch.intervals import Interval, total_s
from ser_batch.speech.decoded import Job, Speaker
from ser_batch.speech.diarization import (
    LEAST_TALK_S,
    SAMPLE_RATE,
    Diarizer,
    Read,
    Samples,
    Voices,
)
from ser_batch.speech.regions import Regions, inside, spans
from ser_batch.speech.segments import segment_regions
from ser_batch.speech.vad import FRAME_S

PAUSE_FRAMES = round(0.5 / FRAME_S)
"""Shorter pauses belong to the speaker on both sides of them."""
PAD_FRAMES = round(0.1 / FRAME_S)
"""A speaker's regions are extended by this at both ends."""
CERTAIN = 0.9
"""With roles, segments given to the customer with less certainty are not scored."""
CONFIDENT = 0.84
"""With roles, nobody is scored if voices are told apart with less confidence.

Chosen on the speakers on which the confidence is calibrated: higher limits soon lose
calls that are told apart well, lower ones name single voices more often.
"""
MORE, EARLIER_S = 1.2, 0.5
"""How much more the agent speaks (`most`), or how much earlier or later, at least."""


@dataclass(frozen=True, slots=True)
class Found:
    """The speakers of a recording, with sentences on what is unknown of them."""

    speakers: list[Speaker]
    notes: list[str]
    confidence: float | None = None
    """The expected share of speech given to the right voice of a channel."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What the VAD found in a channel."""

    probabilities: np.ndarray
    levels_db: np.ndarray
    regions: Regions
    duration_s: float

    def segments(
        self, regions: Regions, config: Config, others: Regions | None = None
    ) -> Regions:
        """Return the segments of some of the regions; none contains one of others."""
        return segment_regions(
            regions, self.probabilities, self.levels_db, config.segments, others
        )

    def seconds(self, regions: Regions) -> list[Interval]:
        """Return regions as intervals within the recording."""
        return [
            Interval(start * FRAME_S, min(end * FRAME_S, self.duration_s))
            for start, end in regions.tolist()
            if start * FRAME_S < self.duration_s
        ]


def by_channel(channels: Sequence[Heard], config: Config) -> Found:
    """Return one speaker for each channel."""
    roles, scored, notes = channel_roles(config, len(channels))
    speakers = []
    for number, (own, role, is_scored) in enumerate(
        zip(channels, roles, scored, strict=True)
    ):
        segments = own.segments(own.regions, config) if is_scored else own.regions[:0]
        speech = own.seconds(own.regions)
        speakers.append(Speaker(number, role, speech, own.seconds(segments), is_scored))
    return Found(speakers, notes)


def channel_roles(
    config: Config, n_channels: int
) -> tuple[list[str | None], list[bool], list[str]]:
    """Return each channel's role, whether it is scored, and a note on any mismatch."""
    named, score_agents = config.score.roles, config.score.score_agents
    if not named:
        return [None] * n_channels, [True] * n_channels, []
    if len(named) == n_channels:
        scored = [role != "agent" or score_agents for role in named]
        return list(named), scored, []
    note = (
        f"channels: {n_channels}, roles: {len(named)}; the role of each channel is "
        "unknown"
    )
    if not score_agents:
        note += ", so nothing is scored"
    return [None] * n_channels, [score_agents] * n_channels, [note]


def by_voice(channel: Heard, voices: Voices, config: Config) -> Found:
    """Return one speaker for each voice of a single channel."""
    n_frames = len(voices.certainty) + PAD_FRAMES
    heard = [
        inside(own, n_frames) | inside(behind, n_frames)
        for own, behind in zip(voices.regions, voices.behind, strict=True)
    ]
    talk = [channel.seconds(spans(own)) for own in heard]
    roles, notes = _voice_roles(talk, voices.confidence, config)
    named, score_agents = config.score.roles, config.score.score_agents
    speakers = []
    *turns, unclear = turns_of(voices)
    both = inside(voices.overlap, n_frames)
    found = zip(voices.regions, turns, voices.behind, roles, strict=True)
    for number, (regions, turn, behind, role) in enumerate(found):
        is_scored = score_agents or role == "customer" or not named
        segments = regions[:0]
        if is_scored:
            alone = spans(inside(regions, n_frames) & ~both)
            groups = enumerate([*voices.regions, voices.unclear])
            others = [own for k, own in groups if k != number]
            others_ = np.concatenate([*others, voices.overlap])
            segments = channel.segments(alone, config, others_)
            if "agent" in roles and not score_agents:
                segments = _certain(segments, alone, voices)
        spoken = inside(turn, n_frames) | inside(behind, n_frames)
        speakers.append(
            Speaker(
                0,
                role,
                channel.seconds(spans(spoken)),
                channel.seconds(segments),
                is_scored,
                number,
                channel.seconds(spans(spoken & both)),
            )
        )
    if len(unclear):
        speakers.append(Speaker(0, None, channel.seconds(unclear)))
    several = len(voices.regions) > 1
    return Found(speakers, notes, voices.confidence if several else None)


def _voice_roles(
    talk: Sequence[Sequence[Interval]], confidence: float, config: Config
) -> tuple[list[str | None], list[str]]:
    """Return the role of each voice, and how it was found or why it was not."""
    unknown: list[str | None] = [None] * len(talk)
    named, rule = config.score.roles, config.speakers.agent_is
    if not named or not talk:
        return unknown, []
    if len(named) == 1:
        return [named[0]] * len(talk), []
    left_out = "" if config.score.score_agents else ", so nothing is scored"
    if rule is None:
        hint = "the agent is unknown (--agent-is first, last or most)"
        return unknown, [f"voices: {len(talk)}; {hint}{left_out}"]
    if len(talk) != 2:
        return unknown, [
            f"voices: {len(talk)}; --agent-is decides between two{left_out}"
        ]
    if min(map(total_s, talk)) < LEAST_TALK_S:
        return unknown, [
            f"one of the two voices speaks less than {LEAST_TALK_S:.0f} s, and may be "
            f"the same person{left_out}"
        ]
    if confidence < CONFIDENT:
        return unknown, [f"the two voices are hard to tell apart{left_out}"]
    agent = _agent(talk, rule)
    if agent is None:
        return unknown, [f"--agent-is {rule} cannot decide: too close{left_out}"]
    roles: list[str | None] = ["customer", "customer"]
    roles[agent] = "agent"
    return roles, [f"the agent is the voice that speaks {rule}"]


def _agent(talk: Sequence[Sequence[Interval]], rule: str) -> int | None:
    """Return which of two voices is the agent's; None if it is too close to call."""
    if rule == "most":
        less, more = sorted((total_s(own), number) for number, own in enumerate(talk))
        return more[1] if more[0] >= MORE * less[0] else None
    # How early the voice begins, or how late it ends.
    early = [-own[0].start_s if rule == "first" else own[-1].end_s for own in talk]
    if abs(early[0] - early[1]) < EARLIER_S:
        return None
    return int(early[1] > early[0])


def turns_of(voices: Voices) -> list[Regions]:
    """Return the speech of each voice as a listener would mark it.

    Short pauses of a voice belong to it, as do the soft beginnings and ends of speech,
    which the VAD cuts off; neither beyond half of the gap to another voice.
    """
    n = len(voices.certainty) + PAD_FRAMES
    owner = np.full(n, -1)
    groups = [*voices.regions, voices.unclear]
    regions = sorted(
        (start, end, k) for k, own in enumerate(groups) for start, end in own.tolist()
    )
    for start, end, k in regions:
        owner[start:end] = k
    outside = (-PAD_FRAMES - 1, -PAD_FRAMES, -1), (n + PAD_FRAMES, n, -1)
    for before, after in pairwise([outside[0], *regions, outside[1]]):
        (_, end, k), (start, _, other) = before, after
        if k == other and start - end <= PAUSE_FRAMES:
            owner[end:start] = k
            continue
        reach = min(PAD_FRAMES, (start - end) // 2)
        added = (k, end, end + reach), (other, start - reach, start)
        for voice, first, last in added:
            if 0 <= voice < len(voices.regions):
                owner[max(first, 0) : last] = voice
    return [spans(owner == k) for k in range(len(groups))]


def _certain(segments: Regions, regions: Regions, voices: Voices) -> Regions:
    """Return the segments whose speech has the right voice for certain."""
    own = inside(regions, len(voices.certainty))
    sure = [
        voices.certainty[start:end][own[start:end]].mean() for start, end in segments
    ]
    return segments[np.array(sure, float) >= CERTAIN]


def _reader(job: Job, recording_id: str) -> Read:
    """Return a function that reads the first channel at `SAMPLE_RATE`."""

    def read(start: int, n: int) -> Samples:
        rate = job.sample_rate
        if rate == SAMPLE_RATE:
            return job.waveforms.read(recording_id, 0, start, n)
        at, end = (round(i * rate / SAMPLE_RATE) for i in (start, start + n))
        own = job.waveforms.read(recording_id, 0, at, end - at)
        resampled = soxr.resample(own, rate, SAMPLE_RATE).astype(np.float32)
        return np.pad(resampled, (0, max(0, n - len(resampled))))[:n]

    return read


def tell_apart(
    channel: Heard, job: Job, recording_id: str, diarizer: Diarizer
) -> Found:
    """Return the speakers within a single channel, whose waveform is kept."""
    if not len(channel.regions):
        return Found([Speaker(0, None, [])], [])
    least, most = job.config.speakers.range_for(job.config.score.roles)
    read = _reader(job, recording_id)
    voices = diarizer.voices(read, channel.regions, least, most)
    return by_voice(channel, voices, job.config)
