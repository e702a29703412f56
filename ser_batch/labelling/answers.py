"""What labellers answer: one file each, appended to and never rewritten.

Every answer is on disk before the next clip plays. A line that a crash cut off is
ignored.
"""

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from ser_batch.errors import UsageError
from ser_batch.labelling.folder import ANSWERS, unwritable
from ser_batch.storage.local import sync_folder

NAME = re.compile(r"[^/\\\0\n.][^/\\\0\n]*")
MOST_BYTES = 100
LEVELS = range(-2, 3)
"""Of arousal and valence."""


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a labeller answered to a clip; the last answer to a clip counts.

    A clip that is skipped has neither a label nor `unusable`.
    """

    clip: str
    label: str | None = None
    arousal: int | None = None
    """-2 (calm) to 2 (excited)."""
    valence: int | None = None
    """-2 (unpleasant) to 2 (pleasant)."""
    unusable: bool = False
    """No speech, two voices, or otherwise not to be used."""
    undone: bool = False
    """The answer before is taken back."""
    at: str = ""
    """When, in UTC (ISO 8601)."""


@dataclass(frozen=True)
class AnswerFile:
    """The answers of one labeller."""

    labeller: str
    path: Path

    def read(self) -> dict[str, Answer]:
        """Return the answers that count, by clip, in the order of answering.

        Raises:
            UsageError: a line is not an answer.
        """
        answers: dict[str, Answer] = {}
        for number, line in enumerate(self._lines(), 1):
            try:
                answer = msgspec.json.decode(line, type=Answer)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise UsageError(
                    f"{self.path}, line {number}: not an answer ({error}); remove the "
                    "line",
                    path=self.path,
                ) from error
            answers.pop(answer.clip, None)
            if not answer.undone:
                answers[answer.clip] = answer
        return answers

    def append(self, answers: Sequence[Answer]) -> None:
        """Write answers to disk; they are there when this returns.

        Raises:
            UsageError: the file cannot be written.
        """
        now = datetime.now(UTC).isoformat(timespec="seconds")
        lines = b"".join(
            msgspec.json.encode(msgspec.structs.replace(answer, at=answer.at or now))
            + b"\n"
            for answer in answers
        )
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                start = file.tell()
                if start and not self.path.read_bytes().endswith(b"\n"):
                    lines = b"\n" + lines  # a crash cut the last line off
                try:
                    file.write(lines)
                    file.flush()
                    os.fsync(file.fileno())
                except OSError:
                    os.ftruncate(file.fileno(), start)
                    raise
            sync_folder(self.path.parent)
        except OSError as error:
            raise unwritable(self.path, error) from error

    def _lines(self) -> Iterator[bytes]:
        """Yield the lines; one that a crash cut off is left out."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return
        except OSError as error:
            raise UsageError(
                f"{self.path}: cannot be read: {error.strerror}", path=self.path
            ) from error
        for line in data.splitlines(keepends=True):
            if line.strip() and not _is_cut_off(line):
                yield line


def _is_cut_off(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return not line.rstrip().endswith(b"}")
    return False


def answer_file(folder: Path, labeller: str) -> AnswerFile:
    """Return the answers of a labeller.

    Raises:
        UsageError: the name cannot be part of a file name.
    """
    if not NAME.fullmatch(labeller) or len(os.fsencode(labeller)) > MOST_BYTES:
        raise UsageError(
            f"--labeller {labeller!r}: a name has up to {MOST_BYTES} bytes, no slash, "
            "and does not begin with a dot",
            option="--labeller",
        )
    return AnswerFile(labeller, folder / ANSWERS / f"{labeller}.jsonl")


def answer_files(folder: Path) -> list[AnswerFile]:
    """Return the answers of all labellers, in the order of their names."""
    return [
        AnswerFile(path.stem, path)
        for path in sorted((folder / ANSWERS).glob("*.jsonl"))
    ]
