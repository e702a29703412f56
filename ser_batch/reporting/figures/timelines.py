"""A call as it went: who spoke when, how it sounded, and what is worth listening to, in words."""

from dataclasses import dataclass, field
from typing import Any

from ser_batch.reporting.figures.turns import TalkOver

FAINT = 0.25
"""A probability of distress that is not worth listening to."""
MOMENTS = 3
"""How many moments a call is listed with."""


@dataclass(frozen=True, slots=True)
class Scored:
    """A scored segment. `distress` is the probability of any emotion in `DISTRESS`; None where the model has none."""

    start_s: float
    end_s: float
    channel: int
    role: str | None
    label: str | None
    probabilities: tuple[float, ...]
    distress: float | None


@dataclass(frozen=True, slots=True)
class Episode:
    """Sustained distress, anger or fear; `peak` and `mean` are of its probability."""

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
    """A time worth listening to, and why. `weight` is in seconds of distress."""

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
    """One recording: its row of `calls`, and all that happens in it, in the order of time."""

    call: dict[str, Any]
    speech: dict[int, list[tuple[float, float]]]
    """Regions of each channel."""
    roles: dict[int, str | None]
    segments: list[Scored] = field(repr=False)
    episodes: list[Episode] = field(repr=False)
    talk_overs: list[TalkOver] = field(repr=False)
    silences: list[tuple[float, float]]
    """Those of `HOLD_S` or more in which nobody speaks."""

    def who(self, channel: int | None) -> str:
        """A channel's role, or its number where it has none."""
        if channel is None:
            return "nobody"
        return self.roles.get(channel) or f"channel {channel}"

    def moments(self, n: int = MOMENTS) -> list[Moment]:
        """The `n` moments of most weight: episodes, an escalation, single strong segments, long silences.

        The weight of what sounds is its probability of distress times its scored length, in seconds; that of an
        escalation is the rise of distress times the scored length of the last quarter; a silence weighs a
        twentieth of its length. A segment within an episode is no moment of its own, and one below `FAINT` is none at
        all, but for the strongest of a call in which there is nothing else.
        """
        sustained = [e for e in self.episodes if e.emotion == "distress"]
        found = [self._of_episode(episode) for episode in sustained]
        found += self._escalation()
        for s in self.segments:
            inside = any(
                e.channel == s.channel and e.start_s <= s.start_s < e.end_s
                for e in sustained
            )
            if s.distress is not None and not inside:
                weight = s.distress * (s.end_s - s.start_s)
                reason = (
                    f"{s.label or 'unsure of the emotion'}, distress {s.distress:.2f}"
                )
                found.append(
                    Moment(
                        s.start_s,
                        s.end_s,
                        s.channel,
                        s.role,
                        s.label,
                        s.distress,
                        weight,
                        reason,
                    )
                )
        for start_s, end_s in self.silences:
            length_s = end_s - start_s
            reason = f"{length_s:.0f} s in which nobody speaks"
            found.append(
                Moment(start_s, end_s, None, None, None, None, length_s / 20, reason)
            )
        found.sort(key=lambda m: (-m.weight, m.start_s))
        loud = [m for m in found if m.distress is None or m.distress >= FAINT]
        return loud[:n] or found[:1]

    def _of_episode(self, episode: Episode) -> Moment:
        """Named after the anger or fear in it that lasts longest, if there is any."""
        inside = [
            e
            for e in self.episodes
            if e.emotion != "distress" and e.channel == episode.channel
            and e.start_s < episode.end_s and episode.start_s < e.end_s
        ]  # fmt: skip
        named = max(inside, key=lambda e: e.scored_s, default=episode)
        name = {"angry": "anger", "fearful": "fear"}.get(named.emotion, "distress")
        return Moment(
            episode.start_s, episode.end_s, episode.channel, episode.role, None if named is episode else named.emotion,
            episode.mean, episode.mean * episode.scored_s,
            f"{name} for {named.end_s - named.start_s:.0f} s, up to {named.peak:.2f}",
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
        first, last = (
            call[f"q{q}_distress_s"] / call[f"q{q}_scored_s"] for q in (1, 4)
        )
        weight, reason = (
            (last - first) * call["q4_scored_s"],
            f"begins calm and ends in distress: {first:.2f} to {last:.2f}",
        )
        return [
            Moment(
                late[0].start_s,
                late[-1].end_s,
                late[0].channel,
                late[0].role,
                None,
                last,
                weight,
                reason,
            )
        ]
