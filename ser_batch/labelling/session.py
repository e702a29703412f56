"""One labeller's way through the clips of a folder, without a browser."""

import time
from collections import deque
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from ser_batch.labelling.answers import LEVELS, Answer, AnswerFile, answer_file
from ser_batch.labelling.folder import Labelling

RECENT = 20
"""The rate is that of this many answers."""
PAUSE_S = 120.0
"""Longer pauses do not count."""


@dataclass
class Session:
    """What is to be labelled next, and what has been answered.

    Answers are on disk when `answer` and `undo` return. What was answered before is
    taken up where it stopped.
    """

    labelling: Labelling
    labeller: str
    dimensions: bool = False
    """Whether arousal and valence are asked for, too."""
    _file: AnswerFile = field(init=False)
    _answers: dict[str, Answer] = field(init=False)
    _times: deque[float] = field(init=False)

    def __post_init__(self) -> None:
        self._file = answer_file(self.labelling.folder, self.labeller)
        self._answers = self._file.read()
        self._times = deque(maxlen=RECENT)

    def state(self) -> dict[str, Any]:
        """Return what the page shows, as plain values.

        `clip` is null at the end. No prediction of the model is among them, since it
        would lead.
        """
        clips = list(self.labelling.segments["clip"])
        left = [clip for clip in clips if clip not in self._answers]
        last = next(reversed(self._answers), None)
        return {
            "clip": left[0] if left else None,
            "next": left[1] if len(left) > 1 else None,
            "done": len(clips) - len(left),
            "total": len(clips),
            "labels": list(self.labelling.record.labels),
            "dimensions": self.dimensions,
            "per_hour": self._per_hour(),
            "last": last and self._in_words(self._answers[last]),
            "labeller": self.labeller,
        }

    def answer(self, answer: Answer) -> None:
        """Keep an answer.

        Raises:
            ValueError: it is not one to a clip of this folder.
            UsageError: it cannot be written.
        """
        record = self.labelling.record
        if answer.clip not in set(self.labelling.segments["clip"]):
            raise ValueError(f"no such clip: {answer.clip}")
        if answer.label is not None and answer.label not in record.labels:
            raise ValueError(f"no such label: {answer.label}")
        if any(
            level is not None and level not in LEVELS
            for level in (answer.arousal, answer.valence)
        ):
            raise ValueError("arousal and valence are from -2 to 2")
        self._file.append([answer])
        self._answers.pop(answer.clip, None)
        self._answers[answer.clip] = answer
        self._times.append(time.monotonic())

    def undo(self) -> None:
        """Take the last answer back; its clip is next.

        Raises:
            UsageError: it cannot be written.
        """
        if self._answers:
            last = next(reversed(self._answers))
            self._file.append([Answer(last, undone=True)])
            del self._answers[last]
            if self._times:
                self._times.pop()

    def _per_hour(self) -> int | None:
        gaps = [b - a for a, b in pairwise(self._times) if b - a < PAUSE_S]
        return round(3600 * len(gaps) / sum(gaps)) if len(gaps) > 2 else None

    @staticmethod
    def _in_words(answer: Answer) -> str:
        if answer.unusable:
            return "not to be used"
        return answer.label or "skipped"
