"""Emotion corpora as lists of clips with labels and speakers."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ser_batch.training.corpora.files import CorpusFile
from ser_batch.training.corpora.labels import ordered_labels

UNKNOWN_SPEAKER = "unknown"
"""The speaker of clips whose speaker is unknown."""


@dataclass(frozen=True, slots=True)
class Clip:
    """One labelled file, or the part of it from `start_s` to `end_s`.

    `speaker` is unique across corpora; `sex` is `f`, `m`, or empty if unknown.
    """

    source: CorpusFile
    corpus: str
    speaker: str
    sex: str
    label: str
    start_s: float = 0.0
    end_s: float | None = None
    key: str = ""
    """Identifies the clip within its corpus where the file name is not unique."""

    @property
    def name(self) -> str:
        """Unique name within the corpus, independent of where the corpus is stored."""
        part = (
            ""
            if self.end_s is None and not self.start_s
            else f"@{self.start_s:g}-{self.end_s}"
        )
        return (self.key or self.source.stem) + part

    @contextmanager
    def file(self) -> Iterator[Path]:
        """Provide a path from which the clip's file can be read."""
        with self.source.on_disk() as path:
            yield path


@dataclass(frozen=True, slots=True)
class Corpus:
    """The clips of one corpus, and what else its reader found."""

    name: str
    title: str
    licence: str
    clips: tuple[Clip, ...]
    folds: tuple[frozenset[str], ...] = ()
    """The published cross-validation folds, as groups of speakers, if there are any."""
    n_published: int | None = None
    """Number of clips in the complete corpus as published."""
    missing: tuple[str, ...] = ()
    """Names of expected clips that were not found, where the names are predictable."""
    repeated: tuple[str, ...] = ()
    """Files that duplicate a clip; the first copy is used."""
    foreign: tuple[str, ...] = ()
    """Audio files that are not clips of this corpus."""
    vocabulary: tuple[str, ...] = ()
    """The publisher's labels, where some have since been excluded."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels that occur: common ones in their usual order, then others by name."""
        return ordered_labels(clip.label for clip in self.clips)

    @property
    def speakers(self) -> tuple[str, ...]:
        """Names of the speakers, sorted."""
        return tuple(sorted({clip.speaker for clip in self.clips}))


def is_unknown_speaker(speaker: str) -> bool:
    """Return whether a speaker name stands for an unknown speaker."""
    return speaker.endswith(f"/{UNKNOWN_SPEAKER}")
