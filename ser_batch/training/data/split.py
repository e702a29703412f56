"""Train, validation and test splits: speaker-independent, or random on request."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ser_batch.errors import CorpusError
from ser_batch.training.corpora.clips import Clip, Corpus, is_unknown_speaker
from ser_batch.training.data.options import DataConfig

MIN_SPEAKERS = 5
"""Corpora with fewer speakers only train, if there are others: a test on so few voices
would mean little."""
N_FOLDS = 5
"""Number of folds for corpora without published ones."""


@dataclass(frozen=True, slots=True)
class Split:
    """Clips to train on, to select the epoch with, and to test on once."""

    name: str
    train: tuple[Clip, ...]
    validation: tuple[Clip, ...]
    test: tuple[Clip, ...]

    def speakers(self) -> dict[str, list[str]]:
        """Return the sorted speakers of each part."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        return {
            name: sorted({clip.speaker for clip in clips})
            for name, clips in parts.items()
        }


def speaker_folds(corpora: Sequence[Corpus], seed: int) -> list[set[str]]:
    """Divide the speakers into test folds, the same number for all corpora.

    Corpora with published folds use those (without folds that have no speaker here);
    the others are divided by a draw that alternates between the sexes. Corpora with few
    speakers only train; if there are no others, each of their speakers is a fold.

    Raises:
        CorpusError: fewer than two speakers are identified.
    """
    # Corpora that share speakers, as RAVDESS speech and song do, are divided together.
    groups: dict[str, list[Corpus]] = {}
    for corpus in corpora:
        groups.setdefault(corpus.speakers[0].partition("/")[0], []).append(corpus)
    known = {
        name: sorted(
            {s for corpus in own for s in corpus.speakers if not is_unknown_speaker(s)}
        )
        for name, own in groups.items()
    }
    large = [name for name, speakers in known.items() if len(speakers) >= MIN_SPEAKERS]
    if not large:
        everyone = sorted(
            speaker for speakers in known.values() for speaker in speakers
        )
        if len(everyone) < 2:
            raise CorpusError(
                f"identified speakers: {len(everyone)}; testing on an unseen speaker "
                "needs at least two. Give a corpus with more speakers, name them "
                "(column speaker of a CSV), or use --split random"
            )
        return [{speaker} for speaker in everyone]
    published = {
        name: [
            fold & set(known[name])
            for fold in groups[name][0].folds
            if fold & set(known[name])
        ]
        for name in large
    }
    n_folds = max((len(folds) for folds in published.values()), default=0) or N_FOLDS
    folds: list[set[str]] = [set() for _ in range(n_folds)]
    for name in large:
        sex = {
            clip.speaker: clip.sex for corpus in groups[name] for clip in corpus.clips
        }
        own = [set(fold) for fold in published[name]]
        if len(own) != n_folds:
            order = _alternating(_shuffled(known[name], f"{seed}/{name}"), sex)
            own = [set(order[i::n_folds]) for i in range(n_folds)]
        for fold, speakers in zip(folds, own, strict=True):
            fold |= speakers
    return folds


def split_speakers(
    corpora: Sequence[Corpus],
    test: set[str],
    config: DataConfig,
    validate: bool,
    seed: int,
    name: str,
) -> Split:
    """Split the clips by speaker.

    The clips of the `test` speakers are the test part. With `validate`,
    `config.validation_share` of the other speakers are the validation part. They are
    drawn by seed, alternating between the sexes, from the corpora that are tested on.

    Raises:
        CorpusError: no speaker remains to train on.
    """
    prefixes = {speaker.partition("/")[0] for speaker in test} or {
        corpus.speakers[0].partition("/")[0]
        for corpus in corpora
        if len(corpus.speakers) >= MIN_SPEAKERS
    }
    validation: set[str] = set()
    for prefix in sorted(prefixes) if validate else ():
        sex = {
            clip.speaker: clip.sex
            for corpus in corpora
            for clip in corpus.clips
            if clip.speaker.startswith(f"{prefix}/")
            and clip.speaker not in test
            and not is_unknown_speaker(clip.speaker)
        }
        order = _alternating(_shuffled(sorted(sex), f"{seed}/{prefix}"), sex)
        validation |= set(
            order[: max(1, round(config.validation_share * len(order)))]
            if len(order) > 1
            else ()
        )
    clips = [clip for corpus in corpora for clip in corpus.clips]
    split = Split(
        name,
        tuple(clip for clip in clips if clip.speaker not in test | validation),
        tuple(clip for clip in clips if clip.speaker in validation),
        tuple(clip for clip in clips if clip.speaker in test),
    )
    if not split.train:
        raise CorpusError(
            "no speakers left to train on: give a corpus with more speakers, or use "
            "--split random"
        )
    return split


def split_randomly(corpora: Sequence[Corpus], config: DataConfig, seed: int) -> Split:
    """Split the clips at random, stratified by label.

    Speakers occur in all parts, so the figures do not apply to unseen speakers.

    Raises:
        CorpusError: a part would be empty.
    """
    rng = random.Random(f"{seed}/clips")
    parts: dict[str, list[Clip]] = {"train": [], "validation": [], "test": []}
    by_label: dict[str, list[Clip]] = {}
    for corpus in corpora:
        for clip in corpus.clips:
            by_label.setdefault(clip.label, []).append(clip)
    for own in by_label.values():
        rng.shuffle(own)
        n_test, n_validation = (
            round(share * len(own))
            for share in (config.test_share, config.validation_share)
        )
        parts["test"] += own[:n_test]
        parts["validation"] += own[n_test : n_test + n_validation]
        parts["train"] += own[n_test + n_validation :]
    for name, share in (
        ("train", 1.0),
        ("validation", config.validation_share),
        ("test", config.test_share),
    ):
        if share and not parts[name]:
            raise CorpusError(f"a random split leaves no {name} clips: give more clips")
    test = parts["test"] if config.test_share else parts["validation"]
    return Split(
        "random", tuple(parts["train"]), tuple(parts["validation"]), tuple(test)
    )


def check_labels(split: Split, labels: Sequence[str]) -> list[str]:
    """Return notes on labels without validation or test clips.

    Raises:
        CorpusError: a label has no training clips.
    """
    notes = []
    for part, clips in (
        ("train", split.train),
        ("validation", split.validation),
        ("test", split.test),
    ):
        count = Counter(clip.label for clip in clips)
        absent = [label for label in labels if not count[label]]
        if absent and part == "train":
            raise CorpusError(
                f"{split.name}: no training clip is labelled {absent[0]!r}; give more "
                f"clips of it, or exclude it with --map {absent[0]}="
            )
        if absent and clips:
            notes.append(
                f"{split.name}: no {part} clip is labelled {', '.join(absent)}; the "
                "figures do not cover that"
            )
    return notes


def _shuffled(speakers: list[str], seed: str) -> list[str]:
    return random.Random(seed).sample(speakers, len(speakers))


def _alternating(speakers: list[str], sex: dict[str, str]) -> list[str]:
    """Reorder the speakers to alternate between the sexes while both remain."""
    rank = Counter[str]()
    ranked = []
    for speaker in speakers:
        ranked.append((rank[sex[speaker]], speaker))
        rank[sex[speaker]] += 1
    return [speaker for _, speaker in sorted(ranked, key=lambda pair: pair[0])]
