"""Fitting a network: loss, batches, context, schedules, resuming, and recipes."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from ser_batch.config.structuring import from_plain, to_plain
from ser_batch.errors import ConfigError, UsageError
from ser_batch.training.corpora.clips import Corpus
from ser_batch.training.corpora.labels import LABELS
from ser_batch.training.data import augmentation as aug
from ser_batch.training.data.batches import (
    CALLS_PER_CHUNK,
    SimulatedCalls,
    collate,
    epoch_calls,
)
from ser_batch.training.data.options import DataConfig
from ser_batch.training.data.split import speaker_folds, split_speakers
from ser_batch.training.data.utterances import Utterance, right_labels
from ser_batch.training.evaluation.metrics import confusion, uar
from ser_batch.training.evaluation.prediction import other_clips, predict_logits
from ser_batch.training.fit.fitting import FitJob, Monitor, fit_network
from ser_batch.training.fit.steps import cross_entropy, rate_factor
from ser_batch.training.recipe import FitConfig, Recipe, load_recipe, shipped_recipes
from tests.support.commands import ser
from tests.support.training import IN_CALLS, SMALL, Killed, make_clip

RATE = 8000


# Loss, batches, context


def test_the_loss_with_one_right_answer_is_cross_entropy():
    torch.manual_seed(0)
    logits, labels = torch.randn(6, 8), torch.tensor([0, 1, 2, 3, 4, 5])
    right = torch.nn.functional.one_hot(labels, 8).bool()
    for smoothing in (0.0, 0.1):
        expected = torch.nn.functional.cross_entropy(
            logits, labels, label_smoothing=smoothing
        )
        torch.testing.assert_close(
            cross_entropy(logits.log_softmax(-1), right, smoothing).mean(), expected
        )


def test_the_loss_does_not_prefer_one_of_two_right_answers():
    logits = torch.tensor([[0.3, -0.2, 1.0, 0.0]], requires_grad=True)
    right = torch.tensor([[True, True, False, False]])
    loss = cross_entropy(logits.log_softmax(-1), right, 0.0).mean()
    p = logits.softmax(-1)[0]
    assert loss.item() == pytest.approx(-float((p[0] + p[1]).log()))
    [gradient] = torch.autograd.grad(loss, logits)
    # Both rise in proportion to their probability, so that their odds stay the same.
    assert float(gradient[0, 0] / gradient[0, 1]) == pytest.approx(
        float(p[0] / p[1]), rel=1e-4
    )


@pytest.fixture(scope="session")
def utterances() -> list[Utterance]:
    """Return noise clips of two corpora, with a colour for each label."""
    rng = np.random.default_rng(0)
    result = []
    for i in range(60):
        kind = i % 3
        wave = aug.coloured_noise(int(rng.integers(3000, 6000)), float(kind), rng)
        clip = make_clip(
            str(i),
            "one" if i % 2 else "two",
            f"s{i % 7}",
            label=("neutral", "happy", "sad")[kind],
        )
        result.append(Utterance(clip, wave, 300, len(wave) - 300))
    return result


KNOWN = {"one": LABELS, "two": ("neutral", "happy", "sad")}


def test_neutral_is_ambiguous_only_in_corpora_without_calm(utterances):
    clips = [utterance.clip for utterance in utterances]
    truth, right = right_labels(clips, LABELS, KNOWN)
    for clip, label, row in zip(clips, truth, right, strict=True):
        ambiguous = clip.corpus == "two" and clip.label == "neutral"
        assert [LABELS[i] for i in np.flatnonzero(row)] == (
            ["neutral", "calm"] if ambiguous else [clip.label]
        )
        assert LABELS[label] == clip.label


def calls_of(
    utterances: list[Utterance], augmentation: aug.AugmentationConfig
) -> SimulatedCalls:
    _, right = right_labels([utterance.clip for utterance in utterances], LABELS, KNOWN)
    return SimulatedCalls(utterances, right, augmentation, RATE)


@pytest.mark.parametrize("clips_per_call", [1, 4])
def test_an_epoch_draws_clips_once_and_respects_corpus_shares(
    utterances, clips_per_call
):
    config = DataConfig(corpus_shares={"two": 0.5}, clips_per_call=clips_per_call)
    chunks = epoch_calls(utterances, config, 16, seed=0, epoch=0)
    calls = [call for chunk in chunks for call in chunk]
    drawn = [i for call in calls for i in call.utterances]
    assert len(drawn) == len(set(drawn))
    corpora = [utterances[i].clip.corpus for i in drawn]
    assert corpora.count("one") == 30
    assert corpora.count("two") == pytest.approx(15, abs=4)
    for call in calls:
        assert len(call.utterances) <= clips_per_call
        assert len({utterances[i].clip.speaker for i in call.utterances}) == 1
    assert all(
        len(chunk) <= (16 if clips_per_call == 1 else CALLS_PER_CHUNK)
        for chunk in chunks
    )
    assert epoch_calls(utterances, config, 16, seed=0, epoch=0) == chunks
    assert epoch_calls(utterances, config, 16, seed=0, epoch=1) != chunks


def test_a_batch_contains_waveforms_lengths_and_calls(utterances):
    data = calls_of(utterances, aug.AugmentationConfig())
    chunk = epoch_calls(utterances, DataConfig(clips_per_call=4), 16, 0, 0)[0]
    items = [data[call] for call in chunk]
    batch = collate(items)
    flat = [
        (wave, right, number)
        for number, call in enumerate(items)
        for wave, right in call
    ]
    for i, (wave, right, number) in enumerate(flat):
        n = int(batch.lengths[i])
        assert np.array_equal(batch.waveforms[i, :n], wave)
        assert not batch.waveforms[i, n:].any()
        assert np.array_equal(batch.right[i], right)
        assert int(batch.calls[i]) == number
    assert len(flat) == len(batch.lengths)


def test_context_consists_of_enough_other_clips_of_the_speaker():
    known = torch.tensor([[10.0, 1], [20, 2], [30, 4], [40, 8]])
    speakers = ["a", "b", "a", "a"]
    everything = other_clips(known, speakers, n_frames=1e9)
    assert everything.tolist() == [[70, 12], [0, 0], [50, 9], [40, 5]]
    little = other_clips(known, speakers, n_frames=1)
    assert all(float(x) in (10, 30, 40) for x in little[[0, 2, 3], 0])
    assert little[1].tolist() == [0, 0]


def test_clips_of_unknown_speakers_are_not_used_for_context_or_validation():
    known = torch.tensor([[10.0, 1], [20, 2], [30, 4]])
    assert (
        other_clips(known, ["x/unknown", "x/unknown", "x/a"], n_frames=1e9).abs().sum()
        == 0
    )
    clips = tuple(
        make_clip(f"{s}{i}", speaker=s, label=("sad", "happy")[i % 2])
        for s in ("unknown", *"abcdef")
        for i in range(6)
    )
    corpora = [Corpus("x", "X", "free", clips)]
    for seed in range(20):
        fold = speaker_folds(corpora, seed)[0]
        split = split_speakers(corpora, fold, DataConfig(), True, seed, "f")
        assert "x/unknown" in split.speakers()["train"]
    utterances = [
        Utterance(clip, np.zeros(4000, np.float32), 0, 4000) for clip in clips
    ]
    calls = [
        call
        for chunk in epoch_calls(utterances, DataConfig(clips_per_call=4), 8, 0, 0)
        for call in chunk
    ]
    nobodys = [
        call
        for call in calls
        if utterances[call.utterances[0]].clip.speaker == "x/unknown"
    ]
    assert [len(call.utterances) for call in nobodys] == [1] * 6


def test_corpus_shares_apply_even_if_speakers_are_shared():
    clips = [
        dataclasses.replace(make_clip(f"{c}{i}", c), speaker="ravdess/02")
        for c in ("say", "sing")
        for i in range(20)
    ]
    utterances = [
        Utterance(clip, np.zeros(4000, np.float32), 0, 4000) for clip in clips
    ]
    chunks = epoch_calls(utterances, DataConfig(corpus_shares={"sing": 0.1}), 8, 0, 0)
    drawn = [
        utterances[i].clip.corpus
        for chunk in chunks
        for call in chunk
        for i in call.utterances
    ]
    assert (drawn.count("say"), drawn.count("sing")) == (20, 2)


@pytest.mark.parametrize("n", [2, 17, 33])
def test_no_chunk_consists_of_a_single_clip(n, utterances, tmp_path):
    chunks = epoch_calls(utterances[:n], DataConfig(), 16, 0, 0)
    assert min(len(chunk) for chunk in chunks) > 1
    assert sum(len(chunk) for chunk in chunks) == n


def test_learning_rates_follow_their_schedules():
    cycle = FitConfig(schedule="one_cycle")
    rates = [rate_factor(x, cycle) for x in np.linspace(0, 1, 101)]
    assert max(rates) == pytest.approx(1, abs=0.01)
    assert rates.index(max(rates)) == 15
    assert rates[-1] < 0.01
    restarts = FitConfig(schedule="warm_restarts", restart_epochs=10, epochs=30)
    assert [rate_factor(e / 30, restarts) for e in (0, 10)] == pytest.approx([1, 1])
    assert [rate_factor(e / 30, restarts) for e in (5, 20)] == pytest.approx([0.5, 0.5])
    assert rate_factor(0.7, FitConfig(schedule="constant")) == 1


# Fitting


def fitted(
    recipe: Recipe,
    utterances,
    checkpoint: Path,
    die_after: int | None = None,
    identity: str = "",
):
    def on_epoch(row):
        if row["epoch"] == die_after:
            raise Killed

    held_out = utterances[45:]
    truth, _ = right_labels([u.clip for u in held_out], LABELS, KNOWN)

    def validate(features, network):
        predicted = (
            predict_logits(features, network, [u.speech for u in held_out])
            .argmax(-1)
            .numpy()
        )
        return {"validation_uar": uar(confusion(truth, predicted, 8))}

    job = FitJob(
        recipe=recipe,
        n_labels=8,
        seed=0,
        device=torch.device("cpu"),
        workers=0,
        checkpoint=checkpoint,
        identity={"recipe": recipe, "data": identity},
    )
    train = calls_of(utterances[:45], recipe.augmentation)
    return fit_network(job, train, validate, Monitor(epoch=on_epoch))


@pytest.mark.parametrize("recipe", [SMALL, IN_CALLS], ids=["clips", "calls"])
def test_a_resumed_training_gives_the_same_network(recipe, utterances, tmp_path):
    undisturbed = fitted(recipe, utterances, tmp_path / "a.pt")
    for epoch in (1, 3):
        with pytest.raises(Killed):
            fitted(recipe, utterances, tmp_path / "b.pt", die_after=epoch)
    resumed = fitted(recipe, utterances, tmp_path / "b.pt")
    names = ("epoch", "loss", "rate", "validation_uar")
    assert [[row[n] for n in names] for row in resumed.history] == [
        [row[n] for n in names] for row in undisturbed.history
    ]
    for name, tensor in undisturbed.network.state_dict().items():
        assert torch.equal(tensor, resumed.network.state_dict()[name]), name


def test_training_learns_a_learnable_task(utterances, tmp_path):
    recipe = dataclasses.replace(SMALL, fit=dataclasses.replace(SMALL.fit, epochs=15))
    history = fitted(recipe, utterances, tmp_path / "x.pt").history
    assert history[-1]["loss"] < history[0]["loss"]
    assert max(row["validation_uar"] for row in history) > 0.6


def test_a_checkpoint_of_another_training_is_refused(utterances, tmp_path):
    with pytest.raises(Killed):
        fitted(SMALL, utterances, tmp_path / "x.pt", die_after=1)
    with pytest.raises(UsageError, match="another recipe, seed or data"):
        fitted(SMALL, utterances, tmp_path / "x.pt", identity="other clips")
    with pytest.raises(UsageError, match="another recipe, seed or data"):
        fitted(IN_CALLS, utterances, tmp_path / "x.pt")


def test_a_non_finite_loss_ends_the_training_with_advice(utterances, tmp_path):
    wild = dataclasses.replace(
        SMALL, fit=dataclasses.replace(SMALL.fit, learning_rate=1e30, optimizer="adam")
    )
    with pytest.raises(UsageError, match=r"the loss is .*smaller fit.learning_rate"):
        fitted(wild, utterances, tmp_path / "x.pt")


# Recipes


def test_shipped_recipes_are_documented_and_survive_a_round_trip():
    recipes = dict(shipped_recipes())
    published = {
        "mfcc-bilstm128",
        "mfcc174-bilstm64",
        "mel-bilstm",
        "mfcc-delta-bilstm128",
        "multi-feature-lstm",
    }
    assert published | {"places", "speaker", "mel-cnn", "mel-lstm"} == set(recipes)
    for name, recipe in recipes.items():
        assert recipe.about.endswith("."), name
        assert recipe.source, name
        assert from_plain(type(recipe), to_plain(recipe)) == recipe
    said = ser("train", "--list-recipes")
    assert said.returncode == 0, said.stderr
    assert all(name in said.stdout for name in recipes)


def test_published_recipes_have_their_published_settings():
    recipes = dict(shipped_recipes())
    r = recipes["mfcc174-bilstm64"]
    assert (
        r.features.sample_rate,
        r.features.n_mfcc,
        r.features.n_frames,
        r.features.deltas,
    ) == (22050, 40, 174, 0)
    assert [
        (c.channels, c.kernel, c.pool, c.norm, c.dropout)
        for c in r.network.convolutions
    ] == [
        (32, 3, 2, "after_relu", 0.3),
        (64, 3, 2, "after_relu", 0.3),
    ]
    assert (r.network.lstm_width, r.network.dropout, r.fit.schedule, r.fit.epochs) == (
        64,
        0.5,
        "warm_restarts",
        40,
    )
    r = recipes["mfcc-delta-bilstm128"]
    assert (
        r.features.sample_rate,
        r.features.deltas,
        r.features.n_frames,
        r.features.level,
    ) == (16000, 2, 200, "peak")
    assert (
        r.fit.epochs,
        r.fit.learning_rate,
        r.data.validation_share,
        r.data.test_share,
    ) == (20, 1e-3, 0.15, 0.15)
    r = recipes["multi-feature-lstm"]
    assert [(c.channels, c.kernel, c.norm) for c in r.network.convolutions] == [
        (128, 5, "none"),
        (64, 3, "after_dropout"),
    ]
    assert (r.network.bidirectional, r.network.lstm_width, r.network.dense) == (
        False,
        64,
        (32,),
    )
    assert not recipes["mel-cnn"].network.lstm_width
    assert not recipes["mel-lstm"].network.convolutions


def test_an_invalid_recipe_is_refused_with_the_option(tmp_path):
    text = 'about = "x"\n[features]\n[network]\nlstm_width = 8\n'
    for line, message in (
        ("[fit]\nepochs = 0", "must be above 0"),
        ("[fit]\noptimizer = 'sgd'", "fit.optimizer must be adam or adamw"),
        ("[augmentation]\nnoise_p = 2", "noise_p must be a probability"),
        (
            "[augmentation]\nnoise_snr_db = [9, 3]",
            "must be a range, given as",
        ),
        (
            "[data]\nvalidation_share = 0.6\ntest_share = 0.5",
            "and their sum below 1",
        ),
        ("[fit]\nmomentum = 1", "unknown option fit.momentum"),
        ("[data]\ncorpus_shares = {ravdess = 2}", "data.corpus_shares above 0"),
        (
            "[augmentation]\nspeed = [1]",
            "augmentation.speed: expected list of length 2, got 1",
        ),
        (
            "[[network.convolutions]]\nkernel = 3",
            "option network.convolutions[[]0[]].channels is missing",
        ),
    ):
        (tmp_path / "r.toml").write_text(text + line)
        with pytest.raises(ConfigError, match=message):
            load_recipe(str(tmp_path / "r.toml"))
    with pytest.raises(ConfigError, match="unknown recipe 'nope': .*mel-bilstm"):
        load_recipe("nope")
