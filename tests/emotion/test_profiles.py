"""Profiles: drawn once, from content alone, and applied to all rows of a place."""

import json
import random
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_batch.config.options import Config
from ser_batch.emotion.frontend import WINDOW, Frontend, n_frames
from ser_batch.emotion.loading import load_scorer
from ser_batch.emotion.place import Statistics, place_weight, statistics_of, summaries
from ser_batch.emotion.profile import read_profile
from ser_batch.engine.profiling import SAMPLE_RECORDINGS, sample_of
from ser_batch.errors import ResultsError, UsageError
from ser_batch.pipeline import run
from ser_batch.refreshing import refresh
from ser_batch.results.manifest import read_manifest
from ser_batch.results.profiles import read_results_profile
from ser_batch.sources.local import LocalSource
from ser_batch.speech.decoded import Task
from ser_batch.speech.waveforms import LocalWaveforms
from tests.support.bundles import write_profiled_bundle
from tests.support.commands import ser
from tests.support.equality import differences
from tests.support.recordings import backdate, write_call
from tests.support.tables import tables

RATE = 8000


def config(bundle: Path, **groups: dict) -> Config:
    return Config.from_dict(
        {"score": {"bundle": str(bundle)}, "run": {"device": "cpu"}}
    ).updated(groups)


def analyzed(folder: Path, out: Path, settings: Config) -> None:
    run([str(folder)], out, settings, threading.Event())


def assert_same_rows(one: Path, other: Path) -> None:
    # `config_hash` includes the profile that a row was scored with.
    found = [d for d in differences(one, other) if "config_hash" not in d]
    assert not found, found[:3]


def profile_of(out: Path):
    return read_results_profile(out, read_manifest(out).identity)


@pytest.fixture
def many(tmp_path, call) -> Path:
    """Write six calls: the example customer, later and louder from call to call."""
    folder = tmp_path / "many"
    for number in range(6):
        shifted = np.roll(call[1:], 4000 * number) * (0.3 + 0.1 * number)
        write_call(folder / f"{number}.wav", shifted)
    return folder


@given(
    st.lists(st.integers(300, 9000), min_size=1, max_size=4),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=25, deadline=None)
def test_padding_a_batch_does_not_change_any_frame(lengths, seed):
    rng = np.random.default_rng(seed)
    waves = [
        torch.from_numpy(rng.normal(0, 0.1, n).astype(np.float32)) for n in lengths
    ]
    together = torch.nn.utils.rnn.pad_sequence(waves, batch_first=True)
    frontend = Frontend()
    frames, count = frontend(together, torch.tensor(lengths))
    assert count.tolist() == [max(0, n - WINDOW) // 80 + 1 for n in lengths]
    for wave, own, n in zip(waves, frames, count, strict=True):
        alone, _ = frontend(wave[None], torch.tensor([len(wave)]))
        torch.testing.assert_close(own[:n], alone[0], atol=2e-3, rtol=1e-3)
        assert not own[n:].any()


@pytest.mark.parametrize("hz", [90.0, 150.0, 200.0])
def test_the_pitch_of_a_voiced_sound_is_its_fundamental(hz):
    t = np.arange(RATE) / RATE
    wave = sum(np.sin(2 * np.pi * hz * k * t) / k for k in range(1, 12)).astype(
        np.float32
    )
    frames, _ = Frontend()(torch.from_numpy(wave)[None], torch.tensor([RATE]))
    found = 2 ** frames[0, :, 64].median()
    assert float(found) == pytest.approx(hz, rel=0.02)
    assert float(frames[0, :, 65].median()) > 0.9


def test_statistics_of_many_segments_are_their_means_and_variances():
    rng = np.random.default_rng(0)
    waves = torch.from_numpy(rng.normal(0, 0.1, (5, RATE)).astype(np.float32))
    frames, count = Frontend()(waves, torch.full((5,), RATE))
    found = statistics_of(summaries(frames, count).mean(0))
    from scipy.fft import dct

    cepstra = dct(frames[..., :64].double().numpy(), norm="ortho")[..., :40].reshape(
        -1, 40
    )
    np.testing.assert_allclose(found.mean[:40], cepstra.mean(0), atol=1e-3)
    np.testing.assert_allclose(
        found.variance[:40], cepstra.var(0), rtol=1e-2, atol=1e-2
    )
    assert n_frames(torch.tensor([RATE])).item() == frames.shape[1]


def test_profiles_of_few_recordings_get_little_weight_or_none():
    shares = [place_weight(n) for n in range(0, 300)]
    assert shares[:3] == [0, 0, 0]
    assert shares == sorted(shares)
    assert 0.1 < shares[3] < 0.16
    assert 0.6 < shares[-1] < 0.65
    own = Statistics(torch.zeros(2), torch.ones(2))
    mixed = own.towards(Statistics(torch.ones(2), torch.full((2,), 3.0)), 0.25)
    assert (mixed.mean.tolist(), mixed.variance.tolist()) == ([0.25, 0.25], [1.5, 1.5])


def test_a_segment_gets_the_same_scores_alone_and_in_a_batch(profiled_bundle):
    scorer = load_scorer(str(profiled_bundle), "cpu")
    rng = np.random.default_rng(1)
    waves = [rng.normal(0, 0.1, n).astype(np.float32) for n in (900, 40_000, 8000, 300)]
    together = scorer.predict(waves)
    for wave, row in zip(waves, together, strict=True):
        np.testing.assert_allclose(scorer.predict([wave])[0], row, atol=1e-4)


def test_a_profile_does_not_depend_on_the_order_of_its_sample(profiled_bundle):
    scorer = load_scorer(str(profiled_bundle), "cpu")
    rng = np.random.default_rng(2)
    speech = {
        f"{i}": [rng.normal(0, 0.1, 8000 + i).astype(np.float32)] for i in range(20)
    }
    first = scorer.profile_of({"": speech})
    again = scorer.profile_of({"": dict(sorted(speech.items(), reverse=True))})
    assert first.sample == again.sample
    np.testing.assert_allclose(first.roles[""].mean, again.roles[""].mean, atol=1e-4)
    waves = [rng.normal(0, 0.1, 8000).astype(np.float32)]
    own, told = scorer.predict(waves), scorer.with_profile(first).predict(waves)
    assert np.abs(own - told).max() > 1e-3


def test_the_sample_depends_on_content_and_not_on_names_or_listing_order(tmp_path):
    rng = np.random.default_rng(0)
    waves = [rng.normal(0, 0.1, (1, 500)) for _ in range(SAMPLE_RECORDINGS + 30)]
    for number, wave in enumerate(waves):
        write_call(tmp_path / "a" / f"{number}.wav", wave)
        write_call(tmp_path / "b" / f"z{len(waves) - number:03}" / "call.wav", wave)

    def drawn(folder: Path) -> set[bytes]:
        source = LocalSource()
        tasks = [
            Task(r, source.stamp(r)) for r in source.find([str(folder)]).recordings
        ]
        random.Random(3).shuffle(tasks)
        return {
            Path(task.recording.file).read_bytes() for task in sample_of(tasks, source)
        }

    assert len(drawn(tmp_path / "a")) == SAMPLE_RECORDINGS
    assert drawn(tmp_path / "a") == drawn(tmp_path / "b")


def test_the_first_run_draws_the_profile_and_later_ones_keep_it(
    many, tmp_path, profiled_bundle, call
):
    out = tmp_path / "out"
    analyzed(many, out, config(profiled_bundle))
    profile = profile_of(out)
    assert profile.roles[""].recordings == 6
    assert len(profile.sample) == 6
    before = tables(out)["segments"]
    assert {row["out_of_domain"] is not None for row in tables(out)["recordings"]} == {
        True
    }
    write_call(many / "new.wav", call[:1])
    analyzed(many, out, config(profiled_bundle))
    assert profile_of(out) == profile
    kept = [row for row in tables(out)["segments"] if row["path"] != "new.wav"]
    assert kept == before


@pytest.mark.parametrize("workers", [1, 2])
def test_rows_do_not_depend_on_workers_or_batch_size(
    many, tmp_path, profiled_bundle, workers
):
    analyzed(
        many,
        tmp_path / "a",
        config(profiled_bundle, run={"workers": 1, "batch_size": 64}),
    )
    analyzed(
        many,
        tmp_path / "b",
        config(profiled_bundle, run={"workers": workers, "batch_size": 3}),
    )
    assert profile_of(tmp_path / "a") == profile_of(tmp_path / "b")
    assert_same_rows(tmp_path / "a", tmp_path / "b")


def test_a_resumed_run_gives_the_rows_of_an_uninterrupted_run(
    many, tmp_path, profiled_bundle
):
    analyzed(many, tmp_path / "whole", config(profiled_bundle))
    stop = threading.Event()

    def on_progress(progress):
        if progress.done >= 2:
            stop.set()

    run([str(many)], tmp_path / "parts", config(profiled_bundle), stop, on_progress)
    analyzed(many, tmp_path / "parts", config(profiled_bundle))
    assert_same_rows(tmp_path / "whole", tmp_path / "parts")


def test_progress_is_reported_while_the_profile_is_being_drawn(
    many, tmp_path, profiled_bundle
):
    out, told = tmp_path / "out", []

    def on_progress(progress):
        told.append(read_manifest(out).identity.profile_id)

    run([str(many)], out, config(profiled_bundle), threading.Event(), on_progress)
    assert "" in told  # before the profile existed
    assert told[-1] == profile_of(out).profile_id


def test_ser_profile_gives_the_same_rows_as_an_automatic_profile(
    many, tmp_path, profiled_bundle
):
    analyzed(many, tmp_path / "drawn", config(profiled_bundle))
    made = ser(
        "profile",
        many,
        "--out",
        tmp_path / "p.json",
        "--bundle",
        profiled_bundle,
        "--device",
        "cpu",
    )
    assert made.returncode == 0, made.stderr
    assert "everyone" in made.stdout
    given = config(profiled_bundle, score={"profile": str(tmp_path / "p.json")})
    analyzed(many, tmp_path / "given", given)
    assert_same_rows(tmp_path / "drawn", tmp_path / "given")
    shown = ser("profile", "show", tmp_path / "given")
    assert read_profile(tmp_path / "p.json").profile_id in shown.stdout


def test_each_role_has_its_own_profile(tmp_path, call, profiled_bundle):
    for number in range(4):
        write_call(
            tmp_path / "in" / f"{number}.wav", np.roll(call, 3000 * number, axis=1)
        )
    roles = {"roles": ["agent", "customer"], "score_agents": True}
    analyzed(tmp_path / "in", tmp_path / "out", config(profiled_bundle, score=roles))
    profile = profile_of(tmp_path / "out")
    assert set(profile.roles) == {"agent", "customer"}
    assert profile.roles["agent"].mean != profile.roles["customer"].mean


def test_a_single_recording_is_scored_without_a_profile(
    tmp_path, call, profiled_bundle
):
    write_call(tmp_path / "in" / "one.wav", call[:1])
    analyzed(tmp_path / "in", tmp_path / "auto", config(profiled_bundle))
    alone = config(profiled_bundle, score={"profile": "bundle"})
    analyzed(tmp_path / "in", tmp_path / "bundle", alone)
    assert_same_rows(tmp_path / "auto", tmp_path / "bundle")


def test_a_profile_that_does_not_match_is_refused_with_a_reason(
    many, tmp_path, profiled_bundle
):
    out = tmp_path / "out"
    analyzed(many, out, config(profiled_bundle))
    other = write_profiled_bundle(tmp_path / "other", seed=1)
    profile = next(out.glob("profile-*.json"))
    with pytest.raises(UsageError, match="belongs to model tiny-profiled@"):
        analyzed(many, tmp_path / "x", config(other, score={"profile": str(profile)}))
    with pytest.raises(UsageError, match="scored with a profile of their place"):
        analyzed(many, out, config(profiled_bundle, score={"profile": "bundle"}))
    (tmp_path / "p.json").write_text("{}")
    with pytest.raises(UsageError, match="not a profile that this version can read"):
        analyzed(
            many,
            tmp_path / "y",
            config(profiled_bundle, score={"profile": str(tmp_path / "p.json")}),
        )
    profile.write_text(profile.read_text().replace('"segments": 12', '"segments": 11'))
    write_call(many / "new.wav", np.zeros((1, RATE)))
    with pytest.raises(
        ResultsError, match="not the profile with which these rows were scored|damaged"
    ):
        analyzed(many, out, config(profiled_bundle))


def test_a_refresh_rescores_all_recordings_in_one_step(
    many, tmp_path, profiled_bundle, call
):
    out, fresh = tmp_path / "out", tmp_path / "fresh"
    shutil.copytree(many, tmp_path / "few")
    for number in range(3, 6):
        (tmp_path / "few" / f"{number}.wav").unlink()
    analyzed(backdate(tmp_path / "few"), out, config(profiled_bundle))
    old = profile_of(out)
    for number in range(3, 6):
        shutil.copy2(many / f"{number}.wav", tmp_path / "few")
    analyzed(tmp_path / "few", out, config(profiled_bundle))
    assert profile_of(out) == old
    stop = threading.Event()
    stop.set()
    assert refresh(out, stop).interrupted
    assert profile_of(out) == old
    refresh(out, threading.Event())
    assert profile_of(out) != old
    assert not (out / ".refresh").exists()
    assert len(list(out.glob("profile-*.json"))) == 1
    analyzed(tmp_path / "few", fresh, config(profiled_bundle))
    assert_same_rows(out, fresh)
    assert ser("verify", out).returncode == 0


def test_a_refresh_loses_no_rows_when_recordings_are_missing_or_added(
    many, tmp_path, profiled_bundle
):
    out = tmp_path / "out"
    analyzed(many, out, config(profiled_bundle))
    before = tables(out)
    whole = (many / "0.wav").read_bytes()
    (many / "0.wav").unlink()
    with pytest.raises(
        ResultsError, match="1 of its 6 recordings could not be rescored"
    ):
        refresh(out, threading.Event())
    (many / "0.wav").write_bytes(b"no audio at all")
    backdate(many)
    with pytest.raises(
        ResultsError, match="1 of its 6 recordings could not be rescored"
    ):
        refresh(out, threading.Event())
    assert tables(out) == before
    # Recordings that another run adds in the meantime are not lost either.
    (many / "0.wav").write_bytes(whole)
    backdate(many)

    def another_run(progress):
        if progress.done == 6 and not (many / "new.wav").exists():
            write_call(many / "new.wav", np.zeros((1, RATE)))
            analyzed(many, out, config(profiled_bundle))

    shutil.rmtree(out / ".refresh")
    with pytest.raises(
        ResultsError, match="1 of its 7 recordings could not be rescored"
    ):
        refresh(out, threading.Event(), another_run)
    assert len(tables(out)["recordings"]) == 7
    refresh(out, threading.Event())
    assert len(tables(out)["recordings"]) == 7


def test_an_export_with_hashed_paths_has_no_names_in_its_profile(
    many, tmp_path, profiled_bundle
):
    out, key = tmp_path / "out", tmp_path / "key"
    analyzed(many, out, config(profiled_bundle))
    made = ser(
        "export",
        out,
        "--to",
        "results",
        "--hash-paths",
        key,
        "--out",
        tmp_path / "copy",
    )
    assert made.returncode == 0, made.stderr
    copied = profile_of(tmp_path / "copy")
    assert copied.sample == ()
    assert copied.profile_id == profile_of(out).profile_id
    assert ser("verify", tmp_path / "copy").returncode == 0
    assert json.loads(next(out.glob("profile-*.json")).read_text())["sample"]


@pytest.mark.corpus
def test_a_call_is_scored_alike_among_angry_and_among_mixed_calls(data, tmp_path):
    """Check that the mean distress of the same customer differs by at most 0.1."""
    calm, angry = ("01", "02"), ("05",)

    def actors(emotions: tuple[str, ...], numbers: range) -> list[np.ndarray]:
        paths = (data / "ravdess" / f"Actor_{n:02}" for n in numbers)
        clips = [
            p
            for folder in paths
            for p in sorted(folder.glob("*.flac"))
            if p.name.split("-")[2] in emotions
        ]
        clips = random.Random(0).sample(clips, 8)
        return [
            soxr.resample(*soundfile.read(path, dtype="float32"), RATE)
            for path in clips
        ]

    def write(folder: Path, name: str, clips: list[np.ndarray]) -> None:
        pause = np.zeros(RATE)
        write_call(
            folder / f"{name}.wav",
            np.concatenate([x for clip in clips for x in (clip, pause)])[None] * 0.5,
        )

    same = actors(calm, range(2, 3))[:4] + actors(angry, range(2, 3))[:4]
    for place, emotions in (
        ("angry", angry),
        ("mixed", ("01", "02", "03", "04", "05")),
    ):
        write(tmp_path / place, "same", same)
        for number in (5, 6, 7, 8, 11, 12, 13, 14, 15, 16, 17, 18):
            write(
                tmp_path / place,
                f"other-{number}",
                actors(emotions, range(number, number + 1)),
            )
        analyzed(tmp_path / place, tmp_path / f"{place}-out", Config())
    distress = []
    for place in ("angry", "mixed"):
        rows = [
            row
            for row in tables(tmp_path / f"{place}-out")["segments"]
            if row["path"] == "same.wav"
        ]
        distress.append(
            np.mean(
                [row["p_angry"] + row["p_fearful"] + row["p_disgust"] for row in rows]
            )
        )
    assert profile_of(tmp_path / "angry-out") != profile_of(tmp_path / "mixed-out")
    assert abs(distress[0] - distress[1]) <= 0.1, distress


@pytest.mark.parametrize("stage", ["read", "profile"])
def test_a_recording_that_fails_while_profiling_is_left_out_of_the_profile(
    many, tmp_path, profiled_bundle, monkeypatch, stage
):
    scorer = load_scorer(str(profiled_bundle), "cpu")
    found = LocalSource().find([str(many)]).recordings
    of_one = found[0].recording_id
    right, read, reads = scorer.profile_of, LocalWaveforms.read, []

    def breaks(speech):
        if any(of_one in recordings for recordings in speech.values()):
            raise ZeroDivisionError("gone")
        return right(speech)

    def lost(self, recording_id, *args):
        reads.append(recording_id)
        if recording_id == of_one and reads.count(of_one) <= 2:  # both of its segments
            raise FileNotFoundError("gone")
        return read(self, recording_id, *args)

    if stage == "profile":
        monkeypatch.setattr(scorer, "profile_of", breaks)
    else:
        monkeypatch.setattr(LocalWaveforms, "read", lost)
    progress = run(
        [str(many)],
        tmp_path / "out",
        config(profiled_bundle),
        threading.Event(),
        scorer=scorer,
    )
    assert (progress.done, progress.failed) == (len(found), 0)
    assert of_one not in profile_of(tmp_path / "out").sample
    assert len(profile_of(tmp_path / "out").sample) == len(found) - 1
