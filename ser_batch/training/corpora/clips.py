"""Emotion corpora as lists of clips with labels and speakers."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ser_batch.training.corpora.files import CorpusFile
from ser_batch.training.corpora.labels import ordered_labels

NOBODY = "unknown"
"""The speaker of clips of which nobody said who speaks."""


@dataclass(frozen=True, slots=True)
class Clip:
    """One labelled file, or the part of it from `start_s` to `end_s`.

    `speaker` is unique across corpora; `sex` is `f`, `m`, or empty where it is not known.
    """

    source: CorpusFile
    corpus: str
    speaker: str
    sex: str
    label: str
    start_s: float = 0.0
    end_s: float | None = None
    key: str = ""
    """Its name in its corpus, where that of its file is not enough."""

    @property
    def name(self) -> str:
        """What tells it from the other clips of its corpus, wherever the corpus lies."""
        part = (
            ""
            if self.end_s is None and not self.start_s
            else f"@{self.start_s:g}-{self.end_s}"
        )
        return (self.key or self.source.stem) + part

    @contextmanager
    def file(self) -> Iterator[Path]:
        """A path at which the clip's file can be read."""
        with self.source.on_disk() as path:
            yield path


@dataclass(frozen=True, slots=True)
class Corpus:
    """Clips of one corpus, and what its reader found beside them."""

    name: str
    title: str
    licence: str
    clips: tuple[Clip, ...]
    folds: tuple[frozenset[str], ...] = ()
    """Published groups of speakers, where there are any."""
    n_published: int | None = None
    """How many clips the publisher's whole corpus has."""
    missing: tuple[str, ...] = ()
    """Names of clips that should be here and are not, where names can be foretold."""
    repeated: tuple[str, ...] = ()
    """Files that hold a clip once more; the first is taken."""
    foreign: tuple[str, ...] = ()
    """Audio files that are no clips of this corpus."""
    vocabulary: tuple[str, ...] = ()
    """The labels that its publisher uses, where some of them have been left out since."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that occur: the common ones in their order, then others by name."""
        return ordered_labels(clip.label for clip in self.clips)

    @property
    def speakers(self) -> tuple[str, ...]:
        return tuple(sorted({clip.speaker for clip in self.clips}))


def is_nobody(speaker: str) -> bool:
    """Whether nobody said who that is."""
    return speaker.endswith(f"/{NOBODY}")
