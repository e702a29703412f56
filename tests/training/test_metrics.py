"""Metrics match their definitions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_batch.accuracy import calibration_error, recalls, reliability
from ser_batch.training.evaluation.metrics import (
    Predictions,
    accuracy_by_coverage,
    answered,
    confusion,
    evaluation_figures,
    macro_f1,
    speaker_intervals,
    uar,
)


def test_any_right_answer_is_replaced_by_the_true_label():
    right = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1]], bool)
    assert answered(np.array([0, 0, 2]), right, np.array([1, 2, 1])).tolist() == [
        0,
        2,
        1,
    ]


def test_metrics_match_their_definitions_on_a_handmade_table():
    truth, predicted = np.array([0, 0, 0, 0, 1, 1, 2]), np.array([0, 0, 0, 1, 1, 2, 0])
    matrix = confusion(truth, predicted, 4)
    assert matrix.tolist() == [[3, 1, 0, 0], [0, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert recalls(matrix)[:3].tolist() == [0.75, 0.5, 0]
    assert np.isnan(recalls(matrix)[3])
    assert uar(matrix) == pytest.approx((0.75 + 0.5) / 3)
    assert macro_f1(matrix) == pytest.approx((6 / 8 + 2 / 4 + 0) / 3)


def test_only_overconfident_answers_have_a_calibration_error():
    rng = np.random.default_rng(0)
    p = rng.dirichlet([1, 1, 1], 50_000)
    truth = np.array([rng.choice(3, p=row) for row in p])
    hit = p.argmax(axis=1) == truth
    assert calibration_error(hit, p.max(axis=1)) < 0.01
    for row in reliability(hit, p.max(axis=1)):
        assert row["accuracy"] == pytest.approx(row["confidence"], abs=0.05)
    assert calibration_error(
        np.arange(1000) % 2 == 0, np.full(1000, 0.95)
    ) == pytest.approx(0.45, abs=0.01)


def test_a_clip_of_weight_two_counts_as_two_clips():
    hit = np.array([True, False, True, True])
    confidence, twice = np.array([0.9, 0.8, 0.35, 0.92]), np.array([1.0, 2, 1, 2])
    again = np.repeat(np.arange(4), twice.astype(int))
    assert calibration_error(hit, confidence, twice) == pytest.approx(
        calibration_error(hit[again], confidence[again])
    )
    for row, each in zip(
        reliability(hit, confidence, twice),
        reliability(hit[again], confidence[again]),
        strict=True,
    ):
        assert row | {"clips": 0} == pytest.approx(each | {"clips": 0})


def test_accuracy_by_coverage_keeps_the_most_confident_answers():
    hit = np.array([True, False, True, False])
    assert accuracy_by_coverage(
        hit, np.array([0.9, 0.2, 0.8, 0.1]), (0.25, 0.5, 1.0)
    ) == {
        "0.25": 1.0,
        "0.5": 1.0,
        "1": 0.5,
    }


def test_intervals_contain_the_mean_and_widen_with_speaker_differences():
    def speakers(*hits: int) -> np.ndarray:
        return np.array([[[n, 20 - n], [20 - n, n]] for n in hits])

    alike, unlike = (
        speaker_intervals(speakers(*[14] * 12)),
        speaker_intervals(speakers(*[8, 20] * 6)),
    )
    assert alike["uar"] == pytest.approx([0.7, 0.7])
    low, high = unlike["uar"]
    assert low < 0.7 < high
    # Twelve speakers, deviation 0.3: 95 % are within 1.96 * 0.3 / sqrt(12).
    assert high - low == pytest.approx(2 * 1.96 * 0.3 / 12**0.5, rel=0.15)
    assert speaker_intervals(speakers(14)) == {}


def predictions(run: str, seed: int, n: int = 60) -> Predictions:
    rng = np.random.default_rng(seed)
    truth = rng.integers(3, size=n)
    right = np.eye(3, dtype=bool)[truth]
    p = rng.dirichlet([1, 1, 1], n)
    return Predictions(
        run, truth, right, p, [f"s{i % 4}" for i in range(n)], p.max(axis=1) > 0.5
    )


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_figures_of_several_runs_are_averaged_and_matrices_are_pooled(seed):
    runs = [predictions("a", seed), predictions("b", seed + 1)]
    both, each = (
        evaluation_figures(runs, "xyz"),
        [evaluation_figures([run], "xyz") for run in runs],
    )
    assert both["uar"] == pytest.approx(np.mean([m["uar"] for m in each]))
    assert both["uar_sd"] == pytest.approx(np.std([m["uar"] for m in each], ddof=1))
    assert (
        both["confusion"]
        == (np.array(each[0]["confusion"]) + np.array(each[1]["confusion"])).tolist()
    )
    assert both["clips"] == 120
    assert sum(row["clips"] for row in both["reliability"]) == 120
    assert both["accuracy_by_coverage"]["1"] == pytest.approx(both["accuracy"])
    assert "uar_sd" not in each[0]
    low, high = both["intervals_95"]["uar"]
    assert 0 <= low <= high <= 1
