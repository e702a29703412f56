"""Segments for fine-tuning: those with labels, and clips of corpora to mix in."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from ser_batch.emotion.place import place_weight
from ser_batch.errors import UsageError
from ser_batch.training.adapting.learners import ProfiledLearner
from ser_batch.training.adapting.tuning import Heard
from ser_batch.training.corpora.clips import Clip
from ser_batch.training.corpora.readers import read_corpora
from ser_batch.training.data.utterances import load_utterances

MIXED_CLIPS = 200
"""Clips of all corpora together."""


def heard_of_labels(
    learner: ProfiledLearner,
    waveforms: Sequence[np.ndarray],
    roles: Sequence[str],
    recordings: np.ndarray,
    right: torch.Tensor,
) -> Heard:
    """Return labelled segments; those of each role are a place."""
    names, place = np.unique(roles, return_inverse=True)
    shares = [place_weight(len(set(recordings[place == i]))) for i in range(len(names))]
    return Heard(
        learner.scorer.stepped(waveforms, roles),
        right,
        torch.from_numpy(place),
        torch.tensor(shares),
    )


def heard_of_corpora(
    learner: ProfiledLearner,
    specs: Sequence[str],
    seed: int,
    progress: Callable[[Sequence[Clip]], Iterator[Clip]] = iter,
) -> Heard | None:
    """Return clips of corpora given as `NAME=PATH`; None if none are given.

    The same number of each corpus, drawn at random. Each corpus is a place.

    Raises:
        CorpusError: a corpus cannot be read.
        UsageError: it has no label that the model has.
    """
    rng = np.random.default_rng(seed)
    found: Heard | None = None
    for corpus in read_corpora(specs):
        usable = [clip for clip in corpus.clips if clip.label in learner.labels]
        if not usable:
            raise UsageError(
                f"{corpus.title}: has none of the labels of the model", option="--mix"
            )
        n = min(len(usable), MIXED_CLIPS // len(specs))
        drawn = [usable[i] for i in np.sort(rng.choice(len(usable), n, replace=False))]
        read, _ = load_utterances(drawn, learner.sample_rate, True, progress)
        waveforms = [utterance.speech for utterance in read]
        right = torch.zeros(len(read), len(learner.labels))
        for row, utterance in zip(right, read, strict=True):
            row[learner.labels.index(utterance.clip.label)] = 1
        speech = {str(i): [waveform] for i, waveform in enumerate(waveforms)}
        scorer = learner.scorer.with_profile(learner.scorer.profile_of({"": speech}))
        own = Heard(
            scorer.stepped(waveforms, [""] * len(read)),
            right,
            torch.zeros(len(read), dtype=torch.long),
            torch.tensor([place_weight(len(read))]),
        )
        found = own if found is None else found.followed_by(own)
    return found
