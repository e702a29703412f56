"""How good a model is on a centre's own calls, by what labellers heard."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ser_batch.errors import UsageError
from ser_batch.labelling.agreement import read_labels
from ser_batch.labelling.folder import open_labelling
from ser_batch.reporting.figures.corrections import alert_threshold, corrected_share
from ser_batch.reporting.figures.labelled import Judged, judged, merged
from ser_batch.reporting.figures.labelled_figures import ceiling, figures_of, in_words
from ser_batch.training.evaluation.own_calls import predictions
from tests.support.commands import ser
from tests.support.labels import answer_all, labelled

LABELS = ("neutral", "happy", "angry")


def drawn(n: int = 200, seed: int = 0, recordings: int = 20) -> Judged:
    rng = np.random.default_rng(seed)
    p = rng.dirichlet([0.7] * 3, n)
    return Judged(
        LABELS,
        np.arange(n),
        np.array([rng.choice(3, p=row) for row in p]),
        np.ones(n),
        p,
        rng.uniform(1, 5, n),
        rng.uniform(0.8, 6, n),
        p.max(axis=1) > 0.5,
        rng.integers(0, recordings, n).astype(str),
    )


def test_figures_are_those_of_a_population_with_as_many_copies_as_the_weights():
    own = drawn()
    whole = np.round(own.weight).astype(int)
    weighted = figures_of(Judged(
        own.labels, own.segment, own.truth, own.share, own.probabilities,
        whole.astype(float), own.duration_s, own.kept, own.recording,
    ))  # fmt: skip
    truth, answers = np.repeat(own.truth, whole), np.repeat(own.answers, whole)
    for i, label in enumerate(LABELS):
        assert weighted["recall"][label] == pytest.approx(
            np.mean(answers[truth == i] == i)
        )
        assert weighted["precision"][label] == pytest.approx(
            np.mean(truth[answers == i] == i)
        )
        assert weighted["share"][label] == pytest.approx(np.mean(truth == i))
    assert weighted["accuracy"] == pytest.approx(np.mean(truth == answers))
    kept = np.repeat(own.kept, whole)
    assert weighted["coverage"] == pytest.approx(kept.mean())
    assert weighted["accuracy_when_not_abstaining"] == pytest.approx(
        np.mean(truth[kept] == answers[kept])
    )
    assert weighted["uar"] == pytest.approx(np.mean(list(weighted["recall"].values())))


def test_a_calibrated_model_has_a_small_calibration_error():
    assert figures_of(drawn(20_000))["ece"] < 0.02


def test_intervals_contain_their_figures_and_narrow_with_more_recordings():
    few, many = figures_of(drawn(100, 1, 10)), figures_of(drawn(4000, 1, 400))
    for figures in (few, many):
        low, high = figures["intervals_95"]["uar"]
        assert low < figures["uar"] < high
    assert np.diff(many["intervals_95"]["uar"]) < np.diff(few["intervals_95"]["uar"])


def test_too_few_recordings_give_no_interval():
    figures = figures_of(drawn(40, recordings=3))
    assert figures["intervals_95"]["uar"] is None
    assert figures["intervals_95"]["recall"]["angry"] is None
    assert any("angry" in sentence for sentence in in_words(figures))


def test_only_what_was_drawn_at_random_counts_and_ties_count_by_half(tmp_path):
    labelling = labelled(tmp_path, 40)
    names = labelling.record.labels
    answer_all(labelling, "kim", lambda row: names[0])
    answer_all(labelling, "lee", lambda row: names[1])
    p = np.eye(len(names))[[0] * 40]
    own = judged(labelling, read_labels(labelling), p, np.ones(40, bool), names)
    assert set(own.segment) == set(np.flatnonzero(labelling.is_random))
    assert figures_of(own)["accuracy"] == pytest.approx(0.5)
    assert ceiling(labelling, read_labels(labelling))["accuracy"] == 0


def test_calm_counts_as_neutral_and_a_label_that_the_model_lacks_is_never_given():
    p = np.array([[0.2, 0.3, 0.5]])
    assert merged(p, ("neutral", "calm", "angry"), ("neutral", "angry")) == (
        pytest.approx(np.array([[0.5, 0.5]]))
    )
    assert merged(p, ("neutral", "calm", "angry"), ("neutral", "happy")) == (
        pytest.approx(np.array([[0.5, 0]]))
    )
    with pytest.raises(UsageError, match="none of the labels"):
        merged(p, ("neutral", "calm", "angry"), ("happy", "sad"))


@given(st.floats(0.05, 0.95), st.floats(0.5, 0.9), st.floats(0.05, 0.4))
def test_a_share_is_corrected_by_what_the_model_gives_to_either_kind(truly, a, b):
    n = 400
    is_true = np.arange(n) % 2 == 0
    p = np.where(is_true, a, b)
    own = Judged(
        ("neutral", "angry"), np.arange(n), is_true.astype(int), np.ones(n),
        np.stack([1 - p, p], axis=1), np.ones(n), np.ones(n), np.ones(n, bool),
        (np.arange(n) // 10).astype(str),
    )  # fmt: skip
    value, low, high = corrected_share(own, {"angry"}, truly * a + (1 - truly) * b)
    assert (value, low, high) == pytest.approx((truly,) * 3, abs=1e-6)


def test_a_share_has_no_correction_without_both_kinds():
    own = drawn(12)
    assert corrected_share(own, set(LABELS), 0.3) is None


def test_the_corrected_share_of_a_census_is_the_true_share_of_speech_time():
    own = drawn(400)
    # Long segments are angry more often than short ones.
    is_long = own.truth == 2
    own = replace(own, weight=np.ones(400), duration_s=np.where(is_long, 5.0, 1.0))
    time = own.duration_s
    stated = float(time @ own.probabilities[:, 2] / time.sum())
    truly = float(time @ is_long / time.sum())
    value, low, high = corrected_share(own, {"angry"}, stated)
    assert value == pytest.approx(truly)
    assert low < value < high


def test_an_alert_is_as_often_right_as_was_asked_for_in_most_draws():
    # The model is calibrated: above a threshold, so many are right as it says.
    rng = np.random.default_rng(0)
    p = rng.dirichlet([0.7] * 3, 100_000)[:, 2]
    kept = []
    for seed in range(200):
        if found := alert_threshold(drawn(100, seed), "angry", 0.6):
            kept.append(p[p >= found["threshold"]].mean() >= 0.6)
            assert found["precision"] >= found["precision_at_least"] >= 0.6
    assert len(kept) > 100
    assert np.mean(kept) > 0.7


def test_an_alert_counts_segments_on_which_labellers_differ_once():
    own = drawn(60)
    twice = [
        np.repeat(a, 2, axis=0)
        for a in (
            own.segment,
            own.probabilities,
            own.duration_s,
            own.kept,
            own.recording,
        )
    ]
    truth = np.stack([own.truth, np.full(60, 2)], axis=1).ravel()
    halves = Judged(
        LABELS, twice[0], truth, np.full(120, 0.5), twice[1],
        np.repeat(own.weight, 2) / 2, *twice[2:],
    )  # fmt: skip
    found = alert_threshold(halves, "angry", 0.4)
    above = own.probabilities[:, 2] >= found["threshold"]
    assert found["segments_above"] == above.sum()


def test_an_alert_on_a_label_that_nobody_heard_has_no_threshold():
    own = drawn(60)
    assert alert_threshold(replace(own, truth=np.zeros(60, int)), "angry", 0.01) is None
    with pytest.raises(UsageError, match="must be one of neutral, happy, angry"):
        alert_threshold(own, "furious", 0.5)


def test_all_right_or_none_still_has_an_interval_but_no_spread_has_none():
    own = drawn(100)
    right = replace(own, truth=own.answers)
    figures = figures_of(right)
    assert figures["recall"]["angry"] == 1
    low, high = figures["intervals_95"]["recall"]["angry"]
    assert 0.5 < low < 1
    assert high == 1
    assert figures["intervals_95"]["uar"] is None


def test_another_bundle_scores_the_clips_and_its_figures_are_shown(tmp_path):
    labelling = labelled(tmp_path, 60)
    answer_all(labelling, "kim", lambda row: "angry" if row["channel"] else "happy")
    out = tmp_path / "evaluation"
    done = ser("evaluate", "telephone", "--labels", labelling.folder, "--out", out)
    assert done.returncode == 0, done.stderr
    assert "UAR" in done.stdout
    found = json.loads((out / "evaluation.json").read_text())
    figures = found["test"]["own calls"]["labelled"]
    assert figures["clips"] == int(labelling.is_random.sum())
    page = (out / "index.html").read_text()
    assert all(sentence in page for sentence in found["in_words"])
    assert (out / "own-calls-labelled.png").stat().st_size > 10_000


def test_the_model_of_the_results_has_its_predictions_from_the_analysis(tmp_path):
    labelling = labelled(tmp_path, 20)
    for clip in labelling.segments["clip"]:
        labelling.clip_file(clip).unlink()
    scorer = SimpleNamespace(model_id=labelling.record.model_id)
    p, kept = predictions(scorer, labelling)
    assert p.sum(axis=1) == pytest.approx(1)
    assert (kept == labelling.segments.label.notna()).all()
    told = ser("evaluate", "telephone", "--labels", labelling.folder)
    assert told.returncode == 2
    assert ".flac: cannot be read" in told.stderr


def test_without_a_label_it_is_said_where_they_are_given(tmp_path):
    labelling = labelled(tmp_path, 10)
    p = np.full((10, 4), 0.25)
    with pytest.raises(UsageError, match="ser label serve"):
        judged(
            labelling, read_labels(labelling), p, np.ones(10, bool),
            labelling.record.labels,
        )  # fmt: skip


def test_labels_cannot_be_combined_with_corpora(tmp_path):
    told = ser("evaluate", "telephone", "ravdess=x", "--labels", tmp_path)
    assert told.returncode == 2
    assert "--labels cannot be combined" in told.stderr
    told = ser("evaluate", "telephone")
    assert "name corpora" in told.stderr
    told = ser("evaluate", "telephone", "ravdess=x", "--alert", "angry")
    assert "--alert needs --labels" in told.stderr


def test_answers_to_clips_that_are_gone_are_counted(tmp_path):
    labelling = labelled(tmp_path, 10)
    answer_all(labelling, "kim", lambda row: "neutral")
    path = labelling.folder / "answers" / "kim.jsonl"
    path.write_text(path.read_text() + '{"clip": "gone", "label": "angry"}\n')
    assert read_labels(open_labelling(labelling.folder)).unknown == 1
    status = json.loads(ser("label", "status", labelling.folder, "--json").stdout)
    assert status["answers_to_other_clips"] == 1
