"""Training: splits, loss, exact resume, and a bundle at the end."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_batch.bundles import load_bundle
from ser_batch.errors import BundleError, ConfigError, CorpusError, UsageError
from ser_batch.features import FeatureConfig
from ser_batch.model import ConvConfig, NetworkConfig
from ser_batch.plain import from_plain, to_plain
from ser_batch.training import augmentation as aug
from ser_batch.training.build import train_bundle
from ser_batch.training.conditions import CONDITIONS
from ser_batch.training.corpora import LABELS, Clip, Corpus
from ser_batch.training.data import CALLS_PER_CHUNK, Calls, Utterance, collate, epoch_calls, right_labels
from ser_batch.training.evaluate import evaluate_bundle, read_metrics
from ser_batch.training.fit import DivergedError, Monitor, cross_entropy, fit_network, rate_factor
from ser_batch.training.metrics import confusion, uar
from ser_batch.training.predict import others, predict_logits
from ser_batch.training.readers import RAVDESS_FOLDS, read_corpora
from ser_batch.training.recipe import DataConfig, FitConfig, Recipe, load_recipe, shipped_recipes
from ser_batch.training.runs import TrainOptions
from ser_batch.training.sources import SourceFile
from ser_batch.training.split import check_labels, speaker_folds, split_randomly, split_speakers
from ser_batch.training.tune import suggested, tuned
from tests.conftest import EXAMPLES, ser
from tests.corpora_fixture import write_clip

RATE = 8000


def a_clip(name: str, corpus: str = "x", speaker: str = "a", sex: str = "f", label: str = "sad") -> Clip:
    return Clip(SourceFile(Path(name)), corpus, f"{corpus}/{speaker}", sex, label)


# Splits


@given(st.integers(5, 30), st.integers(0, 10**6), st.booleans())
@settings(max_examples=50)
def test_no_speaker_is_in_two_parts_and_no_clip_is_lost(n_speakers, seed, validate):
    clips = tuple(a_clip(f"{s}-{i}", speaker=f"{s}", sex="fm"[s % 2]) for s in range(n_speakers) for i in range(3))
    corpora = [Corpus("x", "X", "free", clips)]
    folds = speaker_folds(corpora, seed)
    assert sorted(speaker for fold in folds for speaker in fold) == sorted({clip.speaker for clip in clips})
    for fold in folds:
        split = split_speakers(corpora, fold, DataConfig(), validate, seed, "f")
        parts = split.speakers()
        everyone = [speaker for part in parts.values() for speaker in part]
        assert len(everyone) == len(set(everyone)) == n_speakers
        assert set(parts["test"]) == fold
        assert bool(parts["validation"]) == validate
        assert len(split.train) + len(split.validation) + len(split.test) == len(clips)


def test_ravdess_is_tested_on_its_published_folds_and_others_go_along(corpora):
    read = read_corpora([f"{name}={corpora / name}" for name in ("ravdess", "ravdess-song", "tess", "nemo")])
    folds = speaker_folds(read, 0)
    there = set(read[0].speakers)
    published = [{f"ravdess/{a:02}" for a in fold} & there for fold in RAVDESS_FOLDS]
    assert [{s for s in fold if s.startswith("ravdess")} for fold in folds] == [fold for fold in published if fold]
    assert {s for fold in folds for s in fold if s.startswith("nemo")} == set(read[3].speakers)
    for fold in folds:
        split = split_speakers(read, fold, DataConfig(), True, 0, "f")
        assert {"tess/OAF", "tess/YAF"} <= set(split.speakers()["train"])
        # Who speaks in one corpus and sings in another stays on one side.
        sides = [{clip.speaker for clip in part} for part in (split.train, split.validation, split.test)]
        assert sum(len(side) for side in sides) == len(sides[0] | sides[1] | sides[2])


def test_two_speakers_leave_one_out_and_one_speaker_is_refused(corpora):
    tess = read_corpora([f"tess={corpora / 'tess'}"])
    assert speaker_folds(tess, 0) == [{"tess/OAF"}, {"tess/YAF"}]
    alone = Corpus("x", "X", "free", tuple(a_clip(str(i)) for i in range(9)))
    with pytest.raises(CorpusError, match="1 speaker is known here, and two are needed"):
        speaker_folds([alone], 0)
    nobody = Corpus("x", "X", "free", tuple(a_clip(str(i), speaker="unknown") for i in range(9)))
    with pytest.raises(CorpusError, match="0 speaker"):
        speaker_folds([nobody], 0)


def test_a_random_split_keeps_every_clip_once_and_the_labels_alike(corpora):
    [corpus] = read_corpora([f"ravdess={corpora / 'ravdess'}"])
    split = split_randomly([corpus], DataConfig(validation_share=0.2, test_share=0.2), 0)
    parts = (split.train, split.validation, split.test)
    assert sorted(clip.name for part in parts for clip in part) == sorted(clip.name for clip in corpus.clips)
    for part in parts:
        assert {clip.label for clip in part} == set(LABELS)
    same = split_randomly([corpus], DataConfig(validation_share=0.2, test_share=0.0), 0)
    assert same.test == same.validation


def test_a_class_that_nobody_trains_is_refused_and_one_that_nobody_tests_is_told():
    clips = [a_clip(f"{s}-{label}", speaker=s, label=label) for s in "abcde" for label in ("sad", "happy")]
    lonely = [clip for clip in clips if clip.speaker == "x/a" or clip.label == "sad"]
    corpus = Corpus("x", "X", "free", tuple(lonely))
    with pytest.raises(CorpusError, match="no training clip is labelled 'happy'"):
        check_labels(split_speakers([corpus], {"x/a"}, DataConfig(), False, 0, "f"), ["happy", "sad"])
    notes = check_labels(split_speakers([corpus], {"x/b"}, DataConfig(), False, 0, "f"), ["happy", "sad"])
    assert notes == ["f: no test clip is labelled happy: nothing is said about that"]


# Loss, batches, context


def test_with_one_right_answer_the_loss_is_the_usual_cross_entropy():
    torch.manual_seed(0)
    logits, labels = torch.randn(6, 8), torch.tensor([0, 1, 2, 3, 4, 5])
    right = torch.nn.functional.one_hot(labels, 8).bool()
    for smoothing in (0.0, 0.1):
        expected = torch.nn.functional.cross_entropy(logits, labels, label_smoothing=smoothing)
        torch.testing.assert_close(cross_entropy(logits.log_softmax(-1), right, smoothing).mean(), expected)


def test_where_two_answers_are_right_neither_is_taught_over_the_other():
    logits = torch.tensor([[0.3, -0.2, 1.0, 0.0]], requires_grad=True)
    right = torch.tensor([[True, True, False, False]])
    loss = cross_entropy(logits.log_softmax(-1), right, 0.0).mean()
    p = logits.softmax(-1)[0]
    assert loss.item() == pytest.approx(-float((p[0] + p[1]).log()))
    [gradient] = torch.autograd.grad(loss, logits)
    # Both rise in proportion to what they have: their odds are left as they are.
    assert float(gradient[0, 0] / gradient[0, 1]) == pytest.approx(float(p[0] / p[1]), rel=1e-4)


@pytest.fixture(scope="session")
def utterances() -> list[Utterance]:
    """Noises whose colour tells their label, of two corpora."""
    rng = np.random.default_rng(0)
    result = []
    for i in range(60):
        kind = i % 3
        wave = aug.coloured_noise(int(rng.integers(3000, 6000)), float(kind), rng)
        clip = a_clip(str(i), "one" if i % 2 else "two", f"s{i % 7}", label=("neutral", "happy", "sad")[kind])
        result.append(Utterance(clip, wave, 300, len(wave) - 300))
    return result


KNOWN = {"one": LABELS, "two": ("neutral", "happy", "sad")}


def test_only_a_corpus_without_calm_leaves_open_what_its_neutral_is(utterances):
    clips = [utterance.clip for utterance in utterances]
    truth, right = right_labels(clips, LABELS, KNOWN)
    for clip, label, row in zip(clips, truth, right, strict=True):
        ambiguous = clip.corpus == "two" and clip.label == "neutral"
        assert [LABELS[i] for i in np.flatnonzero(row)] == (["neutral", "calm"] if ambiguous else [clip.label])
        assert LABELS[label] == clip.label


def calls_of(utterances: list[Utterance], augmentation: aug.AugmentationConfig) -> Calls:
    _, right = right_labels([utterance.clip for utterance in utterances], LABELS, KNOWN)
    return Calls(utterances, right, augmentation, RATE)


@pytest.mark.parametrize("clips_per_call", [1, 4])
def test_an_epoch_draws_every_clip_at_most_once_and_of_a_corpus_its_share(utterances, clips_per_call):
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
    assert all(len(chunk) <= (16 if clips_per_call == 1 else CALLS_PER_CHUNK) for chunk in chunks)
    assert epoch_calls(utterances, config, 16, seed=0, epoch=0) == chunks
    assert epoch_calls(utterances, config, 16, seed=0, epoch=1) != chunks


def test_a_batch_holds_every_waveform_its_length_and_its_call(utterances):
    data = calls_of(utterances, aug.AugmentationConfig())
    chunk = epoch_calls(utterances, DataConfig(clips_per_call=4), 16, 0, 0)[0]
    items = [data[call] for call in chunk]
    batch = collate(items)
    flat = [(wave, right, number) for number, call in enumerate(items) for wave, right in call]
    for i, (wave, right, number) in enumerate(flat):
        n = int(batch.lengths[i])
        assert np.array_equal(batch.waveforms[i, :n], wave)
        assert not batch.waveforms[i, n:].any()
        assert np.array_equal(batch.right[i], right)
        assert int(batch.calls[i]) == number
    assert len(flat) == len(batch.lengths)


def test_a_clips_context_is_its_speakers_other_clips_until_there_is_enough():
    known = torch.tensor([[10.0, 1], [20, 2], [30, 4], [40, 8]])
    speakers = ["a", "b", "a", "a"]
    everything = others(known, speakers, n_frames=1e9)
    assert everything.tolist() == [[70, 12], [0, 0], [50, 9], [40, 5]]
    little = others(known, speakers, n_frames=1)
    assert all(float(x) in (10, 30, 40) for x in little[[0, 2, 3], 0])
    assert little[1].tolist() == [0, 0]


def test_clips_of_nobody_knows_whom_are_no_context_and_validate_nothing():
    known = torch.tensor([[10.0, 1], [20, 2], [30, 4]])
    assert others(known, ["x/unknown", "x/unknown", "x/a"], n_frames=1e9).abs().sum() == 0
    clips = tuple(
        a_clip(f"{s}{i}", speaker=s, label=("sad", "happy")[i % 2]) for s in ("unknown", *"abcdef") for i in range(6)
    )
    corpora = [Corpus("x", "X", "free", clips)]
    for seed in range(20):
        fold = speaker_folds(corpora, seed)[0]
        split = split_speakers(corpora, fold, DataConfig(), True, seed, "f")
        assert "x/unknown" in split.speakers()["train"]
    utterances = [Utterance(clip, np.zeros(4000, np.float32), 0, 4000) for clip in clips]
    calls = [call for chunk in epoch_calls(utterances, DataConfig(clips_per_call=4), 8, 0, 0) for call in chunk]
    nobodys = [call for call in calls if utterances[call.utterances[0]].clip.speaker == "x/unknown"]
    assert [len(call.utterances) for call in nobodys] == [1] * 6


def test_shares_count_each_corpus_also_where_speakers_are_the_same_people():
    clips = [
        dataclasses.replace(a_clip(f"{c}{i}", c), speaker="ravdess/02") for c in ("say", "sing") for i in range(20)
    ]
    utterances = [Utterance(clip, np.zeros(4000, np.float32), 0, 4000) for clip in clips]
    chunks = epoch_calls(utterances, DataConfig(corpus_shares={"sing": 0.1}), 8, 0, 0)
    drawn = [utterances[i].clip.corpus for chunk in chunks for call in chunk for i in call.utterances]
    assert (drawn.count("say"), drawn.count("sing")) == (20, 2)


@pytest.mark.parametrize("n", [2, 17, 33])
def test_no_chunk_holds_a_single_clip(n, utterances, tmp_path):
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

SMALL = Recipe(
    about="for tests",
    features=FeatureConfig(n_mels=32, n_mfcc=13, normalisation="none"),
    network=NetworkConfig((ConvConfig(16), ConvConfig(16)), lstm_width=8),
    augmentation=aug.AugmentationConfig(noise_p=0.1, codec_p=0.1),
    fit=FitConfig(epochs=6, batch_size=16, learning_rate=5e-3, average_decay=0.5, keep="best_uar", masked_frames=4),
)
IN_CALLS = dataclasses.replace(
    SMALL,
    features=dataclasses.replace(SMALL.features, normalisation="mean", context_s=2),
    data=DataConfig(clips_per_call=4),
    fit=dataclasses.replace(SMALL.fit, keep="last", mixup=0.2, schedule="one_cycle"),
)


class Killed(Exception):
    """The process dies here."""


def fitted(recipe: Recipe, utterances, checkpoint: Path, die_after: int | None = None, identity: str = ""):
    def on_epoch(row):
        if row["epoch"] == die_after:
            raise Killed

    held_out = utterances[45:]
    truth, _ = right_labels([u.clip for u in held_out], LABELS, KNOWN)

    def validate(features, network):
        predicted = predict_logits(features, network, [u.speech for u in held_out]).argmax(-1).numpy()
        return {"validation_uar": uar(confusion(truth, predicted, 8))}

    return fit_network(
        recipe, calls_of(utterances[:45], recipe.augmentation), validate, 8, 0, torch.device("cpu"), 0, checkpoint,
        {"recipe": recipe, "data": identity}, Monitor(epoch=on_epoch),
    )  # fmt: skip


@pytest.mark.parametrize("recipe", [SMALL, IN_CALLS], ids=["clips", "calls"])
def test_a_training_that_was_killed_ends_as_one_that_was_not(recipe, utterances, tmp_path):
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


def test_a_training_learns_what_can_be_learnt(utterances, tmp_path):
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


def test_a_loss_that_is_no_number_ends_the_training_with_advice(utterances, tmp_path):
    wild = dataclasses.replace(SMALL, fit=dataclasses.replace(SMALL.fit, learning_rate=1e30, optimizer="adam"))
    with pytest.raises(UsageError, match=r"the loss is .*smaller fit.learning_rate"):
        fitted(wild, utterances, tmp_path / "x.pt")


# Recipes


def test_every_shipped_recipe_says_what_it_is_and_survives_a_round_trip():
    recipes = dict(shipped_recipes())
    published = {"mfcc-bilstm128", "mfcc174-bilstm64", "mel-bilstm", "mfcc-delta-bilstm128", "multi-feature-lstm"}
    assert published | {"telephone", "mel-cnn", "mel-lstm"} == set(recipes)
    for name, recipe in recipes.items():
        assert recipe.about.endswith("."), name
        assert recipe.source, name
        assert from_plain(Recipe, to_plain(recipe)) == recipe
    said = ser("train", "--list-recipes")
    assert said.returncode == 0, said.stderr
    assert all(name in said.stdout for name in recipes)


def test_the_recipes_have_the_shapes_that_were_published():
    recipes = dict(shipped_recipes())
    r = recipes["mfcc174-bilstm64"]
    assert (r.features.sample_rate, r.features.n_mfcc, r.features.n_frames, r.features.deltas) == (22050, 40, 174, 0)
    assert [(c.channels, c.kernel, c.pool, c.norm, c.dropout) for c in r.network.convolutions] == [
        (32, 3, 2, "after_relu", 0.3),
        (64, 3, 2, "after_relu", 0.3),
    ]
    assert (r.network.lstm_width, r.network.dropout, r.fit.schedule, r.fit.epochs) == (64, 0.5, "warm_restarts", 40)
    r = recipes["mfcc-delta-bilstm128"]
    assert (r.features.sample_rate, r.features.deltas, r.features.n_frames, r.features.level) == (16000, 2, 200, "peak")
    assert (r.fit.epochs, r.fit.learning_rate, r.data.validation_share, r.data.test_share) == (20, 1e-3, 0.15, 0.15)
    r = recipes["multi-feature-lstm"]
    assert [(c.channels, c.kernel, c.norm) for c in r.network.convolutions] == [
        (128, 5, "none"),
        (64, 3, "after_dropout"),
    ]
    assert (r.network.bidirectional, r.network.lstm_width, r.network.dense) == (False, 64, (32,))
    assert not recipes["mel-cnn"].network.lstm_width
    assert not recipes["mel-lstm"].network.convolutions


def test_a_recipe_that_cannot_be_meant_is_refused_with_the_option(tmp_path):
    text = 'about = "x"\n[features]\n[network]\nlstm_width = 8\n'
    for line, message in (
        ("[fit]\nepochs = 0", "must be above 0"),
        ("[fit]\noptimizer = 'sgd'", "fit.optimizer must be adam or adamw"),
        ("[augmentation]\nnoise_p = 2", "noise_p must be a probability"),
        ("[augmentation]\nnoise_snr_db = [9, 3]", "must be a range, the lower end first"),
        ("[data]\nvalidation_share = 0.6\ntest_share = 0.5", "leave some clips to train"),
        ("[fit]\nmomentum = 1", "unknown option fit.momentum"),
        ("[data]\ncorpus_shares = {ravdess = 2}", "data.corpus_shares above 0"),
        ("[augmentation]\nspeed = [1]", "augmentation.speed must be a list of 2 numbers"),
        ("[[network.convolutions]]\nkernel = 3", "option network.convolutions[[]0[]].channels is missing"),
    ):
        (tmp_path / "r.toml").write_text(text + line)
        with pytest.raises(ConfigError, match=message):
            load_recipe(str(tmp_path / "r.toml"))
    with pytest.raises(ConfigError, match="no recipe 'nope': .*mel-bilstm"):
        load_recipe("nope")


# Bundles


def options(
    corpora: Path, out: Path, recipe: Recipe = SMALL, epochs: int = 1, names=("ravdess",), **more
) -> TrainOptions:
    recipe = dataclasses.replace(recipe, fit=dataclasses.replace(recipe.fit, epochs=epochs))
    specs = tuple(f"{name}={corpora / name}" for name in names)
    return TrainOptions(specs, out, "small", recipe, device="cpu", workers=0, quiet=True, **more)


def silent(text: str) -> None: ...


def test_a_bundle_that_was_trained_is_used_by_its_path(corpora, tmp_path):
    said: list[str] = []
    given = options(corpora, tmp_path / "mine", epochs=2, names=("ravdess", "tess", "nemo"), test_fold=4)
    metrics = train_bundle(given, said.append)
    assert sum("epoch" in line for line in said) == 2
    assert not (tmp_path / "mine" / ".training").exists()
    assert set(metrics["test"]) == {"ravdess", "nemo"}
    for conditions in metrics["test"].values():
        assert set(conditions) == {"clean", "g711", "gsm", "telephone", "noise=10dB"}
        assert all(0 <= m["uar"] <= 1 and m["clips"] > 0 for m in conditions.values())
    assert json.loads((tmp_path / "mine" / "metrics.json").read_text())["test"].keys() == metrics["test"].keys()
    bundle = load_bundle(str(tmp_path / "mine"))
    assert bundle.labels == LABELS
    assert "non-commercial" in bundle.licence
    card = (tmp_path / "mine" / "README.md").read_text()
    assert "CC BY-NC-SA 4.0" in card
    assert f"{metrics['test']['ravdess']['gsm']['uar']:.1%}" in card
    for name in ("training.png", "confusion.png"):
        assert (tmp_path / "mine" / name).read_bytes().startswith(b"\x89PNG")
    predicted = ser("predict", EXAMPLES / "delivery" / "2002.wav", "--bundle", tmp_path / "mine", "--json")
    assert predicted.returncode == 0
    assert set(json.loads(predicted.stdout)["probabilities"]) == set(LABELS)


def test_folds_test_everyone_once_and_train_the_bundle_on_everyone(corpora, tmp_path):
    metrics = train_bundle(options(corpora, tmp_path / "x", IN_CALLS, folds=True, n_seeds=2), silent)
    result = metrics["test"]["ravdess"]["clean"]
    assert result["clips"] == 2 * 56  # every clip once for each seed
    assert len(result["uar_by_run"]) == 2 * len(metrics["folds"])
    assert result["uar"] == pytest.approx(np.mean(list(result["uar_by_run"].values())))
    tested = [speaker for fold in metrics["folds"].values() for speaker in fold["test"]]
    assert sorted(tested) == metrics["speakers"]["train"]
    for fold in metrics["folds"].values():
        assert not set(fold["train"]) & set(fold["test"])
    assert "clean, context" in metrics["test"]["ravdess"]
    assert "trained on everyone" in metrics["protocol"]


def test_folds_that_were_stopped_go_on_and_end_alike(corpora, tmp_path):
    undisturbed = train_bundle(options(corpora, tmp_path / "a" / "x", folds=True), silent)

    def stop_at_the_third(text: str) -> None:
        if text.startswith("fold 3"):
            raise Killed

    with pytest.raises(Killed):
        train_bundle(options(corpora, tmp_path / "b" / "x", folds=True), stop_at_the_third)
    trained_again: list[str] = []
    resumed = train_bundle(options(corpora, tmp_path / "b" / "x", folds=True), trained_again.append)
    assert not any("fold 1, seed 0, epoch" in line for line in trained_again)
    assert resumed["test"] == undisturbed["test"]
    a, b = (load_bundle(str(tmp_path / name / "x")) for name in "ab")
    assert a.model_id == b.model_id


def test_the_same_seed_gives_the_same_bundle_and_another_seed_another(corpora, tmp_path):
    ids = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train_bundle(options(corpora, tmp_path / name / "x", seed=seed), silent)
        ids.append(load_bundle(str(tmp_path / name / "x")).model_id)
    assert ids[0] == ids[1] != ids[2]


def test_a_random_split_is_warned_about_and_says_so_in_its_card(corpora, tmp_path):
    recipe = tmp_path / "small.toml"
    recipe.write_text(
        'about = "x."\n[features]\nn_mfcc = 13\nn_mels = 32\n[network]\nlstm_width = 8\n[fit]\nepochs = 1\n'
        "[data]\ntest_share = 0.0\n"
    )
    said = ser(
        "train", f"ravdess={corpora / 'ravdess'}", "--recipe", recipe, "--split", "random", "--out", tmp_path / "x",
        "--device", "cpu", "--workers", 0,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    assert "nothing about people whom the model has not heard" in said.stderr
    card = (tmp_path / "x" / "README.md").read_text()
    assert "every speaker stands on all sides" in card
    assert "The calibration was chosen on the very clips" in card
    compared = ser("compare", tmp_path / "x", "--format", "json")
    assert json.loads(compared.stdout)[0]["split"] == "random"


def test_fine_tuning_starts_from_a_bundle_also_for_other_labels(corpora, tmp_path):
    train_bundle(options(corpora, tmp_path / "base"), silent)
    base = load_bundle(str(tmp_path / "base"))
    other = dataclasses.replace(SMALL, network=NetworkConfig((), lstm_width=4))
    for seed, (label, speaker) in enumerate((label, s) for label in ("angry", "calm") for s in "abcdef"):
        write_clip(tmp_path / "own" / label / speaker / "1", seed)
    given = TrainOptions(
        (f"folder={tmp_path / 'own'}",), tmp_path / "tuned", "small", other, initial=str(tmp_path / "base"),
        device="cpu", workers=0, quiet=True,
    )  # fmt: skip
    still = dataclasses.replace(
        other, fit=dataclasses.replace(other.fit, epochs=1, learning_rate=1e-12, average_decay=0)
    )
    train_bundle(dataclasses.replace(given, recipe=still), silent)
    bundle = load_bundle(str(tmp_path / "tuned"))
    assert bundle.network == base.network
    assert bundle.labels == ("calm", "angry")
    assert bundle.weights["members.0.output.weight"].shape[0] == 2
    name = "members.0.lstm.weight_ih_l0"
    torch.testing.assert_close(bundle.weights[name], base.weights[name], atol=1e-6, rtol=0)
    with pytest.raises(BundleError, match="no bundle"):
        train_bundle(dataclasses.replace(given, initial="nothing"), silent)


def test_fine_tuning_to_as_many_other_labels_starts_the_last_layer_anew_and_tells_where_it_comes_from(
    corpora, tmp_path
):
    base_options = options(corpora, tmp_path / "base", labels=("calm", "angry"))
    train_bundle(base_options, silent)
    still = dataclasses.replace(SMALL, fit=dataclasses.replace(SMALL.fit, learning_rate=1e-12, average_decay=0))
    said: list[str] = []
    metrics = train_bundle(
        options(corpora, tmp_path / "x", still, labels=("happy", "sad"), initial=str(tmp_path / "base")), said.append
    )
    base, bundle = (load_bundle(str(tmp_path / name)) for name in ("base", "x"))
    output = "members.0.output.weight"
    assert bundle.weights[output].shape == base.weights[output].shape
    assert not torch.allclose(bundle.weights[output], base.weights[output])
    assert metrics["started_from"] == base.model_id
    assert metrics["speakers"]["before"]
    same = train_bundle(
        options(corpora, tmp_path / "y", still, test_fold=2, initial=str(tmp_path / "base")), said.append
    )
    assert any("was trained on" in line and "of the speakers that are tested here" in line for line in said)
    assert "fine-tuned from" in same["protocol"]
    assert base.licence in load_bundle(str(tmp_path / "y")).licence


def test_test_figures_that_were_kept_belong_to_their_weights(corpora, tmp_path):
    def stop(text: str) -> None:
        if text.startswith("fold 2"):
            raise Killed

    with pytest.raises(Killed):
        train_bundle(options(corpora, tmp_path / "x", folds=True), stop)
    work = tmp_path / "x" / ".training"
    (work / "fold-1-seed-0.pt").unlink()
    kept = torch.load(work / "fold-1-seed-0-logits.pt", weights_only=True)
    kept["identity"] = "of other weights"
    kept["logits"]["test"] = {name: torch.zeros(1, 8) for name in kept["logits"]["test"]}
    torch.save(kept, work / "fold-1-seed-0-logits.pt")
    resumed = train_bundle(options(corpora, tmp_path / "x", folds=True), silent)
    undisturbed = train_bundle(options(corpora, tmp_path / "y", folds=True), silent)
    assert resumed["test"] == undisturbed["test"]


def test_a_training_without_anybody_to_validate_says_so(corpora, tmp_path):
    metrics = train_bundle(options(corpora, tmp_path / "x", names=("tess",)), silent)
    assert "nobody to validate on" in metrics["protocol"]
    assert metrics["calibration"]["temperature"] == 1.0


def test_a_training_that_cannot_write_says_so_and_leaves_what_was_there(corpora, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="cannot be written"):
        train_bundle(options(corpora, tmp_path / "file" / "x"), silent)
    train_bundle(options(corpora, tmp_path / "x"), silent)
    before = {path.name: path.read_bytes() for path in (tmp_path / "x").iterdir()}
    real = Path.write_bytes

    def full(self: Path, data: bytes) -> int:
        if "safetensors" in self.name:
            raise OSError(28, "No space left on device")
        return real(self, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(BundleError, match="No space left on device; make room"):
        train_bundle(options(corpora, tmp_path / "x", seed=1), silent)
    after = {path.name: path.read_bytes() for path in (tmp_path / "x").iterdir() if path.is_file()}
    assert after == before


def test_ctrl_c_in_an_epoch_leaves_no_bundle_and_the_same_command_goes_on(corpora, tmp_path):
    recipe = tmp_path / "small.toml"
    recipe.write_text('about = "x."\n[features]\n[network]\nlstm_width = 8\n[fit]\nepochs = 400\n')
    command = [
        sys.executable, "-m", "ser_batch", "train", f"ravdess={corpora / 'ravdess'}", "--recipe", str(recipe),
        "--out", str(tmp_path / "x"), "--device", "cpu", "--workers", "0",
    ]  # fmt: skip
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # A shell that runs the tests in the background has its children ignore the signal.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    checkpoint = tmp_path / "x" / ".training" / "fold-1-seed-0.pt"
    deadline = time.time() + 120
    while not checkpoint.exists() and time.time() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert "same command" in errors
    assert not (tmp_path / "x" / "config.json").exists()
    state = torch.load(checkpoint, weights_only=True)
    assert len(state["history"]) >= 1


def test_tensorboard_gets_every_epochs_figures(corpora, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train_bundle(options(corpora, tmp_path / "x", epochs=2, tensorboard=tmp_path / "logs"), silent)
    events = EventAccumulator(str(tmp_path / "logs" / "fold 1, seed 0")).Reload()
    assert [event.step for event in events.Scalars("loss")] == [0, 1]
    assert {"validation_uar", "rate"} <= set(events.Tags()["scalars"])


# Evaluating, comparing, tuning


def test_an_evaluation_gives_every_figure_and_warns_of_speakers_that_were_trained_on(corpora, tmp_path):
    train_bundle(options(corpora, tmp_path / "x", IN_CALLS), silent)
    spec = f"ravdess={corpora / 'ravdess'}"
    evaluation = evaluate_bundle(str(tmp_path / "x"), [spec], ("clean", "noise=5dB"), device="cpu")
    assert set(evaluation["test"]["ravdess"]) == {"clean", "clean, context", "noise=5dB", "noise=5dB, context"}
    m = evaluation["test"]["ravdess"]["clean"]
    assert {"uar", "accuracy", "macro_f1", "recall", "precision", "confusion", "ece", "reliability"} <= set(m)
    assert {"accuracy_by_coverage", "intervals_95"} <= set(m)
    assert evaluation["seen_speakers"]
    said = ser("evaluate", tmp_path / "x", spec, "--condition", "telephone", "--out", tmp_path / "e", "--device", "cpu")
    assert said.returncode == 0, said.stderr
    assert "was trained on" in said.stderr
    assert "telephone+context" in said.stdout
    assert json.loads((tmp_path / "e" / "evaluation.json").read_text())["model_id"] == evaluation["model_id"]
    assert (tmp_path / "e" / "ravdess-telephone-context.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UsageError, match="no condition"):
        evaluate_bundle(str(tmp_path / "x"), [spec], ("dry",))


def test_a_label_that_a_bundle_lacks_is_refused_with_what_to_do(corpora, tmp_path):
    train_bundle(options(corpora, tmp_path / "x", names=("tess", "nemo")), silent)
    spec = f"ravdess={corpora / 'ravdess'}"
    with pytest.raises(CorpusError, match="unknown label 'calm'.*the model has neutral.*--map calm=LABEL"):
        evaluate_bundle(str(tmp_path / "x"), [spec], device="cpu")
    result = evaluate_bundle(str(tmp_path / "x"), [spec], label_map={"calm": "neutral"}, device="cpu")
    assert result["test"]["ravdess"]["clean"]["clips"] == 56


def test_a_bundle_with_labels_of_its_own_is_evaluated_on_them(tmp_path):
    for seed, (label, speaker) in enumerate((label, s) for label in ("cross", "neutral") for s in "abcdef"):
        write_clip(tmp_path / "own" / label / speaker / "1", seed)
    spec = f"folder={tmp_path / 'own'}"
    given = TrainOptions(
        (spec,), tmp_path / "x", "small", SMALL, labels=("cross", "neutral"), device="cpu", workers=0, quiet=True
    )
    given = dataclasses.replace(given, recipe=dataclasses.replace(SMALL, fit=dataclasses.replace(SMALL.fit, epochs=1)))
    train_bundle(given, silent)
    result = evaluate_bundle(str(tmp_path / "x"), [spec], device="cpu")
    assert result["labels"] == ["cross", "neutral"]
    assert result["test"]["own"]["clean"]["clips"] == 12


def test_bundles_are_compared_side_by_side(corpora, tmp_path):
    for name, seed in (("one", 0), ("two", 1)):
        train_bundle(options(corpora, tmp_path / "runs" / name, seed=seed), silent)
    assert list(read_metrics([str(tmp_path / "runs")])) == ["one", "two"]
    said = ser("compare", tmp_path / "runs", "--format", "markdown", "--condition", "gsm")
    assert said.returncode == 0, said.stderr
    lines = said.stdout.strip().split("\n")
    assert len(lines) == 4
    assert lines[2].startswith("| one | ravdess | gsm | speakers | ")
    assert ser("compare", tmp_path / "nothing").returncode == 2
    assert "choose another --condition" in ser("compare", tmp_path / "runs", "--condition", "reverb").stderr


def test_a_search_starts_with_the_recipe_itself_and_goes_on_where_it_was(corpora, tmp_path):
    said: list[str] = []
    given = options(corpora, tmp_path / "x")
    first = tuned(given, 2, said.append)
    assert said[0].startswith("trial 1")
    assert "rate 1," in said[0]
    said.clear()
    again = tuned(given, 3, said.append)
    assert [line.split(":")[0] for line in said] == ["trial 3", "best of 3 trials"]
    assert isinstance(first.recipe, Recipe)
    assert again.recipe.features == SMALL.features
    for changed in ({"split": "random"}, {"folds": True}, {"initial": "telephone"}):
        with pytest.raises(UsageError, match="leave --split random, --folds and --init out"):
            tuned(dataclasses.replace(given, **changed), 1, silent)
    metrics = train_bundle(again, silent)
    assert "searched for in 3 trials" in metrics["protocol"]
    assert load_recipe(str(tmp_path / "x")) == again.recipe


def test_a_search_that_was_stopped_in_its_first_trial_tries_that_again(corpora, tmp_path, monkeypatch):
    given = options(corpora, tmp_path / "x")

    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("ser_batch.training.tune.fit_run", stop)
        with pytest.raises(KeyboardInterrupt):
            tuned(given, 1, silent)
    said: list[str] = []
    assert tuned(given, 1, said.append).recipe == given.recipe
    assert "rate 1," in said[0]


def test_a_trial_that_diverges_costs_itself_alone(corpora, tmp_path, monkeypatch):
    from ser_batch.training import tune

    real, calls = tune.fit_run, []

    def sometimes(*args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            raise DivergedError("the loss is nan")
        return real(*args, **kwargs)

    monkeypatch.setattr(tune, "fit_run", sometimes)
    said: list[str] = []
    tuned(options(corpora, tmp_path / "x"), 3, said.append)
    assert "the loss is nan" in said[1]
    assert said[-1].startswith("best of 3 trials")


def test_a_trial_of_ones_and_the_recipes_own_dropout_is_the_recipe():
    import optuna

    for _, recipe in shipped_recipes():
        same = {"rate": 1.0, "dropout": recipe.network.dropout, "width": 1.0, "augmentation": 1.0}
        assert suggested(recipe, optuna.trial.FixedTrial(same)) == recipe


def test_all_conditions_that_are_explained_can_be_heard():
    from ser_batch.training.conditions import check_condition

    for name in CONDITIONS:
        assert check_condition(name.replace("X", "12"))
