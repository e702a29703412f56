"""An error in any stage fails only its own recording."""

import importlib
import threading

import numpy as np
import pytest

from ser_batch.emotion.loading import load_scorer
from ser_batch.engine.this_process import ThisProcess
from ser_batch.pipeline import run
from ser_batch.sources.local import LocalSource
from ser_batch.speech.waveforms import LocalWaveforms
from tests.support.runs import config
from tests.support.tables import tables


def dynamic(name: str):
    """Return `module.function` of the package."""
    module, _, function = name.rpartition(".")
    return getattr(importlib.import_module(f"ser_batch.{module}"), function)


@pytest.mark.parametrize("stage", ["read", "with_context", "network", "score"])
def test_an_error_while_scoring_fails_only_that_recording(
    calls, tmp_path, tiny_bundle, monkeypatch, stage
):
    settings = config(tiny_bundle)
    scorer = load_scorer(str(tiny_bundle), "cpu")
    found = LocalSource().find([str(calls / "billing")]).recordings
    [of_one] = [
        recording.recording_id for recording in found if recording.path == "1001.wav"
    ]
    if stage == "read":
        read = LocalWaveforms.read

        def lost(self, recording_id, *args):
            if recording_id == of_one:
                raise FileNotFoundError("gone")
            return read(self, recording_id, *args)

        monkeypatch.setattr(LocalWaveforms, "read", lost)
    elif stage == "with_context":
        ready = scorer.with_context

        def broken(segments, role):
            if segments[0].key[0] == of_one:
                raise ZeroDivisionError("gone")
            return ready(segments, role)

        monkeypatch.setattr(scorer, "with_context", broken)
    elif stage == "network":
        right = scorer._scores

        def breaks(batch):
            if any(recording_id == of_one for recording_id, _ in batch.keys):
                raise ZeroDivisionError("gone")
            return right(batch)

        monkeypatch.setattr(scorer, "_scores", breaks)
    else:
        score = scorer.score

        def nonsense(stream, batch_size):
            for scored in score(stream, batch_size):
                for row, (recording_id, _) in enumerate(getattr(scored, "keys", [])):
                    if recording_id == of_one:
                        scored.probabilities[row] = np.nan
                yield scored

        monkeypatch.setattr(scorer, "score", nonsense)
    for _ in range(2):  # the next run tries again
        progress = run(
            [str(calls / "billing"), str(calls / "delivery")],
            tmp_path / "out",
            settings,
            threading.Event(),
            scorer=scorer,
        )
        rows = {row["path"]: row for row in tables(tmp_path / "out")["recordings"]}
        assert progress.pending == 0
        assert rows["1001.wav"]["status"] == "failed"
        assert rows["1001.wav"]["error_kind"] == "unexpected"
        assert rows["2001.ogg"]["status"] == "done"


@pytest.mark.parametrize(
    "stage",
    [
        "speech.decoding.open_audio",
        "speech.decoding._read_through",
        "speech.decoding.by_channel",
        "results.analysed._timing",
    ],
)
def test_an_error_before_or_after_scoring_fails_only_that_recording(
    calls, tmp_path, tiny_bundle, monkeypatch, stage
):
    right, begun = dynamic(stage), []

    def broken(*args, **kwargs):
        begun.append(args)
        if len(begun) == 1:
            raise ZeroDivisionError("gone")
        return right(*args, **kwargs)

    monkeypatch.setattr(f"ser_batch.{stage}", broken)
    progress = run([str(calls / "delivery")], tmp_path / "out", config(tiny_bundle),
                   threading.Event(), engine=ThisProcess())  # fmt: skip
    assert (progress.done, progress.failed, progress.pending) == (1, 1, 0)
    rows = {row["status"]: row for row in tables(tmp_path / "out")["recordings"]}
    assert rows["failed"]["error_kind"] == "unexpected"
    assert "ZeroDivisionError" in rows["failed"]["error_detail"]
    # The next run tries again.
    progress = run(
        [str(calls / "delivery")],
        tmp_path / "out",
        config(tiny_bundle),
        threading.Event(),
    )
    assert (progress.done, progress.skipped) == (1, 1)
