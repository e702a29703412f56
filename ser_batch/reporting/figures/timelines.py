"""The timeline of a call: who spoke when, how it sounded, and its moments, in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from ser_batch.reporting.figures.calls import FAINT
from ser_batch.reporting.figures.sides import side_name
from ser_batch.reporting.figures.turns import TalkOver

NOUNS = {
    "angry": "anger",
    "fearful": "fear",
    "disgust": "disgust",
    "distress": "distress",
}
MOMENTS = 3
"""How many moments are listed for a call."""


class Kind(StrEnum):
    """The kind of a moment."""

    episode = "episode"
    segment = "segment"
    escalation = "escalation"
    silence = "silence"


@dataclass(frozen=True, slots=True)
class Scored:
    """A scored segment.

    `distress` is the probability of any emotion in `DISTRESS`; None if the model has
    none of them.
    """

    start_s: float
    end_s: float
    channel: int
    role: str | None
    label: str | None
    probabilities: tuple[float, ...]
    distress: float | None
    loudest: str | None = None
    """The most probable of the emotions in `DISTRESS`."""
    dimensions: Mapping[str, float] = field(default_factory=dict)
    """Those of arousal, valence and dominance that the model estimates, 0 to 1."""

    @property
    def heard(self) -> str:
        """What was heard, in a few words.

        >>> Scored(0, 1, 0, None, None, (0.2, 0.3), None).heard
        'unsure (30%)'
        >>> Scored(0, 1, 0, None, None, (), None, None, {"arousal": 0.625}).heard
        'arousal 0.62'
        """
        if self.probabilities:
            return f"{self.label or 'unsure'} ({max(self.probabilities):.0%})"
        return ", ".join(f"{name} {at:.2f}" for name, at in self.dimensions.items())


@dataclass(frozen=True, slots=True)
class Episode:
    """Sustained distress, anger or fear; `peak` and `mean` refer to its probability."""

    emotion: str
    start_s: float
    end_s: float
    channel: int
    role: str | None
    peak: float
    mean: float
    scored_s: float


@dataclass(frozen=True, slots=True)
class Moment:
    """A time to listen to, and why. `weight` is in seconds of distress."""

    kind: Kind
    start_s: float
    end_s: float
    channel: int | None
    role: str | None
    label: str | None
    distress: float | None
    weight: float
    reason: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """One recording: its row of `calls`, and its events in order of time."""

    call: dict[str, Any]
    speech: dict[int, list[tuple[float, float]]]
    """Speech regions of each channel."""
    roles: dict[int, str | None]
    segments: list[Scored] = field(repr=False)
    episodes: list[Episode] = field(repr=False)
    talk_overs: list[TalkOver] = field(repr=False)
    silences: list[tuple[float, float]]
    """Silences on all channels of `HOLD_S` or more."""
    level_curves: list[bytes] = field(default_factory=list, repr=False)
    """The level of each channel, as in `speech.regions`; empty if it was not read."""

    def who(self, channel: int | None) -> str:
        """Return the role of a side, or its name if it has none."""
        if channel is None:
            return "nobody"
        return self.roles.get(channel) or side_name(channel)

    def moments(self, n: int = MOMENTS) -> list[Moment]:
        """Return the `n` moments of highest weight.

        Moments are episodes, an escalation, single segments of high distress, and long
        silences. The weight of an episode or segment is its probability of distress
        times its scored length in seconds; that of an escalation is the rise in
        distress times the scored length of the last quarter; that of a silence is a
        twentieth of its length. Segments within an episode, or below `FAINT`, are not
        moments. The episode of highest weight comes first, or if there is none the
        segment of highest weight; this is `peak_at_s` of the call.
        """
        sustained = [e for e in self.episodes if e.emotion == "distress"]
        sounds = [self._of_episode(episode) for episode in sustained]
        sounds += self._of_segments(sustained)
        sounds.sort(key=lambda m: (m.kind is not Kind.episode, -m.weight, m.start_s))
        others = [*sounds[1:], *self._escalation(), *map(_of_silence, self.silences)]
        others.sort(key=lambda m: (-m.weight, m.start_s))
        return [*sounds[:1], *others][:n]

    def _of_segments(self, sustained: Sequence[Episode]) -> list[Moment]:
        found = []
        for s in self.segments:
            inside = any(
                e.channel == s.channel and e.start_s <= s.start_s < e.end_s
                for e in sustained
            )
            if s.distress is not None and s.distress >= FAINT and not inside:
                found.append(
                    Moment(
                        Kind.segment, s.start_s, s.end_s, s.channel, s.role, s.label,
                        s.distress, s.distress * (s.end_s - s.start_s),
                        f"distress {s.distress:.2f}, mostly {NOUNS[s.loudest or '']}",
                    )
                )  # fmt: skip
        return found

    def _of_episode(self, episode: Episode) -> Moment:
        """Return a moment named after the longest anger or fear in it, if any."""
        inside = [
            e
            for e in self.episodes
            if e.emotion != "distress" and e.channel == episode.channel
            and e.start_s < episode.end_s and episode.start_s < e.end_s
        ]  # fmt: skip
        named = max(inside, key=lambda e: e.scored_s, default=episode)
        return Moment(
            Kind.episode, episode.start_s, episode.end_s, episode.channel, episode.role,
            None if named is episode else named.emotion, episode.mean,
            episode.mean * episode.scored_s,
            f"{NOUNS[named.emotion]} for {named.end_s - named.start_s:.0f} s, "
            f"up to {named.peak:.2f}",
        )  # fmt: skip

    def _escalation(self) -> list[Moment]:
        call = self.call
        spoken = [
            t for regions in self.speech.values() for region in regions for t in region
        ]
        last_quarter_s = 0.25 * min(spoken, default=0) + 0.75 * max(spoken, default=0)
        late = [s for s in self.segments if (s.start_s + s.end_s) / 2 >= last_quarter_s]
        if not call["escalated"] or not late:
            return []
        weight = call["q4_scored_s"] * (
            call["q4_distress_s"] / call["q4_scored_s"]
            - call["q1_distress_s"] / call["q1_scored_s"]
        )
        return [
            Moment(
                Kind.escalation, late[0].start_s, late[-1].end_s, late[0].channel,
                late[0].role, None, call["q4_distress_s"] / call["q4_scored_s"], weight,
                change_of_distress(call),
            )
        ]  # fmt: skip


def change_of_distress(call: Mapping[str, Any]) -> str:
    """Describe the change in distress from the first to the last quarter.

    The text includes the seconds of scored speech behind both figures.
    """
    (first, first_s), (last, last_s) = (
        (call[f"q{q}_distress_s"] / call[f"q{q}_scored_s"], call[f"q{q}_scored_s"])
        for q in (1, 4)
    )
    verb = "rises" if last > first else "falls"
    return (
        f"distress {verb} from {first:.2f} ({first_s:.0f} s of speech) "
        f"to {last:.2f} ({last_s:.0f} s)"
    )


def _of_silence(silence: tuple[float, float]) -> Moment:
    start_s, end_s = silence
    reason = f"{end_s - start_s:.0f} s of silence"
    return Moment(
        Kind.silence, start_s, end_s, None, None, None, None,
        (end_s - start_s) / 20, reason,
    )  # fmt: skip
