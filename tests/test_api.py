"""The package as a library: its public names and their results."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import soundfile

import ser_batch
from ser_batch.errors import AudioError, FailureKind, UsageError
from tests.support.paths import EXAMPLES, ROOT
from tests.support.recordings import write_call
from tests.support.results import call, write_results


@pytest.fixture(scope="module")
def model(tiny_bundle):
    return ser_batch.load(str(tiny_bundle), device="cpu")


@pytest.fixture
def results(tmp_path):
    calls = [
        call(f"a/{i}.wav", [(0, 5)], [(6, 12)], [(6, 12, {"angry": 0.6})])
        for i in range(6)
    ]
    return write_results(
        tmp_path / "out", *calls, call("b/broken.wav", error="not audio")
    )


def test_the_package_exposes_exactly_its_documented_names():
    exposed = {name for name in dir(ser_batch) if not name.startswith("_")}
    assert exposed == {name for name in ser_batch.__all__ if not name.startswith("_")}
    assert ser_batch.__all__ == sorted(ser_batch.__all__)
    for name in ser_batch.__all__:
        assert name == "__version__" or getattr(ser_batch, name).__doc__, name


def test_importing_the_package_imports_no_heavy_library():
    code = (
        "import sys, ser_batch; heavy = {'torch', 'numpy', 'pandas', 'duckdb'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    said = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    assert said.stdout.strip() == "[]"


def test_one_utterance_and_a_list_give_the_same_probabilities(model):
    rng = np.random.default_rng(0)
    utterances = [0.1 * rng.standard_normal(n) for n in (8000, 16000, 9000)]
    together = model.predict_proba(utterances, 8000)
    assert together.shape == (3, len(model.labels))
    assert together.sum(axis=1) == pytest.approx(np.ones(3), abs=1e-5)
    for one, row in zip(utterances, together, strict=True):
        assert model.predict_proba(one, 8000) == pytest.approx(row, abs=1e-5)
    assert model.predict_proba([], 8000).shape == (0, len(model.labels))


def test_a_waveform_at_another_rate_is_resampled(model):
    seconds = np.arange(0, 2, 1 / 48_000)
    wave = (0.2 * np.sin(2 * np.pi * 220 * seconds)).astype(np.float32)
    low = (0.2 * np.sin(2 * np.pi * 220 * np.arange(0, 2, 1 / 8000))).astype(np.float32)
    assert model.predict_proba(wave, 48_000) == pytest.approx(
        model.predict_proba(low, 8000), abs=0.01
    )


@pytest.mark.parametrize(
    ("waveform", "rate", "reason"),
    [
        (np.zeros((2, 8000)), 8000, r"shape \(2, 8000\): pass one channel"),
        (np.zeros(8000, np.int16), 8000, "int16: pass floats"),
        (np.zeros(0), 8000, "is empty"),
        (np.array([0.0, np.nan, 1.0]), 8000, "not finite"),
        (np.array([0.0, np.inf]), 8000, "not finite"),
        (np.zeros(8000), 0, "sample rate is 0 Hz"),
    ],
)
def test_an_invalid_waveform_is_refused_with_a_reason(model, waveform, rate, reason):
    with pytest.raises(UsageError, match=reason):
        model.predict_proba(waveform, rate)


def test_an_utterance_too_long_for_the_model_gives_a_warning(model):
    with pytest.warns(UserWarning, match="utterance of 7.0 s"):
        model.predict_proba(np.zeros(7 * 8000), 8000)


def test_each_clip_becomes_a_row_and_unreadable_clips_are_named(model, tmp_path):
    clips = [EXAMPLES / "billing" / "1001.wav", EXAMPLES / "delivery" / "2001.ogg"]
    table = model.predict(clips)
    assert list(table.columns) == [
        "path",
        "label",
        "confidence",
        *(f"p_{label}" for label in model.labels),
    ]
    assert table.path.tolist() == [str(clip) for clip in clips]
    assert table.filter(like="p_").sum(axis=1).to_numpy() == pytest.approx(
        np.ones(2), abs=1e-5
    )
    assert len(model.predict([])) == 0
    (tmp_path / "text.wav").write_text("not audio at all")
    with pytest.raises(AudioError) as caught:
        model.predict([tmp_path / "text.wav"])
    assert (caught.value.path, caught.value.kind) == (
        str(tmp_path / "text.wav"),
        FailureKind.NOT_AUDIO,
    )


def test_analysing_one_call_in_process_matches_a_run(model, tiny_bundle):
    path = EXAMPLES / "billing" / "1001.wav"
    one = model.analyze(path, roles=["agent", "customer"])
    config = ser_batch.Config.from_dict(
        {
            "score": {"bundle": str(tiny_bundle), "roles": ["agent", "customer"]},
            "run": {"device": "cpu"},
        }
    )
    [run] = ser_batch.analyze([path], config)
    assert set(one.segments.role) == {"customer"}
    assert set(one.speech.role) == {"agent", "customer"}
    assert one.segments.start_s.tolist() == [s.interval.start_s for s in run.segments]
    for label in model.labels:
        expected = [s.probabilities[label] for s in run.segments]
        assert one.segments[f"p_{label}"].tolist() == pytest.approx(expected, abs=1e-4)
    assert one.duration_s == run.outcome.duration_s


def test_a_silent_call_has_empty_tables(model, tmp_path):
    one = model.analyze(write_call(tmp_path / "silence.wav", np.zeros((1, 16_000))))
    assert (len(one.speech), len(one.segments)) == (0, 0)


def test_an_unreadable_recording_raises_an_error_with_its_path(model, tmp_path):
    (tmp_path / "empty.wav").touch()
    with pytest.raises(AudioError, match="0 bytes") as caught:
        model.analyze(tmp_path / "empty.wav")
    assert (caught.value.path, caught.value.kind) == (
        str(tmp_path / "empty.wav"),
        FailureKind.EMPTY,
    )
    with pytest.raises(UsageError, match="contains 5 recordings"):
        model.analyze(EXAMPLES)


def test_results_open_as_tables(results):
    opened = ser_batch.open_results(results)
    assert len(opened.recordings()) == 7
    assert len(opened.speech()) == 12
    assert opened.segments().p_angry.tolist() == pytest.approx([0.6] * 6)
    assert (opened.model_id, len(opened.known)) == ("m@1", 7)


def test_calls_and_measures_match_the_report(results):
    opened, report = (
        ser_batch.open_results(results),
        ser_batch.report(results, by="folder"),
    )
    calls = opened.calls()
    assert len(calls) == 7
    assert calls.set_index("path").angry_share["a/0.wav"] == pytest.approx(0.6)
    measures = opened.measures().set_index("measure")
    for name, figure in report["total"].items():
        value = measures.value[name]
        assert (pd.isna(value) and figure["value"] is None) or value == figure[
            "value"
        ], name
    by_folder = opened.measures(by="folder")
    assert set(by_folder.group) == {"a", "b"}
    assert len(opened.calls(since="1d")) == 0


def test_errors_have_attributes_for_their_cause(results, tmp_path):
    with pytest.raises(ser_batch.ConfigError) as unknown:
        ser_batch.Config.from_dict({"vad": {"onsett": 1}})
    assert unknown.value.option == "vad.onsett"
    with pytest.raises(ser_batch.ResultsError) as none:
        ser_batch.open_results(tmp_path)
    assert none.value.path == str(tmp_path)
    with pytest.raises(ser_batch.SerError):
        ser_batch.load("nowhere")


def test_a_script_without_a_main_guard_may_analyse_one_call(tmp_path, tiny_bundle):
    soundfile.write(tmp_path / "x.wav", np.zeros(8000), 8000)
    code = (
        f"import ser_batch; model = ser_batch.load({str(tiny_bundle)!r})\n"
        "print(len(model.analyze('x.wav').segments))"
    )
    (tmp_path / "script.py").write_text(code)
    env = {"PYTHONPATH": str(ROOT), "PATH": ""}
    said = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
    )
    assert said.stdout.strip() == "0", said.stderr
