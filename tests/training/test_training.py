"""Training end to end: bundles, folds, fine-tuning, evaluation and search."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ser_batch.emotion.bundles import load_bundle
from ser_batch.emotion.network import NetworkConfig
from ser_batch.errors import BundleError, CorpusError, UsageError
from ser_batch.training.corpora.labels import LABELS
from ser_batch.training.evaluation.conditions import CONDITIONS
from ser_batch.training.evaluation.evaluating import evaluate_bundle, read_metrics
from ser_batch.training.fit.building import train_bundle
from ser_batch.training.fit.fitting import DivergedError
from ser_batch.training.fit.options import TrainOptions
from ser_batch.training.fit.tuning import suggested, tuned
from ser_batch.training.recipe import Recipe, load_recipe, shipped_recipes
from tests.support.commands import ser
from tests.support.corpora import write_clip
from tests.support.paths import EXAMPLES
from tests.support.training import IN_CALLS, SMALL, Killed
from tests.support.waiting import wait_until


def options(
    corpora: Path,
    out: Path,
    recipe: Recipe = SMALL,
    epochs: int = 1,
    names=("ravdess",),
    **more,
) -> TrainOptions:
    recipe = dataclasses.replace(
        recipe, fit=dataclasses.replace(recipe.fit, epochs=epochs)
    )
    specs = tuple(f"{name}={corpora / name}" for name in names)
    return TrainOptions(
        specs, out, "small", recipe, device="cpu", workers=0, quiet=True, **more
    )


def silent(text: str) -> None: ...


def test_a_trained_bundle_can_be_used_by_its_path(corpora, tmp_path):
    said: list[str] = []
    given = options(
        corpora,
        tmp_path / "mine",
        epochs=2,
        names=("ravdess", "tess", "nemo"),
        test_fold=4,
    )
    metrics = train_bundle(given, said.append)
    assert sum("epoch" in line for line in said) == 2
    assert not (tmp_path / "mine" / ".training").exists()
    assert set(metrics["test"]) == {"ravdess", "nemo"}
    for conditions in metrics["test"].values():
        assert set(conditions) == {"clean", "g711", "gsm", "telephone", "noise=10dB"}
        assert all(0 <= m["uar"] <= 1 and m["clips"] > 0 for m in conditions.values())
    assert (
        json.loads((tmp_path / "mine" / "metrics.json").read_text())["test"].keys()
        == metrics["test"].keys()
    )
    bundle = load_bundle(str(tmp_path / "mine"))
    assert bundle.labels == LABELS
    assert "non-commercial" in bundle.licence
    card = (tmp_path / "mine" / "README.md").read_text()
    assert "CC BY-NC-SA 4.0" in card
    assert f"{metrics['test']['ravdess']['gsm']['uar']:.1%}" in card
    for name in ("training.png", "confusion.png"):
        assert (tmp_path / "mine" / name).read_bytes().startswith(b"\x89PNG")
    predicted = ser(
        "predict",
        EXAMPLES / "delivery" / "2002.wav",
        "--bundle",
        tmp_path / "mine",
        "--json",
    )
    assert predicted.returncode == 0
    assert set(json.loads(predicted.stdout)["probabilities"]) == set(LABELS)


def test_folds_test_every_speaker_once_and_the_bundle_uses_all_speakers(
    corpora, tmp_path
):
    metrics = train_bundle(
        options(corpora, tmp_path / "x", IN_CALLS, folds=True, n_seeds=2), silent
    )
    result = metrics["test"]["ravdess"]["clean"]
    assert result["clips"] == 2 * 56  # every clip once for each seed
    assert len(result["uar_by_run"]) == 2 * len(metrics["folds"])
    assert result["uar"] == pytest.approx(np.mean(list(result["uar_by_run"].values())))
    tested = [speaker for fold in metrics["folds"].values() for speaker in fold["test"]]
    assert sorted(tested) == metrics["speakers"]["train"]
    for fold in metrics["folds"].values():
        assert not set(fold["train"]) & set(fold["test"])
    assert "clean, context" in metrics["test"]["ravdess"]
    assert "trained on all speakers" in metrics["protocol"]


def test_interrupted_folds_resume_and_give_the_same_bundle(corpora, tmp_path):
    undisturbed = train_bundle(
        options(corpora, tmp_path / "a" / "x", folds=True), silent
    )

    def stop_at_the_third(text: str) -> None:
        if text.startswith("fold 3"):
            raise Killed

    with pytest.raises(Killed):
        train_bundle(
            options(corpora, tmp_path / "b" / "x", folds=True), stop_at_the_third
        )
    trained_again: list[str] = []
    resumed = train_bundle(
        options(corpora, tmp_path / "b" / "x", folds=True), trained_again.append
    )
    assert not any("fold 1, seed 0, epoch" in line for line in trained_again)
    assert resumed["test"] == undisturbed["test"]
    a, b = (load_bundle(str(tmp_path / name / "x")) for name in "ab")
    assert a.model_id == b.model_id


def test_the_bundle_depends_only_on_the_seed(corpora, tmp_path):
    ids = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train_bundle(options(corpora, tmp_path / name / "x", seed=seed), silent)
        ids.append(load_bundle(str(tmp_path / name / "x")).model_id)
    assert ids[0] == ids[1] != ids[2]


def test_a_random_split_gives_a_warning_and_is_stated_in_the_card(corpora, tmp_path):
    recipe = tmp_path / "small.toml"
    recipe.write_text(
        'about = "x."\n[features]\nn_mfcc = 13\nn_mels = 32\n'
        "[network]\nlstm_width = 8\n[fit]\nepochs = 1\n"
        "[data]\ntest_share = 0.0\n"
    )
    said = ser(
        "train", f"ravdess={corpora / 'ravdess'}", "--recipe", recipe,
        "--split", "random", "--out", tmp_path / "x",
        "--device", "cpu", "--workers", 0,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    assert "nothing about unseen speakers" in said.stderr
    card = (tmp_path / "x" / "README.md").read_text()
    assert "speakers occur in all parts" in card
    assert "The calibration was chosen on the very clips" in card
    compared = ser("compare", tmp_path / "x", "--format", "json")
    assert json.loads(compared.stdout)[0]["split"] == "random"


def test_fine_tuning_starts_from_a_bundle_even_for_other_labels(corpora, tmp_path):
    train_bundle(options(corpora, tmp_path / "base"), silent)
    base = load_bundle(str(tmp_path / "base"))
    other = dataclasses.replace(SMALL, network=NetworkConfig((), lstm_width=4))
    for seed, (label, speaker) in enumerate(
        (label, s) for label in ("angry", "calm") for s in "abcdef"
    ):
        write_clip(tmp_path / "own" / label / speaker / "1", seed)
    given = TrainOptions(
        (f"folder={tmp_path / 'own'}",),
        tmp_path / "tuned",
        "small",
        other,
        initial=str(tmp_path / "base"),
        device="cpu",
        workers=0,
        quiet=True,
    )
    still = dataclasses.replace(
        other,
        fit=dataclasses.replace(
            other.fit, epochs=1, learning_rate=1e-12, average_decay=0
        ),
    )
    train_bundle(dataclasses.replace(given, recipe=still), silent)
    bundle = load_bundle(str(tmp_path / "tuned"))
    assert bundle.network == base.network
    assert bundle.labels == ("calm", "angry")
    assert bundle.weights["members.0.output.weight"].shape[0] == 2
    name = "members.0.lstm.weight_ih_l0"
    torch.testing.assert_close(
        bundle.weights[name], base.weights[name], atol=1e-6, rtol=0
    )
    with pytest.raises(BundleError, match="no bundle"):
        train_bundle(dataclasses.replace(given, initial="nothing"), silent)


def test_fine_tuning_to_other_labels_resets_the_output_layer(corpora, tmp_path):
    base_options = options(corpora, tmp_path / "base", labels=("calm", "angry"))
    train_bundle(base_options, silent)
    still = dataclasses.replace(
        SMALL, fit=dataclasses.replace(SMALL.fit, learning_rate=1e-12, average_decay=0)
    )
    said: list[str] = []
    metrics = train_bundle(
        options(
            corpora,
            tmp_path / "x",
            still,
            labels=("happy", "sad"),
            initial=str(tmp_path / "base"),
        ),
        said.append,
    )
    base, bundle = (load_bundle(str(tmp_path / name)) for name in ("base", "x"))
    output = "members.0.output.weight"
    assert bundle.weights[output].shape == base.weights[output].shape
    assert not torch.allclose(bundle.weights[output], base.weights[output])
    assert metrics["started_from"] == base.model_id
    assert metrics["speakers"]["before"]
    same = train_bundle(
        options(
            corpora, tmp_path / "y", still, test_fold=2, initial=str(tmp_path / "base")
        ),
        said.append,
    )
    assert any(
        "was trained on" in line and "of the test speakers" in line for line in said
    )
    assert "Fine-tuned from" in same["protocol"]
    assert base.licence in load_bundle(str(tmp_path / "y")).licence


def test_stored_test_figures_are_used_only_with_matching_weights(corpora, tmp_path):
    def stop(text: str) -> None:
        if text.startswith("fold 2"):
            raise Killed

    with pytest.raises(Killed):
        train_bundle(options(corpora, tmp_path / "x", folds=True), stop)
    work = tmp_path / "x" / ".training"
    (work / "fold-1-seed-0.pt").unlink()
    kept = torch.load(work / "fold-1-seed-0-logits.pt", weights_only=True)
    kept["identity"] = "of other weights"
    kept["logits"]["test"] = {
        name: torch.zeros(1, 8) for name in kept["logits"]["test"]
    }
    torch.save(kept, work / "fold-1-seed-0-logits.pt")
    resumed = train_bundle(options(corpora, tmp_path / "x", folds=True), silent)
    undisturbed = train_bundle(options(corpora, tmp_path / "y", folds=True), silent)
    assert resumed["test"] == undisturbed["test"]


def test_a_training_without_validation_speakers_states_it(corpora, tmp_path):
    metrics = train_bundle(options(corpora, tmp_path / "x", names=("tess",)), silent)
    assert "no validation speakers" in metrics["protocol"]
    assert metrics["calibration"]["temperature"] == 1.0


def test_a_failed_write_is_reported_and_keeps_the_existing_bundle(
    corpora, tmp_path, monkeypatch
):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="cannot be written"):
        train_bundle(options(corpora, tmp_path / "file" / "x"), silent)
    train_bundle(options(corpora, tmp_path / "x"), silent)
    before = {path.name: path.read_bytes() for path in (tmp_path / "x").iterdir()}
    real = Path.open

    def full(self: Path, *arguments, **kwargs):
        if "safetensors" in self.name and "wb" in arguments:
            raise OSError(28, "No space left on device")
        return real(self, *arguments, **kwargs)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(
        BundleError, match="No space left on device; free up disk space"
    ):
        train_bundle(options(corpora, tmp_path / "x", seed=1), silent)
    after = {
        path.name: path.read_bytes()
        for path in (tmp_path / "x").iterdir()
        if path.is_file()
    }
    assert after == before


def test_ctrl_c_during_an_epoch_keeps_a_checkpoint_but_no_bundle(corpora, tmp_path):
    recipe = tmp_path / "small.toml"
    recipe.write_text(
        'about = "x."\n[features]\n[network]\nlstm_width = 8\n[fit]\nepochs = 400\n'
    )
    command = [
        sys.executable, "-m", "ser_batch",
        "train", f"ravdess={corpora / 'ravdess'}", "--recipe", str(recipe),
        "--out", str(tmp_path / "x"), "--device", "cpu", "--workers", "0",
    ]  # fmt: skip
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # Children of a background shell ignore SIGINT by default.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    checkpoint = tmp_path / "x" / ".training" / "fold-1-seed-0.pt"
    wait_until(checkpoint.exists)
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    # tqdm prints an error of its own if it is interrupted while it makes a bar.
    of_tqdm = r"Exception ignored in: <function tqdm\.__del__.*?AttributeError: .*?\n"
    assert "Traceback" not in re.sub(of_tqdm, "", errors, flags=re.DOTALL)
    assert "same command" in errors
    assert not (tmp_path / "x" / "config.json").exists()
    state = torch.load(checkpoint, weights_only=True)
    assert len(state["history"]) >= 1


def test_tensorboard_receives_the_figures_of_every_epoch(corpora, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train_bundle(
        options(corpora, tmp_path / "x", epochs=2, tensorboard=tmp_path / "logs"),
        silent,
    )
    events = EventAccumulator(str(tmp_path / "logs" / "fold 1, seed 0")).Reload()
    assert [event.step for event in events.Scalars("loss")] == [0, 1]
    assert {"validation_uar", "rate"} <= set(events.Tags()["scalars"])


# Evaluating, comparing, tuning


def test_an_evaluation_gives_all_metrics_and_warns_of_seen_speakers(corpora, tmp_path):
    train_bundle(options(corpora, tmp_path / "x", IN_CALLS), silent)
    spec = f"ravdess={corpora / 'ravdess'}"
    evaluation = evaluate_bundle(
        str(tmp_path / "x"), [spec], ("clean", "noise=5dB"), device="cpu"
    )
    assert set(evaluation["test"]["ravdess"]) == {
        "clean",
        "clean, context",
        "noise=5dB",
        "noise=5dB, context",
    }
    m = evaluation["test"]["ravdess"]["clean"]
    assert {
        "uar",
        "accuracy",
        "macro_f1",
        "recall",
        "precision",
        "confusion",
        "ece",
        "reliability",
    } <= set(m)
    assert {"accuracy_by_coverage", "intervals_95"} <= set(m)
    assert evaluation["seen_speakers"]
    said = ser(
        "evaluate",
        tmp_path / "x",
        spec,
        "--condition",
        "telephone",
        "--out",
        tmp_path / "e",
        "--device",
        "cpu",
    )
    assert said.returncode == 0, said.stderr
    assert "was trained on" in said.stderr
    assert "telephone+context" in said.stdout
    assert (
        json.loads((tmp_path / "e" / "evaluation.json").read_text())["model_id"]
        == evaluation["model_id"]
    )
    assert (
        (tmp_path / "e" / "ravdess-telephone-context.png")
        .read_bytes()
        .startswith(b"\x89PNG")
    )
    with pytest.raises(UsageError, match="unknown condition"):
        evaluate_bundle(str(tmp_path / "x"), [spec], ("dry",))


def test_a_label_missing_from_a_bundle_is_refused_with_a_hint(corpora, tmp_path):
    train_bundle(options(corpora, tmp_path / "x", names=("tess", "nemo")), silent)
    spec = f"ravdess={corpora / 'ravdess'}"
    with pytest.raises(
        CorpusError,
        match="unknown label 'calm'.*the labels of the model are neutral"
        ".*--map calm=LABEL",
    ):
        evaluate_bundle(str(tmp_path / "x"), [spec], device="cpu")
    result = evaluate_bundle(
        str(tmp_path / "x"), [spec], label_map={"calm": "neutral"}, device="cpu"
    )
    assert result["test"]["ravdess"]["clean"]["clips"] == 56


def test_a_bundle_with_custom_labels_is_evaluated_on_them(tmp_path):
    for seed, (label, speaker) in enumerate(
        (label, s) for label in ("cross", "neutral") for s in "abcdef"
    ):
        write_clip(tmp_path / "own" / label / speaker / "1", seed)
    spec = f"folder={tmp_path / 'own'}"
    given = TrainOptions(
        (spec,),
        tmp_path / "x",
        "small",
        SMALL,
        labels=("cross", "neutral"),
        device="cpu",
        workers=0,
        quiet=True,
    )
    given = dataclasses.replace(
        given,
        recipe=dataclasses.replace(SMALL, fit=dataclasses.replace(SMALL.fit, epochs=1)),
    )
    train_bundle(given, silent)
    result = evaluate_bundle(str(tmp_path / "x"), [spec], device="cpu")
    assert result["labels"] == ["cross", "neutral"]
    assert result["test"]["own"]["clean"]["clips"] == 12


def test_bundles_are_compared_in_one_table(corpora, tmp_path):
    for name, seed in (("one", 0), ("two", 1)):
        train_bundle(options(corpora, tmp_path / "runs" / name, seed=seed), silent)
    assert list(read_metrics([str(tmp_path / "runs")])) == ["one", "two"]
    said = ser(
        "compare", tmp_path / "runs", "--format", "markdown", "--condition", "gsm"
    )
    assert said.returncode == 0, said.stderr
    lines = said.stdout.strip().split("\n")
    assert len(lines) == 4
    assert lines[2].startswith("| one | ravdess | gsm | speakers | ")
    assert ser("compare", tmp_path / "nothing").returncode == 2
    assert (
        "choose another --condition"
        in ser("compare", tmp_path / "runs", "--condition", "reverb").stderr
    )


def test_a_search_starts_with_the_recipe_and_can_be_resumed(corpora, tmp_path):
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
        with pytest.raises(
            UsageError,
            match="cannot be combined with --split random, --folds or --init",
        ):
            tuned(dataclasses.replace(given, **changed), 1, silent)
    metrics = train_bundle(again, silent)
    assert "in 3 trials" in metrics["protocol"]
    assert load_recipe(str(tmp_path / "x")) == again.recipe


def test_a_search_interrupted_in_its_first_trial_repeats_it(
    corpora, tmp_path, monkeypatch
):
    given = options(corpora, tmp_path / "x")

    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("ser_batch.training.fit.tuning.fit_run", stop)
        with pytest.raises(KeyboardInterrupt):
            tuned(given, 1, silent)
    said: list[str] = []
    assert tuned(given, 1, said.append).recipe == given.recipe
    assert "rate 1," in said[0]


def test_a_diverging_trial_does_not_stop_the_search(corpora, tmp_path, monkeypatch):
    from ser_batch.training.fit import tuning as tune

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


def test_a_trial_with_neutral_values_is_the_recipe_itself():
    import optuna

    for _, recipe in shipped_recipes():
        if not isinstance(recipe, Recipe):
            continue
        same = {
            "rate": 1.0,
            "dropout": recipe.network.dropout,
            "width": 1.0,
            "augmentation": 1.0,
        }
        assert suggested(recipe, optuna.trial.FixedTrial(same)) == recipe


def test_all_documented_conditions_are_available():
    from ser_batch.training.evaluation.conditions import check_condition

    for name in CONDITIONS:
        assert check_condition(name.replace("X", "12"))
