"""pyannote.audio as the diarizer: windows, voices, and refused pipelines."""

import shutil
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from ser_batch.config.options import Config
from ser_batch.errors import ConfigError, UsageError
from ser_batch.pipeline import run
from ser_batch.speech.diarization import SAMPLE_RATE, Diarizer
from ser_batch.speech.loading import load_diarizer
from ser_batch.speech.regions import inside
from ser_batch.speech.vad import FRAME_S
from ser_batch.speech.voice_cells import Cells
from ser_batch.speech.voices import load_voices
from ser_batch.training.voices.calibrating import read_from
from tests.support.commands import ser
from tests.support.tables import tables

FRAMES = 900


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Save a tiny pipeline."""
    # On demand: importing pyannote.audio takes seconds.
    from tests.support.pyannote_models import save_pipeline

    return save_pipeline(tmp_path_factory.mktemp("pipeline"))


def configured(folder, **values) -> Config:
    speakers = {"engine": "pyannote", "model": str(folder), "count": "2"}
    return Config.from_dict({"speakers": speakers | values})


def noise(seconds: float) -> np.ndarray:
    """Return noise whose colour changes every second."""
    rng = np.random.default_rng(0)
    seconds_of = [rng.normal(0, 0.1, SAMPLE_RATE) for _ in range(int(seconds))]
    for number, own in enumerate(seconds_of):
        own[:] = np.convolve(own, np.ones(1 + number % 3 * 8) / 3, "same")
    return np.concatenate(seconds_of).astype(np.float32)


@pytest.mark.slow
def test_frames_have_the_voices_that_the_pipeline_gives_them(folder):
    diarizer = load_diarizer(configured(folder))
    samples = noise(FRAMES * FRAME_S)
    read = read_from(samples)
    whole = np.array([[0, FRAMES]])
    voices = diarizer.voices(read, whole, 2, 2)
    window = diarizer._window(read, slice(0, FRAMES), 2, 2)
    exclusive, active = window.exclusive, window.active
    assert len(voices.regions) == 2
    assert active.any(0).all(), "the pipeline finds two voices in this noise"
    found = np.stack([inside(own, FRAMES) for own in voices.regions], 1)
    order = np.argsort([exclusive[:, k].argmax() for k in range(2)])
    given = exclusive.any(1)
    np.testing.assert_array_equal(found[given], exclusive[given][:, order])
    assert found.sum(1).tolist() == [1] * FRAMES
    both = active.all(1)
    np.testing.assert_array_equal(inside(voices.overlap, FRAMES), both)
    again = load_diarizer(configured(folder)).voices(read, whole, 2, 2)
    for a, b in zip(voices.regions, again.regions, strict=True):
        np.testing.assert_array_equal(a, b)


class Known:
    """A pipeline that finds given turns, and numbers the voices anew in each window."""

    def __init__(self, turns) -> None:
        self.turns, self.calls, self.heard_s = turns, 0, 0.0

    def __call__(self, file, min_speakers, max_speakers):
        from pyannote.core import Annotation, Segment

        after, length_s = self.heard_s, file["waveform"].shape[1] / SAMPLE_RATE
        self.calls, self.heard_s = self.calls + 1, after + length_s
        found = Annotation()
        exclusive = Annotation()
        order = sorted({who for *_, who in self.turns}, reverse=bool(self.calls % 2))
        for number, (start, end, who) in enumerate(self.turns):
            a, b = max(start - after, 0), min(end - after, length_s)
            if a < b:
                name = f"SPEAKER_{order.index(who):02}"
                found[Segment(a, b), number] = name
                # Where two speak at once, it is the first of them.
                ends = [e - after for s, e, _ in self.turns if s < start < e]
                exclusive[Segment(max([a, *ends]), b), number] = name
        names = found.labels()
        embeddings = np.eye(4)[[order[int(name[-2:])] for name in names]]
        noisy = embeddings + np.random.default_rng(self.calls).normal(0, 0.2, (4,))
        return SimpleNamespace(
            speaker_diarization=found,
            exclusive_speaker_diarization=exclusive,
            speaker_embeddings=noisy,
        )


@pytest.fixture
def diarizer(monkeypatch):
    """Return a function that makes a diarizer with short windows and known turns."""
    from ser_batch.speech import pyannote_diarizer as module

    def made(turns, window_frames: int) -> Diarizer:
        monkeypatch.setattr(module, "WINDOW_FRAMES", window_frames)
        found = object.__new__(module.PyannoteDiarizer)
        found._pipeline = Known(turns)
        found._model = load_voices()
        return found

    return made


TURNS = [(i * 3.2, i * 3.2 + 2.88, i % 3) for i in range(9)]


@pytest.mark.parametrize("window_frames", [900, 400, 300])
def test_a_voice_keeps_its_number_across_windows(diarizer, window_frames):
    read = read_from(np.zeros(FRAMES * 256, np.float32))
    regions = np.array([[i * 100, i * 100 + 90] for i in range(9)])
    voices = diarizer(TURNS, window_frames).voices(read, regions, 1, 4)
    assert [own.tolist() for own in voices.regions] == [
        regions[k::3].tolist() for k in range(3)
    ]
    assert not len(voices.unclear)
    assert not len(voices.overlap)


@pytest.mark.parametrize("most", [2, 4])
def test_a_voice_that_speaks_only_later_is_another_voice(diarizer, most):
    read = read_from(np.zeros(FRAMES * 256, np.float32))
    regions = np.array([[0, 400], [500, 900]])
    turns = [(0.0, 12.8, 0), (16.0, 28.8, 1)]
    voices = diarizer(turns, FRAMES // 2).voices(read, regions, 1, most)
    assert [own.tolist() for own in voices.regions] == [[[0, 400]], [[500, 900]]]


def test_a_window_without_embeddings_does_not_confuse_the_others():
    # On demand: importing pyannote.audio takes seconds.
    from ser_batch.speech.pyannote_diarizer import _matched

    a, b, none = np.eye(3)[0], np.eye(3)[1], np.zeros(3)
    windows = [np.stack(own) for own in ([none, none], [a, b], [b, a], [b])]
    assert _matched(windows, 2) == [[None, None], [0, 1], [1, 0], [1]]


def test_a_voice_that_is_only_ever_behind_another_is_kept(diarizer):
    read = read_from(np.zeros(FRAMES * 256, np.float32))
    regions = np.array([[0, 300]])
    turns = [(0.0, 9.6, 0), (3.2, 6.4, 1)]
    voices = diarizer(turns, FRAMES).voices(read, regions, 2, 2)
    assert [own.tolist() for own in voices.regions] == [[[0, 300]], []]
    assert voices.overlap.tolist() == [[100, 200]]


def test_speech_of_two_at_once_is_marked_and_speech_of_none_is_unclear(diarizer):
    turns = [(0.0, 6.4, 0), (4.8, 9.6, 1)]
    read = read_from(np.zeros(FRAMES * 256, np.float32))
    regions = np.array([[0, 160], [165, 300], [500, 520]])
    voices = diarizer(turns, FRAMES).voices(read, regions, 2, 2)
    assert voices.overlap.tolist() == [[150, 160], [165, 200]]
    assert voices.unclear.tolist() == [[500, 520]]
    own = [inside(part, FRAMES) for part in (*voices.regions, voices.unclear)]
    np.testing.assert_array_equal(np.sum(own, 0) > 0, inside(regions, FRAMES))
    assert np.sum(own, 0).max() == 1


def test_a_pipeline_that_finds_one_voice_or_none_leaves_the_speech_whole(diarizer):
    read = read_from(np.zeros(FRAMES * 256, np.float32))
    regions = np.array([[0, 160], [165, 300]])
    for turns in ([(0.0, 9.6, 0)], []):
        [own] = diarizer(turns, FRAMES).voices(read, regions, 1, 4).regions
        np.testing.assert_array_equal(own, regions)
    none = diarizer(TURNS, FRAMES).voices(read, regions[:0], 2, 2)
    assert none.regions == []


@pytest.mark.slow
def test_an_analysis_runs_with_a_pipeline_from_a_local_folder(
    folder, calls, tmp_path, tiny_bundle
):
    values = configured(folder).updated(
        {"audio": {"mix": True}, "score": {"bundle": str(tiny_bundle)}}
    )
    out = tmp_path / "out"
    progress = run([str(calls / "billing")], out, values, threading.Event())
    assert (progress.done, progress.failed) == (2, 1)
    speech = tables(out)["speech"]
    assert {row["speaker"] for row in speech} >= {0}
    shipped = {"engine": "ser", "count": "2"}
    own = Config.from_dict(values.to_dict() | {"speakers": shipped})
    run([str(calls / "billing")], tmp_path / "own", own, threading.Event())
    assert speech != tables(tmp_path / "own")["speech"]


@pytest.mark.slow
def test_confidence_is_that_of_the_voice_model_for_the_same_voices(diarizer):
    samples = noise(FRAMES * FRAME_S)
    regions = np.array([[i * 100, i * 100 + 90] for i in range(9)])
    turns = [(start, end, who % 2) for start, end, who in TURNS]
    read = read_from(samples)
    found = diarizer(turns, FRAMES).voices(read, regions, 2, 2)
    cells = Cells(load_voices(), read, regions)
    own = [
        [
            point
            for point, (start, _) in zip(cells.points, cells.spans, strict=True)
            if any(a <= start < b for a, b in part)
        ]
        for part in found.regions
    ]
    a, b = (np.mean(points, axis=0) for points in own)
    assert found.separation == pytest.approx(np.linalg.norm(a - b), rel=1e-4)
    assert found.confidence == load_voices().expected_accuracy(found.separation)


def test_another_pipeline_gives_other_results(folder, tmp_path):
    changed = tmp_path / "changed"
    changed.mkdir()
    (changed / "config.yaml").write_text("x")
    hashes = {
        configured(folder).hash(),
        configured(changed).hash(),
        configured("some/name").hash(),
        Config.from_dict({"speakers": {"count": "2"}}).hash(),
    }
    assert len(hashes) == 4


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("os.system", "not a SpeakerDiarization"),
        ("evil.SpeakerDiarization", "not a SpeakerDiarization"),
        (3, "not a SpeakerDiarization"),
        (None, "not a pyannote pipeline"),
    ],
)
def test_a_pipeline_that_would_run_other_code_is_refused(tmp_path, name, says):
    from ser_batch.speech.pyannote_models import load_pipeline

    config = {"pipeline": {"name": name, "params": {}}, "params": {}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config if name else {}))
    with pytest.raises(UsageError, match=says):
        load_pipeline(str(tmp_path), "--diarizer-model")


def test_a_missing_pipeline_exits_with_2_and_a_hint(calls, tmp_path, tiny_bundle):
    said = ser(
        "analyze", calls, "--speakers", "2", "--diarizer", "pyannote",
        "--diarizer-model", "no/such-model", "--bundle", tiny_bundle,
        "--out", tmp_path / "out",
    )  # fmt: skip
    assert said.returncode == 2
    assert "--diarizer-model no/such-model: not a local path" in said.stderr


@pytest.mark.parametrize(
    "speakers",
    [
        {"engine": "pyannote", "count": "2"},
        {"model": "some/name", "count": "2"},
        {"engine": "pyannote", "model": "some/name"},
    ],
    ids=["no pipeline", "no engine", "nothing to tell apart"],
)
def test_a_diarizer_that_would_do_nothing_is_refused(speakers):
    with pytest.raises(ConfigError, match=r"speakers\.model|needs voices"):
        Config.from_dict({"speakers": speakers})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"clustering": "OracleClustering"}, "OracleClustering cannot be used"),
        ({"clustering": "VBxClustering"}, "plda is not a path"),
        ({"embedding": "pyannote/elsewhere"}, "not in this folder: copy it there"),
        ({"segmentation": "$model/nowhere"}, "not a local path"),
        ({"nonsense": 1}, "cannot be loaded"),
    ],
)
def test_a_pipeline_that_cannot_work_is_refused(folder, tmp_path, changes, says):
    from ser_batch.speech.pyannote_models import load_pipeline

    copy = shutil.copytree(folder, tmp_path / "copy")
    config = yaml.safe_load((copy / "config.yaml").read_text())
    config["pipeline"]["params"] |= changes
    (copy / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(UsageError, match=says):
        load_pipeline(str(copy), "--diarizer-model")


def test_other_files_in_the_folder_make_no_difference(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    before = configured(copy).hash()
    (copy / ".DS_Store").write_bytes(b"x")
    assert configured(copy).hash() == before == configured(folder).hash()
