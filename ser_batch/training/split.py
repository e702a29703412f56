"""Who trains, who selects, who tests: whole speakers, never single clips."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ser_batch.errors import CorpusError
from ser_batch.training.corpora import Clip, Corpus

TEST_SHARE, VALIDATION_SHARE = 0.2, 0.15
MIN_SPEAKERS = 5
"""A corpus with fewer speakers is for training only: its test would be a test of one voice."""


@dataclass(frozen=True, slots=True)
class Split:
    """Clips of disjoint speakers: `train` fits, `validation` stops and calibrates, `test` is looked at once."""

    train: tuple[Clip, ...]
    validation: tuple[Clip, ...]
    test: tuple[Clip, ...]

    def speakers(self) -> dict[str, list[str]]:
        """The speakers of each part."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: sorted({clip.speaker for clip in clips}) for name, clips in parts.items()}


def split_speakers(corpora: Sequence[Corpus], test_fold: int, seed: int) -> Split:
    """Splits every corpus by speaker.

    The test speakers of a corpus with published folds are fold `test_fold` (from 1); elsewhere a fifth
    of the speakers, drawn by `seed`. Validation speakers are drawn from the rest. Both draws alternate
    between the sexes.

    Raises:
        CorpusError: the fold does not exist or holds no speaker that is here, or nobody is left to
            validate or to test on.
    """
    parts: dict[str, list[Clip]] = {"train": [], "validation": [], "test": []}
    for corpus in corpora:
        part = _roles(corpus, test_fold, seed)
        for clip in corpus.clips:
            parts[part[clip.speaker]].append(clip)
    for name, clips in parts.items():
        if not clips:
            raise CorpusError(
                f"no speaker is left for {name}: give at least one corpus of {MIN_SPEAKERS} or more speakers"
            )
    return Split(*(tuple(parts[name]) for name in ("train", "validation", "test")))


def _roles(corpus: Corpus, test_fold: int, seed: int) -> dict[str, str]:
    speakers = list(corpus.speakers)
    if len(speakers) < MIN_SPEAKERS:
        return dict.fromkeys(speakers, "train")
    random.Random(f"{seed}/{corpus.name}").shuffle(speakers)
    speakers = _alternating(speakers, {clip.speaker: clip.sex for clip in corpus.clips})
    if corpus.folds:
        if not 1 <= test_fold <= len(corpus.folds):
            raise CorpusError(f"{corpus.name} has folds 1 to {len(corpus.folds)}, not {test_fold}")
        test = [speaker for speaker in speakers if speaker in corpus.folds[test_fold - 1]]
        if not test:
            raise CorpusError(f"no speaker of fold {test_fold} of {corpus.name} is here; choose another fold")
    else:
        test = speakers[: max(1, round(TEST_SHARE * len(speakers)))]
    rest = [speaker for speaker in speakers if speaker not in test]
    validation = rest[: max(1, round(VALIDATION_SHARE * len(speakers)))]
    return {
        speaker: "test" if speaker in test else "validation" if speaker in validation else "train"
        for speaker in speakers
    }


def _alternating(speakers: list[str], sex: dict[str, str]) -> list[str]:
    """The speakers in their order, but a woman and a man in turn for as long as there are both."""
    rank = Counter[str]()
    ranked = []
    for speaker in speakers:
        ranked.append((rank[sex[speaker]], speaker))
        rank[sex[speaker]] += 1
    return [speaker for _, speaker in sorted(ranked, key=lambda pair: pair[0])]
