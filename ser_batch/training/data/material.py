"""Loading of corpora for training and evaluation: labels, utterances and notes."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ser_batch.errors import CorpusError
from ser_batch.training.corpora.clips import Clip, Corpus
from ser_batch.training.corpora.readers import PUBLISHED, read_corpora
from ser_batch.training.corpora.relabelling import with_labels
from ser_batch.training.data.augmentation import AugmentationConfig
from ser_batch.training.data.batches import SimulatedCalls
from ser_batch.training.data.utterances import (
    Utterance,
    fingerprint,
    load_noises,
    load_utterances,
    right_labels,
)


@dataclass(frozen=True, slots=True)
class Material:
    """All data for training and testing, decoded once."""

    corpora: list[Corpus]
    labels: tuple[str, ...]
    utterances: dict[Clip, Utterance]
    noises: list[np.ndarray]
    notes: list[str]
    """Sentences on excluded clips and oddities in the data."""

    def of(self, clips: Sequence[Clip]) -> list[Utterance]:
        """Return the utterances of clips."""
        return [self.utterances[clip] for clip in clips]

    def truth(self, clips: Sequence[Clip]) -> tuple[np.ndarray, np.ndarray]:
        """Return the labels of clips; see `right_labels`."""
        return right_labels(
            clips, self.labels, {c.name: c.vocabulary or c.labels for c in self.corpora}
        )

    def calls(
        self, clips: Sequence[Clip], augmentation: AugmentationConfig, sample_rate: int
    ) -> SimulatedCalls:
        """Return the clips as a data set that augments them on the fly."""
        return SimulatedCalls(
            self.of(clips),
            self.truth(clips)[1],
            augmentation,
            sample_rate,
            self.noises,
        )

    def fingerprints(self, clips: Sequence[Clip]) -> dict[str, str]:
        """Return hashes of the given clips and of the noise recordings."""
        noise = hashlib.sha256(
            b"".join(wave.tobytes() for wave in self.noises)
        ).hexdigest()
        return {"clips": fingerprint(self.of(clips)), "noise": noise}


def prepare(
    specs: Sequence[str],
    sample_rate: int,
    trim_silence: bool,
    progress: Callable[[Sequence[Clip]], Iterator[Clip]] = iter,
    noise: Path | None = None,
    labels: Sequence[str] | None = None,
    mapping: Mapping[str, str] | None = None,
    leave_out: bool = True,
) -> Material:
    """Read and decode corpora given as `NAME=PATH`.

    Clips that cannot be decoded, and exact copies of another speaker's clips, are
    excluded with a note each.

    Raises:
        CorpusError: a corpus cannot be parsed, or none of its clips can be decoded.
    """
    corpora, labels, notes = with_labels(
        read_corpora(specs), labels, mapping or {}, PUBLISHED, leave_out
    )
    for corpus in corpora:
        for what, names in (
            ("missing", corpus.missing),
            ("duplicated", corpus.repeated),
            ("not clips of this corpus", corpus.foreign),
        ):
            if names:
                notes.append(
                    f"{corpus.title}: {len(names)} files are {what} (first: {names[0]})"
                )
    utterances: dict[Clip, Utterance] = {}
    for corpus in corpora:
        loaded, broken = load_utterances(
            corpus.clips, sample_rate, trim_silence, progress
        )
        if not loaded:
            clip, error = next(iter(broken.items()))
            raise CorpusError(
                f"{corpus.title}: no clip can be read; {clip.source}: {error}"
            )
        notes += [
            f"{clip.source.shown}: excluded: {error}" for clip, error in broken.items()
        ]
        utterances |= {utterance.clip: utterance for utterance in loaded}
    for twin, first in duplicates(list(utterances.values())):
        same = twin.speaker == first.speaker
        notes.append(
            f"{twin.source.shown}: the same recording as {first.source.shown}"
            + ("" if same else "; excluded")
        )
        if not same:
            # The same audio on both sides of a split would leak test data.
            del utterances[twin]
    corpora = [
        replace(c, clips=tuple(clip for clip in c.clips if clip in utterances))
        for c in corpora
    ]
    emptied = [corpus for corpus in corpora if not corpus.clips]
    if emptied:
        raise CorpusError(
            f"{emptied[0].title}: all its clips duplicate those of another corpus; "
            "give only one of the two"
        )
    return Material(corpora, labels, utterances, load_noises(noise, sample_rate), notes)


def duplicates(utterances: Sequence[Utterance]) -> list[tuple[Clip, Clip]]:
    """Return pairs of a clip and an earlier clip with the same samples."""
    seen: dict[bytes, Clip] = {}
    pairs = []
    for utterance in utterances:
        digest = hashlib.blake2b(utterance.pcm()).digest()
        first = seen.setdefault(digest, utterance.clip)
        if first is not utterance.clip:
            pairs.append((utterance.clip, first))
    return pairs
