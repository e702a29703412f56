"""How good a model is on a centre's own calls, by what labellers heard."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ser_batch.errors import UsageError
from ser_batch.labelling.agreement import read_labels
from ser_batch.labelling.folder import open_labelling
from ser_batch.reporting.figures.corrections import alert_threshold, corrected_share
from ser_batch.reporting.figures.labelled import FEW, Judged, judged, merged
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
        p.max(axis=1) > 0.5,
        rng.integers(0, recordings, n).astype(str),
    )


def test_figures_are_those_of_a_population_with_as_many_copies_as_the_weights():
    own = drawn()
    whole = np.round(own.weight).astype(int)
    weighted = figures_of(Judged(
        own.labels, own.segment, own.truth, own.share, own.probabilities,
        whole.astype(float), own.kept, own.recording,
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
    assert set(own.segment) == set(np.flatnonzero(labelling.segments.random))
    assert figures_of(own)["accuracy"] == pytest.approx(0.5)
    assert ceiling(labelling, read_labels(labelling))["accuracy"] == 0


def test_calm_counts_as_neutral_and_a_missing_label_is_refused():
    p = np.array([[0.2, 0.3, 0.5]])
    assert merged(p, ("neutral", "calm", "angry"), ("neutral", "angry")) == (
        pytest.approx(np.array([[0.5, 0.5]]))
    )
    with pytest.raises(UsageError, match="no label happy"):
        merged(p, ("neutral", "calm", "angry"), ("neutral", "happy"))


@given(st.floats(0.05, 0.95), st.floats(0.5, 0.9), st.floats(0.05, 0.4))
def test_a_share_is_corrected_by_what_the_model_gives_to_either_kind(truly, a, b):
    n = 400
    is_true = np.arange(n) % 2 == 0
    p = np.where(is_true, a, b)
    own = Judged(
        ("neutral", "angry"), np.arange(n), is_true.astype(int), np.ones(n),
        np.stack([1 - p, p], axis=1), np.ones(n), np.ones(n, bool),
        (np.arange(n) // 10).astype(str),
    )  # fmt: skip
    value, low, high = corrected_share(own, {"angry"}, truly * a + (1 - truly) * b)
    assert (value, low, high) == pytest.approx((truly,) * 3, abs=1e-6)


def test_a_share_has_no_correction_without_both_kinds():
    own = drawn(12)
    assert corrected_share(own, set(LABELS), 0.3) is None


@given(st.integers(0, 50), st.floats(0.3, 0.95))
def test_an_alert_is_as_often_right_as_was_asked_for(seed, precision):
    own = drawn(60, seed)
    found = alert_threshold(own, "angry", precision)
    p, true = own.probabilities[:, 2], own.weight * (own.truth == 2)

    def precision_above(t: float) -> float:
        return true[p >= t].sum() / own.weight[p >= t].sum()

    possible = [
        t for t in p if (p >= t).sum() >= FEW and precision_above(t) >= precision
    ]
    assert (found is None) == (not possible)
    if found:
        assert found["threshold"] == min(possible)
        above = p >= found["threshold"]
        assert found["recall"] == pytest.approx(true[above].sum() / true.sum())


def test_another_bundle_scores_the_clips_and_its_figures_are_shown(tmp_path):
    labelling = labelled(tmp_path, 60)
    answer_all(labelling, "kim", lambda row: "angry" if row["channel"] else "happy")
    out = tmp_path / "evaluation"
    done = ser("evaluate", "telephone", "--labels", labelling.folder, "--out", out)
    assert done.returncode == 0, done.stderr
    assert "UAR" in done.stdout
    found = json.loads((out / "evaluation.json").read_text())
    figures = found["test"]["own calls"]["labelled"]
    assert figures["clips"] == int(labelling.segments.random.sum())
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
