"""A bundle learns from labels of a centre's own calls, and claims no more than that."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from ser_batch.emotion.bundles import load_bundle
from ser_batch.emotion.loading import load_scorer
from ser_batch.emotion.profiled_bundle import ProfiledBundle
from ser_batch.emotion.profiled_scorer import ProfiledScorer
from ser_batch.errors import BundleError, UsageError
from ser_batch.labelling.agreement import read_labels
from ser_batch.labelling.answers import Answer, answer_file
from ser_batch.labelling.folder import Labelling
from ser_batch.labelling.starting import start_labelling
from ser_batch.training.adapting.adapting import FOLDS, adapt
from ser_batch.training.adapting.heads import Described, Head, fit_head
from ser_batch.training.adapting.learners import ProfiledLearner, load_learner
from ser_batch.training.adapting.mixing import heard_of_corpora
from ser_batch.training.adapting.problem import Problem
from ser_batch.training.adapting.tuning import DECAY, TUNED
from ser_batch.training.checkpoints.adding import add_checkpoint
from ser_batch.training.evaluation.own_calls import (
    evaluate_on_labels,
    profile_speech,
    segment_waveforms,
)
from tests.support.bundles import write_profiled_bundle
from tests.support.checkpoints import write_checkpoint, write_dimensional
from tests.support.commands import ser
from tests.support.corpora import write_corpora
from tests.support.results import call, write_results

RATE, CALLS, SEGMENTS = 8000, 12, 10
PITCH = {"neutral": 300, "angry": 1300, "happy": 2600}


def labelled(tmp_path: Path, n: int = 100, **answer) -> Labelling:
    """Return labelled segments of calls in which each emotion has its own pitch."""
    rng, rows, truth = np.random.default_rng(0), [], {}
    (tmp_path / "in").mkdir(parents=True)
    for number in range(CALLS):
        name, length_s = f"{number:02}.wav", 3 * SEGMENTS
        waveform, scored = rng.normal(0, 1e-3, (length_s * RATE, 2)), []
        for i in range(SEGMENTS):
            label = str(rng.choice(list(PITCH), p=[0.6, 0.2, 0.2]))
            t = np.arange(2 * RATE) / RATE
            wobble = 1 + 0.02 * np.sin(2 * np.pi * rng.uniform(3, 6) * t)
            tone = 0.2 * np.sin(2 * np.pi * PITCH[label] * wobble * t)
            waveform[3 * i * RATE : (3 * i + 2) * RATE, 1] += tone
            scored.append(
                (
                    3 * i,
                    3 * i + 2,
                    dict(zip(PITCH, rng.dirichlet([1] * 3), strict=True)),
                )
            )
            truth[name, 3.0 * i] = label
        soundfile.write(tmp_path / "in" / name, waveform, RATE, "PCM_16")
        rows.append(
            call(
                name,
                scored=scored,
                duration_s=length_s,
                input_root=str(tmp_path / "in"),
            )
        )
    results = write_results(tmp_path / "out", *rows)
    labelling = start_labelling(results, tmp_path / "labels", n).labelling
    own = labelling.segments
    where = zip(own["clip"], own.path, own.start_s, strict=True)
    answer_file(labelling.folder, "oracle").append([
        Answer(clip, answer.get("label", truth[path, start]))
        for clip, path, start in where
    ])  # fmt: skip
    return labelling


@pytest.fixture
def bundle(tmp_path) -> str:
    return str(write_profiled_bundle(tmp_path / "bundle", members=1))


def test_a_bundle_learns_what_labels_teach_and_its_card_says_so(tmp_path, bundle):
    labelling, out = labelled(tmp_path), tmp_path / "ours"
    done = ser("adapt", bundle, "--labels", labelling.folder, "--out", out)
    assert done.returncode == 0, done.stderr
    metrics = json.loads((out / "metrics.json").read_text())["adapted"]
    assert metrics["after"]["uar"] > metrics["before"]["uar"] + 0.2
    assert metrics["gain_95"][0] > 0
    assert metrics["from"] == load_bundle(bundle).model_id
    # What it says of recordings that were not used holds for those that were.
    now = evaluate_on_labels(str(out), labelling)["test"]["own calls"]["labelled"]
    assert now["uar"] >= metrics["after"]["uar"] - 0.05
    card = (out / "README.md").read_text()
    assert card.startswith("# ours")
    assert f"adapted to {metrics['segments']} labelled segments" in card
    assert "points" in done.stdout
    assert load_bundle(str(out)).model_id != load_bundle(bundle).model_id
    compared = ser("evaluate", out, "--labels", labelling.folder)
    assert compared.returncode == 0, compared.stderr


def test_labels_at_random_teach_no_more_than_their_own_priors(tmp_path, bundle):
    labelling = labelled(tmp_path)
    rng = np.random.default_rng(1)
    clips = list(labelling.segments["clip"])
    answer_file(labelling.folder, "oracle").append(
        [Answer(clip, str(rng.choice(list(PITCH)))) for clip in clips]
    )
    found = adapt(bundle, labelling, tmp_path / "ours", "cpu")
    assert found.after["uar"] < 1 / len(PITCH) + 0.15


def test_too_few_labels_and_labels_of_one_kind_are_refused(tmp_path, bundle):
    few = labelled(tmp_path / "few", 10)
    with pytest.raises(UsageError, match="10 labelled segments of"):
        adapt(bundle, few, tmp_path / "ours", "cpu")
    same = labelled(tmp_path / "same", 60, label="angry")
    with pytest.raises(UsageError, match="all labels are the same"):
        adapt(bundle, same, tmp_path / "ours", "cpu")
    assert not (tmp_path / "ours").exists()


def test_bundles_that_cannot_be_adapted_are_refused_with_a_reason(
    tmp_path, tiny_bundle
):
    labelling = labelled(tmp_path)
    with pytest.raises(UsageError, match="normalises by speaker"):
        adapt(str(tiny_bundle), labelling, tmp_path / "ours", "cpu")
    two = write_profiled_bundle(tmp_path / "two", members=2)
    with pytest.raises(UsageError, match="2 members"):
        adapt(str(two), labelling, tmp_path / "ours", "cpu")
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "x").touch()
    with pytest.raises(UsageError, match="not an empty folder"):
        adapt(str(two), labelling, tmp_path / "ours", "cpu")


def test_a_head_gives_the_probabilities_of_the_whole_network(tmp_path, bundle):
    loaded = load_bundle(bundle)
    assert isinstance(loaded, ProfiledBundle)
    rng = np.random.default_rng(0)
    waveforms = [
        rng.normal(0, 0.1, n).astype(np.float32) for n in (9000, 16000, 12000) * 10
    ]
    scorer = ProfiledScorer(loaded, "cpu")
    speech = {str(i): [w] for i, w in enumerate(waveforms)}
    scorer = scorer.with_profile(scorer.profile_of({"": speech}))
    pooled, arousal = scorer.described(waveforms, [""] * len(waveforms))
    n = len(loaded.labels)
    head = ProfiledLearner(loaded, scorer).head
    own = Described(pooled, torch.zeros(len(waveforms), n), arousal)
    assert head.probabilities(own).numpy() == pytest.approx(
        scorer.predict(waveforms), abs=1e-5
    )


def problem_of(bundle: str, labelling: Labelling, mix: tuple[str, ...] = ()) -> Problem:
    learner = load_learner(bundle, "cpu")
    assert isinstance(learner, ProfiledLearner)
    waveforms = segment_waveforms(labelling, learner.sample_rate)
    learner.set_place(profile_speech(labelling, waveforms))
    mixed = heard_of_corpora(learner, mix, 0)
    return Problem.of(learner, labelling, read_labels(labelling), waveforms, mixed)


def test_segments_are_heard_for_fine_tuning_as_they_are_for_scoring(tmp_path, bundle):
    problem = problem_of(bundle, labelled(tmp_path))
    assert isinstance(problem.learner, ProfiledLearner)
    assert problem.heard is not None
    described = problem.heard.described(problem.learner.bundle.modules()[0])
    assert described.pooled.numpy() == pytest.approx(
        problem.own.pooled.numpy(), abs=1e-3
    )
    assert described.arousal.numpy() == pytest.approx(
        problem.own.arousal.numpy(), abs=1e-4
    )


def test_a_fine_tuned_bundle_scores_as_it_did_when_it_was_fitted(tmp_path, bundle):
    labelling, out = labelled(tmp_path), tmp_path / "ours"
    problem = problem_of(bundle, labelling)
    rows = np.arange(len(problem.rows))
    tuned = problem.tuned(rows, 0)
    fitted = problem.probabilities(tuned, rows)
    # It fits the labels at least as well as the last layer alone.
    head = problem.probabilities(problem.fitted(DECAY, rows), rows)
    assert problem.uar(fitted) >= problem.uar(head)
    problem.learner.write(out, tuned, {}, "# ours")
    before, after = load_bundle(bundle).weights, load_bundle(str(out)).weights
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert all(name.split(".")[2] in (*TUNED, "heads") for name in changed)
    assert any("forward_lstm" in name for name in changed)
    again = problem_of(str(out), labelling)
    assert again.probabilities(again.fitted(None, rows), rows) == pytest.approx(
        fitted, abs=1e-3
    )


def test_clips_that_are_mixed_in_are_a_place_of_their_own(tmp_path, bundle):
    write_corpora(tmp_path / "corpora")
    labelling = labelled(tmp_path)
    mix = (f"ravdess={tmp_path / 'corpora' / 'ravdess'}",)
    plain, mixed = problem_of(bundle, labelling), problem_of(bundle, labelling, mix)
    n = len(plain.rows)
    assert mixed.heard is not None
    assert len(mixed.heard.steps) > n
    assert len(mixed.heard.shares) == len(plain.heard.shares) + 1
    assert (mixed.heard.right[n:].sum(1) == 1).all()
    network = mixed.learner.bundle.modules()[0]
    assert torch.allclose(
        mixed.heard.described(network).pooled[:n],
        plain.heard.described(network).pooled,
        atol=1e-5,
    )
    rows = np.arange(n)
    different = mixed.probabilities(mixed.tuned(rows, 0), rows)
    assert abs(different - plain.probabilities(plain.tuned(rows, 0), rows)).max() > 1e-4


def test_a_method_is_tried_on_recordings_that_it_was_not_fitted_to(
    tmp_path, bundle, monkeypatch
):
    labelling, seen = labelled(tmp_path), []

    def tuned(self, rows, seed):
        seen.append(set(self.recordings[rows]))
        return self.fitted(None, rows)

    monkeypatch.setattr(Problem, "tuned", tuned)
    adapt(bundle, labelling, tmp_path / "ours", "cpu")
    everyone = set(labelling.segments.recording_id)
    held_out = [everyone - own for own in seen[:FOLDS]]
    assert sum(len(own) for own in held_out) == len(everyone)
    assert set().union(*held_out) == everyone


def small(n: int = 60) -> tuple[Head, Described]:
    """Return a random head, and segments whose label is that of their first values."""
    rng = torch.Generator().manual_seed(0)
    pooled = torch.randn(n, 6, generator=rng)
    right = torch.nn.functional.one_hot(pooled[:, :3].argmax(1), 3).float()
    loaded = Described(pooled, right, torch.full((n,), 0.5))
    calibration = load_bundle("telephone").calibration
    plain = type(calibration)()
    weight = 0.1 * torch.randn(3, 6, generator=rng)
    head = Head(weight, torch.zeros(3), plain, torch.zeros(3))
    return head, loaded


def test_a_stronger_penalty_keeps_the_head_nearer_to_the_old_one():
    head, own = small()
    changes = [
        float((fit_head(head, own, torch.eye(3), decay).weight - head.weight).norm())
        for decay in (0.1, 1.0, 10.0, 100.0)
    ]
    assert changes == sorted(changes, reverse=True)
    assert changes[0] > 5 * changes[-1]
    priors = fit_head(head, own, torch.eye(3), float("inf"))
    assert torch.equal(priors.weight, head.weight)
    assert priors.calibration.temperature != head.calibration.temperature
    assert not torch.equal(priors.bias, head.bias)


def test_a_synonym_is_as_right_as_the_label_itself():
    head, own = small()
    # The third label is a synonym of the first: which of the two is said is the same.
    synonyms = torch.eye(3)
    synonyms[2, 0] = 1
    merged = own.right.clone()
    merged[:, 0] += merged[:, 2]
    merged[:, 2] = 0
    told = Described(own.pooled, merged, own.arousal)
    p = fit_head(head, told, synonyms, 0.1).probabilities(told) @ synonyms
    assert (p[:, :2].argmax(1) == merged[:, :2].argmax(1)).float().mean() > 0.9


def test_the_last_layer_of_a_checkpoint_learns_as_well(tmp_path, monkeypatch):
    monkeypatch.setenv("SER_MODELS", str(tmp_path / "models"))
    source = write_checkpoint(
        tmp_path / "source", labels=("anger", "hap", "neutral", "angry")
    )
    bundle = add_checkpoint("large", str(source), {}, "cpu").bundle
    labelling, out = labelled(tmp_path), tmp_path / "ours"
    learner = load_learner("large", "cpu")
    waveforms = segment_waveforms(labelling, learner.sample_rate)[:8]
    pooled, _ = learner.described(waveforms, [""] * 8)
    plain = load_scorer("large", "cpu").predict(waveforms)
    own = Described(pooled, torch.zeros(8, 3))
    # Two of its outputs mean angry.
    assert learner.head.probabilities(own).numpy() == pytest.approx(plain, abs=1e-5)
    found = adapt("large", labelling, out, "cpu")
    assert found.gain > 0.2
    assert found.is_proven
    adapted = load_bundle(str(out))
    assert adapted.model_id != bundle.model_id
    now = evaluate_on_labels(str(out), labelling)["test"]["own calls"]["labelled"]
    assert now["uar"] >= found.after["uar"] - 0.05
    # Adapting is repeatable: an adapted bundle can be adapted again.
    adapt(str(out), labelling, tmp_path / "again", "cpu")
    (out / "head.safetensors").write_bytes(
        (out / "head.safetensors").read_bytes()[:-4] + b"abcd"
    )
    with pytest.raises(BundleError, match="does not match"):
        load_scorer(str(out), "cpu")


def test_a_model_of_dimensions_has_no_labels_to_adapt_or_to_evaluate(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("SER_MODELS", str(tmp_path / "models"))
    add_checkpoint("dims", str(write_dimensional(tmp_path / "source")), {}, "cpu")
    labelling = labelled(tmp_path)
    with pytest.raises(UsageError, match="no labels to adapt"):
        adapt("dims", labelling, tmp_path / "ours", "cpu")
    with pytest.raises(UsageError, match="no labels to compare with"):
        evaluate_on_labels("dims", labelling)


def test_a_model_with_fewer_labels_is_judged_and_what_it_lacks_is_said(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("SER_MODELS", str(tmp_path / "models"))
    source = write_checkpoint(tmp_path / "source", labels=("neutral", "angry"))
    add_checkpoint("large", str(source), {}, "cpu")
    labelling = labelled(tmp_path)
    found = evaluate_on_labels("large", labelling)
    assert found["in_words"][0].startswith("the model has no happy and no fearful")
    assert found["test"]["own calls"]["labelled"]["recall"]["happy"] == 0
    other = write_checkpoint(tmp_path / "other", labels=("bored", "tired"))
    add_checkpoint("other", str(other), {}, "cpu")
    with pytest.raises(UsageError, match="none of the labels"):
        evaluate_on_labels("other", labelling)


def test_a_checkpoint_that_cannot_learn_these_labels_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("SER_MODELS", str(tmp_path / "models"))
    source = write_checkpoint(tmp_path / "source", labels=("bored", "tired"))
    add_checkpoint("odd", str(source), {}, "cpu")
    labelling = labelled(tmp_path)
    with pytest.raises(UsageError, match="none of the labels"):
        adapt("odd", labelling, tmp_path / "ours", "cpu")
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="not an empty folder"):
        adapt("odd", labelling, tmp_path / "file", "cpu")
    monkeypatch.setattr("ser_batch.emotion.loading.find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"ser-batch\[large\]"):
        adapt("odd", labelling, tmp_path / "ours", "cpu")
    assert not (tmp_path / "ours").exists()


def test_fine_tuning_does_not_make_the_same_speech_more_unusual(tmp_path, bundle):
    problem = problem_of(bundle, labelled(tmp_path))
    rows = np.arange(len(problem.rows))
    tuned = problem.tuned(rows, 0)
    assert problem.heard is not None
    before, after = (
        calibration.out_of_domain(problem.heard.distances(network)).mean()
        for calibration, network in (
            (problem.head.calibration, problem.learner.bundle.modules()[0]),
            (tuned.head.calibration, tuned.network),
        )
    )
    assert float(after) == pytest.approx(float(before), abs=0.05)


def test_compare_shows_what_adapting_gained(tmp_path, bundle):
    labelling, out = labelled(tmp_path), tmp_path / "ours"
    found = adapt(bundle, labelling, out, "cpu")
    rows = json.loads(ser("compare", out, "--format", "json").stdout)
    assert [row["corpus"] for row in rows] == [
        "own calls, before adapting",
        "own calls, after adapting",
    ]
    assert [row["uar"] for row in rows] == [found.before["uar"], found.after["uar"]]
    table = ser("compare", out, "--format", "markdown").stdout
    assert f"| {100 * found.after['uar']:.1f} |" in table
