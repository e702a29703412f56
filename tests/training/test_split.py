"""Splits: separate speakers, published folds, and every clip exactly once."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_batch.errors import CorpusError
from ser_batch.training.corpora.clips import Corpus
from ser_batch.training.corpora.labels import LABELS
from ser_batch.training.corpora.layouts import RAVDESS_FOLDS
from ser_batch.training.corpora.readers import read_corpora
from ser_batch.training.data.options import DataConfig
from ser_batch.training.data.split import (
    check_labels,
    speaker_folds,
    split_randomly,
    split_speakers,
)
from tests.support.training import make_clip


@given(st.integers(5, 30), st.integers(0, 10**6), st.booleans())
@settings(max_examples=50)
def test_no_speaker_is_in_two_parts_and_no_clip_is_lost(n_speakers, seed, validate):
    clips = tuple(
        make_clip(f"{s}-{i}", speaker=f"{s}", sex="fm"[s % 2])
        for s in range(n_speakers)
        for i in range(3)
    )
    corpora = [Corpus("x", "X", "free", clips)]
    folds = speaker_folds(corpora, seed)
    assert sorted(speaker for fold in folds for speaker in fold) == sorted(
        {clip.speaker for clip in clips}
    )
    for fold in folds:
        split = split_speakers(corpora, fold, DataConfig(), validate, seed, "f")
        parts = split.speakers()
        everyone = [speaker for part in parts.values() for speaker in part]
        assert len(everyone) == len(set(everyone)) == n_speakers
        assert set(parts["test"]) == fold
        assert bool(parts["validation"]) == validate
        assert len(split.train) + len(split.validation) + len(split.test) == len(clips)


def test_ravdess_uses_its_published_folds_alongside_other_corpora(corpora):
    read = read_corpora(
        [
            f"{name}={corpora / name}"
            for name in ("ravdess", "ravdess-song", "tess", "nemo")
        ]
    )
    folds = speaker_folds(read, 0)
    there = set(read[0].speakers)
    published = [{f"ravdess/{a:02}" for a in fold} & there for fold in RAVDESS_FOLDS]
    assert [{s for s in fold if s.startswith("ravdess")} for fold in folds] == [
        fold for fold in published if fold
    ]
    assert {s for fold in folds for s in fold if s.startswith("nemo")} == set(
        read[3].speakers
    )
    for fold in folds:
        split = split_speakers(read, fold, DataConfig(), True, 0, "f")
        assert {"tess/OAF", "tess/YAF"} <= set(split.speakers()["train"])
        # A speaker of several corpora is in only one part of the split.
        sides = [
            {clip.speaker for clip in part}
            for part in (split.train, split.validation, split.test)
        ]
        assert sum(len(side) for side in sides) == len(sides[0] | sides[1] | sides[2])


def test_two_speakers_are_split_by_leave_one_out_and_one_is_refused(corpora):
    tess = read_corpora([f"tess={corpora / 'tess'}"])
    assert speaker_folds(tess, 0) == [{"tess/OAF"}, {"tess/YAF"}]
    alone = Corpus("x", "X", "free", tuple(make_clip(str(i)) for i in range(9)))
    with pytest.raises(
        CorpusError, match="identified speakers: 1; .*needs at least two"
    ):
        speaker_folds([alone], 0)
    nobody = Corpus(
        "x", "X", "free", tuple(make_clip(str(i), speaker="unknown") for i in range(9))
    )
    with pytest.raises(CorpusError, match="identified speakers: 0"):
        speaker_folds([nobody], 0)


def test_a_random_split_is_stratified_and_keeps_every_clip_once(corpora):
    [corpus] = read_corpora([f"ravdess={corpora / 'ravdess'}"])
    split = split_randomly(
        [corpus], DataConfig(validation_share=0.2, test_share=0.2), 0
    )
    parts = (split.train, split.validation, split.test)
    assert sorted(clip.name for part in parts for clip in part) == sorted(
        clip.name for clip in corpus.clips
    )
    for part in parts:
        assert {clip.label for clip in part} == set(LABELS)
    same = split_randomly([corpus], DataConfig(validation_share=0.2, test_share=0.0), 0)
    assert same.test == same.validation


def test_labels_without_training_clips_are_refused_and_untested_ones_noted():
    clips = [
        make_clip(f"{s}-{label}", speaker=s, label=label)
        for s in "abcde"
        for label in ("sad", "happy")
    ]
    lonely = [clip for clip in clips if clip.speaker == "x/a" or clip.label == "sad"]
    corpus = Corpus("x", "X", "free", tuple(lonely))
    with pytest.raises(CorpusError, match="no training clip is labelled 'happy'"):
        check_labels(
            split_speakers([corpus], {"x/a"}, DataConfig(), False, 0, "f"),
            ["happy", "sad"],
        )
    notes = check_labels(
        split_speakers([corpus], {"x/b"}, DataConfig(), False, 0, "f"), ["happy", "sad"]
    )
    assert notes == ["f: no test clip is labelled happy; the figures do not cover that"]
