"""Emotion corpora as lists of clips with labels and speakers. The readers of each are in `readers`.

No label is invented: where a corpus has no word of its own for one (`CALLED`), its clips leave open which of
the two they are.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from ser_batch.errors import CorpusError
from ser_batch.training.sources import SourceFile

LABELS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
"""The common labels: the eight emotions of RAVDESS, in its order."""
CALLED = {"calm": "neutral"}
"""What a corpus that lacks the label on the left calls such speech."""
SYNONYMS = {
    "neutrality": "neutral", "neu": "neutral", "n": "neutral", "calmness": "calm", "cal": "calm",
    "happiness": "happy", "hap": "happy", "joy": "happy", "sadness": "sad", "anger": "angry", "ang": "angry",
    "fear": "fearful", "fea": "fearful", "afraid": "fearful", "disgusted": "disgust", "dis": "disgust",
    "surprise": "surprised", "sur": "surprised", "ps": "surprised", "pleasant_surprise": "surprised",
    "boredom": "bored",
}  # fmt: skip
"""What others call them."""
NOBODY = "unknown"
"""The speaker of clips of which nobody said who speaks."""


@dataclass(frozen=True, slots=True)
class Clip:
    """One labelled file, or the part of it from `start_s` to `end_s`.

    `speaker` is unique across corpora; `sex` is `f`, `m`, or empty where it is not known.
    """

    source: SourceFile
    corpus: str
    speaker: str
    sex: str
    label: str
    start_s: float = 0.0
    end_s: float | None = None

    @property
    def name(self) -> str:
        """What tells it from the other clips of its corpus, wherever the corpus lies."""
        part = "" if self.end_s is None and not self.start_s else f"@{self.start_s:g}-{self.end_s}"
        return self.source.stem + part

    @contextmanager
    def file(self) -> Iterator[Path]:
        """A path at which the clip's file can be read."""
        with self.source.on_disk() as path:
            yield path


def meanings(label: str, labels: Sequence[str]) -> tuple[str, ...]:
    """The common labels that a clip may have, if a corpus that knows `labels` gives it `label`.

    >>> meanings("neutral", ["neutral", "happy"]), meanings("neutral", ["neutral", "calm"])
    (('neutral', 'calm'), ('neutral',))
    """
    return (label, *(lacked for lacked, word in CALLED.items() if word == label and lacked not in labels))


def common_label(text: str) -> str:
    """The common word for a label, or the text itself in lower case.

    >>> common_label("Anger"), common_label("frustrated")
    ('angry', 'frustrated')
    """
    word = text.strip().lower().replace(" ", "_").replace("-", "_")
    return SYNONYMS.get(word, word)


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


def ordered_labels(labels: Iterator[str] | Sequence[str]) -> tuple[str, ...]:
    """Each label once: the common ones in their order, then others by name."""
    present = set(labels)
    return tuple(label for label in LABELS if label in present) + tuple(sorted(present - set(LABELS)))


def with_labels(
    corpora: Sequence[Corpus],
    wanted: Sequence[str] | None,
    mapping: Mapping[str, str],
    known: Sequence[str],
    leave_out: bool = True,
) -> tuple[list[Corpus], tuple[str, ...], list[str]]:
    """The corpora with their labels mapped, the labels of the model, and notes on what is left out.

    `mapping` turns labels into others; into an empty text to leave their clips out. `wanted` are the labels
    of the model: by default the common ones that occur. Clips of other labels are left out with a note if
    `leave_out` and if the label was to be expected: `wanted` is given, or the corpus is one of `known`.

    Raises:
        CorpusError: a label that nobody said what to do with, or no clip is left.
    """
    mapping = {common_label(label): to and common_label(to) for label, to in mapping.items()}
    present = {clip.label for corpus in corpora for clip in corpus.clips}
    strange = set(mapping) - present
    if strange:
        raise CorpusError(f"--map {sorted(strange)[0]}: no clip has that label; there are {', '.join(sorted(present))}")
    mapped, notes = [], []
    for corpus in corpora:
        clips = [replace(clip, label=mapping.get(clip.label, clip.label)) for clip in corpus.clips]
        kept = tuple(clip for clip in clips if clip.label)
        if n := len(corpus.clips) - len(kept):
            notes.append(f"{corpus.title}: {n} clips left out, as --map says")
        mapped.append(replace(corpus, clips=kept, vocabulary=corpus.vocabulary or corpus.labels))
    found = ordered_labels([clip.label for corpus in mapped for clip in corpus.clips])
    labels = tuple(wanted) if wanted else tuple(label for label in found if label in LABELS)
    result = []
    for corpus in mapped:
        others = Counter(clip.label for clip in corpus.clips if clip.label not in labels)
        if others and not (leave_out and (wanted or corpus.name in known)):
            label, n = next(iter(others.items()))
            has = f"; the model has {', '.join(labels)}" if wanted else ""
            raise CorpusError(
                f"{corpus.title}: unknown label {label!r} ({n} clips){has}: say what it means with --map "
                f"{label}=LABEL, leave it out with --map {label}=, or train a model that has it with --labels"
            )
        notes += [
            f"{corpus.title}: {n} clips left out, {label!r} is no label of the model" for label, n in others.items()
        ]
        clips = [clip for clip in corpus.clips if clip.label in labels]
        if clips:
            result.append(replace(corpus, clips=tuple(clips)))
    if not result:
        raise CorpusError(f"no clip is left: the corpora have {', '.join(sorted(present))}")
    return result, labels, notes
