"""True shares, given the errors of the model on unseen corpora."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ser_batch.reporting.figures.model_error import true_share
from ser_batch.reporting.figures.overview import make_report
from ser_batch.results.results import open_results
from tests.support.results import call, write_results

INFORMATIVE = {"angry": [0.2, 0.1, 0.5, 0.2], "neutral": [0.7, 0.1, 0.1, 0.1]}
UNINFORMATIVE = {"angry": [0.7, 0.1, 0.1, 0.1], "neutral": [0.7, 0.1, 0.1, 0.1]}


def shares(tmp_path, answers) -> tuple[dict, list[str]]:
    """Return the true shares and notes of a call with an angry share of 30 %."""
    scored = [(0.0, 10.0, {"angry": 0.3})]
    out = write_results(
        tmp_path / "out", call("a.wav", customer=[(0, 10)], scored=scored)
    )
    record = {"model": {"id": "m@1", "answers": answers}}
    (out / "run.json").write_text(json.dumps(record))
    with make_report(open_results(out)) as opened:
        return opened.report.true_shares, opened.report.notes


@given(st.floats(0, 1), st.floats(0.5, 1), st.floats(0, 0.4))
def test_the_range_extends_from_the_predicted_share_to_that_of_a_known_mixture(
    truly, where, elsewhere
):
    answers = {"x": {"angry": [1 - where, where], "calm": [1 - elsewhere, elsewhere]}}
    stated = truly * where + (1 - truly) * elsewhere
    found = true_share(stated, {"angry"}, answers, ("calm", "angry"))
    assert found == pytest.approx(sorted((truly, stated)), abs=1e-6)


def test_a_report_shows_the_range_over_corpora(tmp_path):
    bold = {"angry": [0.1, 0.0, 0.9, 0.0], "neutral": [0.9, 0.0, 0.1, 0.0]}
    found, notes = shares(tmp_path, {"mild": INFORMATIVE, "bold": bold})
    # m = t a + (1 - t) b: (0.3 - 0.1) / 0.4 and (0.3 - 0.1) / 0.8, and 0.3 itself
    assert found["angry_share"] == pytest.approx((0.25, 0.5))
    assert any("angry 25% to 50%" in note for note in notes)


def test_an_uninformative_corpus_gives_the_full_range(
    tmp_path,
):
    found, notes = shares(tmp_path, {"mild": INFORMATIVE, "deaf": UNINFORMATIVE})
    assert found["angry_share"] == (0, 1)
    assert any(
        "true share of" in note and "angry" in note and "0% to 100%" in note
        for note in notes
    )


def test_a_corpus_without_the_label_is_ignored(tmp_path):
    found, _ = shares(
        tmp_path, {"mild": INFORMATIVE, "calm": {"neutral": INFORMATIVE["neutral"]}}
    )
    assert found["angry_share"] == pytest.approx((0.3, 0.5))
    assert "happy_share" not in found


@pytest.mark.parametrize(
    "answers", [{}, None, [1], {"x": 1}, {"x": {"angry": "no"}}, {"x": {"angry": [1]}}]
)
def test_missing_or_invalid_answers_give_no_true_shares(tmp_path, answers):
    found, notes = shares(tmp_path, answers)
    assert found == {}
    assert not any("true share" in note for note in notes)


def test_a_share_that_no_corpus_can_explain_has_no_range():
    answers = {"x": {"angry": [0.5, 0.5], "calm": [0.7, 0.3]}}
    assert true_share(0.1, {"angry"}, answers, ("calm", "angry")) is None
    assert true_share(0.6, {"angry"}, answers, ("calm", "angry")) is None
    assert true_share(0.3, {"angry"}, answers, ("calm", "angry")) == pytest.approx(
        (0, 0.3)
    )
