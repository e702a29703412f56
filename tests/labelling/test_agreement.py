"""How far labellers agree, and what is done where they do not."""

import json

import numpy as np
import pandas as pd
import pytest

from ser_batch.errors import UsageError
from ser_batch.labelling.agreement import (
    alpha,
    alpha_of,
    confusions,
    counts_of,
    read_labels,
)
from ser_batch.labelling.answers import Answer, answer_file
from ser_batch.labelling.interchange import UNUSABLE, export_labels, import_labels
from ser_batch.labelling.summary import labelling_status
from tests.support.commands import ser
from tests.support.labels import answer_all, labelled

LABELS = ("a", "b", "c")


def naive_alpha(rows: list[list[str | None]]) -> float:
    """Krippendorff's alpha by counting all pairs of answers to the same clip."""
    pairs = [
        (one, other, 1 / (len(given) - 1))
        for given in ([x for x in row if x] for row in rows)
        if len(given) > 1
        for i, one in enumerate(given)
        for j, other in enumerate(given)
        if i != j
    ]
    n = sum(w for *_, w in pairs)
    observed = sum(w for one, other, w in pairs if one != other) / n
    total = {x: sum(w for one, _, w in pairs if one == x) for x in LABELS}
    expected = 1 - sum(t * (t - 1) for t in total.values()) / (n * (n - 1))
    return 1 - observed / expected


def test_alpha_is_that_of_all_pairs_of_answers():
    rng = np.random.default_rng(0)
    rows = [
        [None if rng.random() < 0.3 else str(rng.choice(LABELS)) for _ in range(3)]
        for _ in range(40)
    ]
    counts = counts_of(pd.DataFrame(rows), LABELS)
    value, (low, high) = alpha(counts, list(map(str, range(40))))
    assert value == pytest.approx(naive_alpha(rows))
    assert low < value < high
    # The bootstrap has a formula of its own.
    shared = counts[counts.sum(axis=1) > 1]
    own = shared[:, :, None] * shared[:, None, :] - np.eye(3) * shared[:, :, None]
    coincidences = (own / (shared.sum(axis=1) - 1)[:, None, None]).sum(axis=0)
    assert alpha_of(coincidences) == pytest.approx(value)


def test_alpha_is_one_where_labellers_agree_and_below_zero_where_they_never_do():
    same = pd.DataFrame([["a", "a"], ["b", "b"]] * 5)
    assert alpha(counts_of(same, LABELS), list("abcdefghij"))[0] == 1
    never = pd.DataFrame([["a", "b"], ["b", "a"]] * 5)
    assert alpha(counts_of(never, LABELS), list("abcdefghij"))[0] < 0


@pytest.mark.parametrize("rows", [[["a", None]], [["a", "a"]], [[None, None]], []])
def test_alpha_is_unknown_without_two_labellers_and_two_labels(rows):
    of = pd.DataFrame(rows, columns=["kim", "lee"], dtype=object)
    assert alpha(counts_of(of, LABELS), ["r"] * len(rows)) is None


def test_alpha_of_one_recording_has_no_interval():
    counts = counts_of(pd.DataFrame([["a", "a"], ["b", "a"], ["b", "b"]]), LABELS)
    assert alpha(counts, ["r"] * 3)[1] is None


def test_confusions_count_every_pair_both_ways():
    of = pd.DataFrame([["a", "b", "b"], ["c", None, None]])
    assert confusions(counts_of(of, LABELS)).tolist() == [
        [0, 2, 0],
        [2, 2, 0],
        [0, 0, 0],
    ]


def test_most_answers_decide_ties_do_not_and_unusable_clips_have_no_label(tmp_path):
    labelling = labelled(tmp_path, 10)
    clips = list(labelling.segments["clip"])
    first, second = labelling.record.labels[:2]
    for name, given in {
        "kim": [first, first, first, None],
        "lee": [first, second, None, first],
        "max": [second, None, None, first],
    }.items():
        answer_file(labelling.folder, name).append(
            [Answer(c, label) for c, label in zip(clips, given, strict=False)]
        )
    answer_file(labelling.folder, "max").append([Answer(clips[2], unusable=True)])
    labels = read_labels(labelling)
    agreed = labels.agreed()
    assert list(agreed[:4]) == [first, None, None, first]
    shares = labels.shares(labelling.record.labels)
    assert shares[0, :2] == pytest.approx([2 / 3, 1 / 3])
    assert shares[1, :2] == pytest.approx([0.5, 0.5])
    assert not shares[[2, 4]].any()
    status = labelling_status(labelling)
    assert (status["with_a_label"], status["no_majority"], status["unusable"]) == (
        2, 1, 1
    )  # fmt: skip
    assert status["labellers"]["lee"] == status["labellers"]["lee"] | {
        "labelled": 3, "skipped": 1, "unusable": 0
    }  # fmt: skip


def test_the_status_is_printed_before_and_after_anything_was_labelled(tmp_path):
    labelling = labelled(tmp_path, 20)
    before = ser("label", "status", labelling.folder)
    assert before.returncode == 0
    assert "0 of 20 clips have a label" in before.stdout
    names = labelling.record.labels
    answer_all(labelling, "kim", lambda row: names[row["channel"]])
    answer_all(labelling, "lee", lambda row: names[int(row["start_s"]) % 2])
    after = ser("label", "status", labelling.folder).stdout
    assert "kim" in after
    assert f"{names[1]} and {names[0]}: confused" in after


@pytest.mark.parametrize("to", ["label-studio", "csv", "audformat"])
def test_labels_are_exported_with_their_clips(tmp_path, to):
    if to == "audformat":
        pytest.importorskip("audformat")
    labelling = labelled(tmp_path, 10)
    answer_all(labelling, "kim", lambda row: labelling.record.labels[1])
    out = tmp_path / "exported"
    assert (
        ser("label", "export", labelling.folder, "--to", to, "--out", out).returncode
        == 0
    )
    assert len(list((out / "clips").iterdir())) == 10
    if to == "audformat":
        import audformat

        table = audformat.Database.load(str(out))["emotion"].get()
        assert set(table["by kim"]) == {labelling.record.labels[1]}
        assert set(table.majority) == {labelling.record.labels[1]}
    with pytest.raises(UsageError, match="not an empty folder"):
        export_labels(labelling, to, out)


@pytest.mark.parametrize(
    ("to", "file"), [("label-studio", "tasks.json"), ("csv", "labels.csv")]
)
def test_exported_labels_come_back_the_same(tmp_path, to, file):
    labelling = labelled(tmp_path / "one", 10)
    names = labelling.record.labels
    answer_all(labelling, "kim", lambda row: names[int(row["start_s"]) % len(names)])
    first, second = labelling.segments["clip"][:2]
    answer_file(labelling.folder, "lee").append(
        [Answer(first, unusable=True), Answer(second, names[0], 2, -2)]
    )
    export_labels(labelling, to, tmp_path / "exported")
    other = labelled(tmp_path / "two", 10)
    added = import_labels(other, tmp_path / "exported" / file)
    assert added == {"kim": 10, "lee": 2}
    pd.testing.assert_frame_equal(read_labels(other).of, read_labels(labelling).of)
    assert read_labels(other).unusable == {first}
    # The same file again adds nothing, nor does it take levels away.
    again = import_labels(other, tmp_path / "exported" / file)
    assert again == {"kim": 0, "lee": 0}
    assert set(import_labels(labelling, tmp_path / "exported" / file).values()) == {0}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("clip,label\nFIRST,furious\n", "'furious' is not one of neutral"),
        ("clip,label\nnowhere,angry\n", "'nowhere' is not one of"),
        ("clip,label\nFIRST,angry\n", "--labeller"),
        ("clip,label,labeller\nFIRST,angry,kim\nFIRST,happy,kim\n", "two different"),
        ("clip,label,labeller,arousal\nFIRST,angry,kim,inf\n", "arousal inf"),
        ("clip;label\nFIRST;angry\n", "separated by commas"),
        ("[" * 100_000, "neither an export of Label Studio"),
        ("clip,label,labeller,arousal\nFIRST,angry,kim,much\n", "arousal much"),
        ("file,emotion\n", "columns clip and label"),
        ('[{"data": {}}]', "neither an export of Label Studio nor CSV"),
        ("[", "neither an export of Label Studio nor CSV"),
        ("", "neither an export of Label Studio nor CSV"),
    ],
)
def test_a_file_with_a_mistake_adds_nothing(tmp_path, text, why):
    labelling = labelled(tmp_path, 10)
    file = tmp_path / "labels.file"
    file.write_text(text.replace("FIRST", labelling.segments["clip"][0]))
    with pytest.raises(UsageError, match=why):
        import_labels(labelling, file)
    assert not (labelling.folder / "answers").exists()


def test_labels_of_label_studio_are_found_by_the_name_of_the_file(tmp_path):
    labelling = labelled(tmp_path, 10)
    first = labelling.segments["clip"][0]
    file = tmp_path / "project.json"
    answer = {"completed_by": 7, "result": [{"value": {"choices": ["Angry"]}}]}
    cancelled = {"was_cancelled": True, "result": []}
    audio = f"/data/upload/3/{first}.flac"
    task = {"data": {"audio": audio}, "annotations": [answer, cancelled]}
    file.write_text(json.dumps([task]))
    assert import_labels(labelling, file) == {"7": 1}
    assert answer_file(labelling.folder, "7").read()[first].label == "angry"
    assert UNUSABLE not in labelling.record.labels


def test_no_name_of_a_file_becomes_a_formula_in_a_spreadsheet(tmp_path):
    labelling = labelled(tmp_path, 10)
    labelling.segments.loc[0, "path"] = "=HYPERLINK(1).wav"
    export_labels(labelling, "csv", tmp_path / "exported")
    rows = pd.read_csv(tmp_path / "exported" / "labels.csv")
    assert rows.path[0] == "'=HYPERLINK(1).wav"
