"""Reports say on how many labelled segments of these calls trust rests."""

import json
import shutil

import numpy as np
import pytest

from ser_batch.labelling.answers import Answer, answer_file
from ser_batch.labelling.starting import start_labelling
from ser_batch.reporting.figures.checked import find_segments
from ser_batch.results.results import open_results
from tests.support.commands import ser
from tests.support.labels import answer_all, labelled, write_calls
from tests.support.results import call, write_results


def drawn(tmp_path):
    """Return labels of half the segments, each as the model predicts."""
    labelling = labelled(tmp_path, 60)
    names = labelling.record.model_labels

    def most_probable(row) -> str:
        return max(names, key=lambda name: row[f"p_{name}"])

    answer_all(labelling, "kim", most_probable)
    return labelling


def checked(*arguments) -> dict | None:
    done = ser("report", *arguments, "--format", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["checked"]


def test_without_labels_a_report_says_that_nobody_has_checked(tmp_path):
    results = write_calls(tmp_path)
    said = ser("report", results).stdout
    assert "nobody has checked the emotions on these calls" in " ".join(said.split())
    assert checked(results) is None


def test_labels_correct_shares_and_are_kept_for_later_reports(tmp_path):
    labelling = drawn(tmp_path)
    first = checked(tmp_path / "out", "--labels", labelling.folder)
    assert first["segments"] == int(labelling.is_random.sum())
    assert first["uar"] == pytest.approx(1)
    shares = first["shares"]
    assert set(shares) >= {"angry_share", "happy_share", "distress_share"}
    assert all(own["low"] <= own["value"] <= own["high"] for own in shares.values())
    assert checked(tmp_path / "out") == first
    said = " ".join(ser("report", tmp_path / "out").stdout.split())
    assert f"checked on {first['segments']} labelled segments of" in said
    assert "corrected for what the model gets wrong on them: happy" in said


def test_a_corrected_share_is_near_the_true_one(tmp_path):
    labelling = drawn(tmp_path)
    shares = checked(tmp_path / "out", "--labels", labelling.folder)["shares"]
    segments = open_results(tmp_path / "out").segments()
    names = [f"p_{name}" for name in labelling.record.model_labels]
    truly = (segments[names].to_numpy().argmax(axis=1) == names.index("p_angry")).mean()
    angry = shares["angry_share"]
    assert angry["low"] - 0.02 <= truly <= angry["high"] + 0.02


def test_segments_are_found_again_by_their_time_and_others_are_counted(tmp_path):
    labelling = drawn(tmp_path)
    kept, moved, gone = (tmp_path / name for name in ("kept", "moved", "gone"))
    for folder, shift, n in ((kept, 0.0, 12), (moved, 0.8, 12), (gone, 0.0, 5)):
        rows = [
            call(
                f"{i:03}.wav",
                scored=[
                    (3 * k + shift, 3 * k + 2 + shift, {"angry": 0.9})
                    for k in range(10)
                ],
            )
            for i in range(n)
        ]
        write_results(folder, *rows)
    for folder in (kept, moved):
        p, _ = find_segments(open_results(folder), labelling)
        assert not np.isnan(p).any()
        assert p[:, 2] == pytest.approx(0.9)
    p, _ = find_segments(open_results(gone), labelling)
    assert np.isnan(p).any(axis=1).sum() == sum(
        path >= "005.wav" for path in labelling.segments.path
    )
    told = checked(gone, "--labels", labelling.folder)
    assert told["unmatched"] == np.isnan(p).any(axis=1).sum()


def test_labels_that_vanished_cost_a_note_but_named_ones_are_an_error(tmp_path):
    labelling = drawn(tmp_path)
    assert checked(tmp_path / "out", "--labels", labelling.folder)
    shutil.rmtree(labelling.folder)
    assert checked(tmp_path / "out") is None
    said = " ".join(ser("report", tmp_path / "out").stdout.split())
    assert "the labels kept with the results cannot be used" in said
    told = ser("report", tmp_path / "out", "--labels", labelling.folder)
    assert told.returncode == 2
    assert "no segments to be labelled" in told.stderr
    # Not even where there is nothing to correct.
    silent = write_results(tmp_path / "silent", call("a.wav"))
    told = ser("report", silent, "--labels", labelling.folder)
    assert told.returncode == 2
    assert not (silent / "metadata" / "labels.json").exists()


def test_a_handful_of_labels_gives_a_figure_but_corrects_nothing(tmp_path):
    labelling = labelled(tmp_path, 60)
    own = labelling.segments[labelling.is_random]
    answer_file(labelling.folder, "kim").append(
        [Answer(clip, "angry") for clip in own["clip"][:4]]
    )
    told = checked(tmp_path / "out", "--labels", labelling.folder)
    assert told["segments"] == 4
    assert told["shares"] == {}
    said = ser("report", tmp_path / "out").stdout
    assert "too few labels to correct any share" in said


def test_labels_of_hashed_recordings_are_refused_with_a_reason(tmp_path):
    results = write_calls(tmp_path)
    folder = tmp_path / "labels"
    start_labelling(results, folder, 10, key_file=tmp_path / "key")
    told = ser("report", results, "--labels", folder)
    assert told.returncode == 2
    assert "hashed names" in told.stderr
