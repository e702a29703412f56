"""The recordings that the HTML report plays: links, copies, and the page's server."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from starlette.testclient import TestClient

from ser_batch.errors import UsageError
from ser_batch.reporting.figures.overview import make_report
from ser_batch.reporting.figures.selection import Options
from ser_batch.reporting.figures.timeline_reading import all_timelines
from ser_batch.reporting.pages import recordings
from ser_batch.reporting.pages.recordings import Recordings, write_opus
from ser_batch.reporting.pages.server import report_app
from ser_batch.results.results import open_results
from tests.support.commands import ser
from tests.support.paths import EXAMPLES
from tests.support.results import call, write_results
from tests.support.tables import read_table

STORM = [(t, t + 4, {"angry": 0.9}) for t in (1, 5)]


def level(samples: np.ndarray) -> float:
    return float(np.sqrt(np.square(samples).mean()))


@pytest.fixture
def results(tmp_path) -> Path:
    """Two calls whose recordings exist, one of which browsers cannot play, and more."""
    folder = tmp_path / "in" / "a b"
    folder.mkdir(parents=True)
    shutil.copy(EXAMPLES / "billing" / "1001.wav", folder / "1.wav")
    noise = np.random.default_rng(0).normal(0, 0.1, 8000 * 20)
    soundfile.write(folder / "2.wav", noise, 8000, subtype="GSM610")
    place = {"input_root": str(tmp_path / "in")}
    rows = [
        call("a b/1.wav", [(0, 5)], [(1, 9)], STORM, 12.0, **place),
        call("a b/2.wav", [(0, 5)], [(1, 9)], STORM, 20.0, **place),
        call("gone.wav", [(0, 5)], [(1, 9)], STORM, 12.0, **place),
        call("broken.wav", error="the file is empty (0 bytes)", **place),
    ]
    for row in rows[:3]:
        is_gsm = row.recording["path"] == "a b/2.wav"
        row.recording["codec"] = "wav/gsm610" if is_gsm else "wav/pcm_16"
    return write_results(tmp_path / "out", *rows)


def test_what_cannot_be_played_from_the_page_is_counted_with_a_hint(results, tmp_path):
    done = ser("report", results, "--undated", "include", "--html", tmp_path / "r.html")
    said = "1 recording cannot be played from there: give --audio-base or --copy-audio"
    assert said in done.stderr


def links(results: Path, recordings: Recordings) -> dict[str, str | None]:
    with make_report(open_results(results), Options(undated=True)) as opened:
        found = all_timelines(opened.connection, opened.results)
        return {own.call["path"]: recordings.link(own) for own in found}


def test_links_are_relative_to_the_page_and_quoted(results, tmp_path):
    recordings = Recordings(tmp_path / "pages")
    assert links(results, recordings) == {
        "a b/1.wav": "../in/a%20b/1.wav",
        "a b/2.wav": "../in/a%20b/2.wav",
        "gone.wav": None,
        "broken.wav": None,
    }
    assert recordings.unreachable == 1


def test_an_address_of_the_recordings_is_put_before_their_paths(results, tmp_path):
    recordings = Recordings(tmp_path, base="https://calls.example/audio/")
    found = links(results, recordings)
    assert found["a b/1.wav"] == "https://calls.example/audio/a%20b/1.wav"
    assert found["broken.wav"] is None
    assert recordings.origin == "https://calls.example"
    done = ser(
        "report", results, "--undated", "include", "--html", tmp_path / "r.html",
        "--audio-base", "https://calls.example/audio/",
    )  # fmt: skip
    assert done.returncode == 0
    policy = (tmp_path / "r.html").read_text().split("media-src")[1].split(";")[0]
    assert policy.endswith("https://calls.example")


@pytest.mark.parametrize(
    "base",
    [
        "calls",
        "file:///calls",
        "javascript:alert(1)",
        "http:x",
        "https://h; script-src *",
    ],
)
def test_only_web_addresses_are_taken(tmp_path, base):
    with pytest.raises(UsageError, match="must begin with http:// or https://"):
        Recordings(tmp_path, base=base)


def test_copies_of_whole_calls_are_written_again_only_if_the_recording_changed(
    results, tmp_path, monkeypatch
):
    written = []

    def write(source, target, kept):
        write_opus(source, target, kept)
        written.append(target.name)

    monkeypatch.setattr(recordings, "write_opus", write)
    options = ("--undated", "include", "--html", tmp_path / "page.html")
    command = ("report", results, *options, "--copy-audio", "calls")
    assert ser(*command).returncode == 0
    first = list(written)
    assert first
    ser(*command)
    assert written == first
    rows = open_results(results).recordings().set_index("recording_id")
    changed = rows.loc[first[0].removesuffix(".opus")]
    os.utime(Path(changed.input_root) / changed.path, (1, 1))
    ser(*command)
    assert written == [*first, first[0]]


def test_copies_of_whole_calls_sound_like_the_recordings(results, tmp_path):
    page = tmp_path / "pages" / "index.html"
    done = ser(
        "report", results, "--undated", "include", "--html", f"{page.parent}/",
        "--copy-audio", "calls",
    )  # fmt: skip
    assert "1 recording cannot be played from there: their files" in done.stderr
    copies = sorted((page.parent / "audio").glob("*.opus"))
    assert len(copies) == 2
    lengths = sorted(soundfile.info(copy).duration for copy in copies)
    originals = [tmp_path / "in" / "a b" / name for name in ("1.wav", "2.wav")]
    assert lengths == pytest.approx(
        sorted(soundfile.info(own).duration for own in originals), abs=0.1
    )
    (noise,) = [own for own in copies if abs(soundfile.info(own).duration - 20) < 0.1]
    samples, _ = soundfile.read(noise)
    assert 0.05 < level(samples) < 0.2


def test_clips_keep_the_moments_and_silence_the_rest(tmp_path):
    noise = np.random.default_rng(0).normal(0, 0.1, (8000 * 60, 2)).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", noise, 8000)
    write_opus(tmp_path / "a.wav", tmp_path / "all.opus")
    kept = [(20.0, 30.0), (55.0, 90.0)]
    write_opus(tmp_path / "a.wav", tmp_path / "clips.opus", kept)
    samples, rate = soundfile.read(tmp_path / "clips.opus")
    assert len(samples) / rate == pytest.approx(60, abs=0.1)
    assert samples.shape[1] == 2
    for start_s, end_s, is_loud in (
        (0, 19, False), (21, 29, True), (31, 54, False), (56, 59, True)
    ):  # fmt: skip
        part = samples[round(start_s * rate) : round(end_s * rate)]
        assert (level(part) > 0.05) == is_loud
    sizes = [(tmp_path / f"{name}.opus").stat().st_size for name in ("clips", "all")]
    assert sizes[0] < 0.5 * sizes[1]


def test_a_report_that_is_written_again_leaves_nothing_of_the_one_before(
    results, tmp_path
):
    page = tmp_path / "pages"
    options = ("--undated", "include", "--html", f"{page}/", "--copy-audio")
    (page / "audio").mkdir(parents=True)
    (page / "calls").mkdir()
    stale = [page / "calls" / "7.js", page / "audio" / f"{'0' * 16}.opus"]
    others = [page / "audio" / "mine.opus", page / "calls" / "mine.js"]
    for file in (*stale, *others):
        file.write_text("x")
    ser("report", results, *options, "calls")
    assert [file.exists() for file in stale] == [False, False]
    assert [file.exists() for file in others] == [True, True]


def test_a_full_disk_is_not_taken_for_a_recording_that_cannot_be_read(
    results, tmp_path
):
    page = tmp_path / "pages"
    (page / "audio").mkdir(parents=True)
    for row in read_rows(tmp_path / "out"):
        (page / "audio" / f"{row['recording_id']}.opus").symlink_to("/dev/full")
    options = ("--undated", "include", "--html", f"{page}/", "--copy-audio", "calls")
    done = ser("report", results, *options)
    assert done.returncode == 2
    assert "free up disk space" in done.stderr


def test_calls_without_moments_are_not_missing_among_clips(tmp_path):
    place = {"input_root": str(tmp_path)}
    shutil.copy(EXAMPLES / "billing" / "1001.wav", tmp_path / "calm.wav")
    calm = call("calm.wav", [(0, 5)], [(1, 9)], [(1, 9, {})], 12.0, **place)
    results = write_results(tmp_path / "out", calm)
    options = ("--undated", "include", "--html", tmp_path / "r.html")
    done = ser("report", results, *options, "--copy-audio", "clips")
    assert "cannot be played" not in done.stderr


def test_audio_options_need_a_page_and_exclude_each_other(results, tmp_path):
    done = ser("report", results, "--copy-audio", "calls")
    assert done.returncode == 2
    assert "need --html" in done.stderr
    done = ser(
        "report", results, "--html", tmp_path / "r.html", "--copy-audio", "calls",
        "--audio-base", "https://calls.example",
    )  # fmt: skip
    assert "cannot be combined" in done.stderr


@pytest.fixture
def served(results, tmp_path):
    (tmp_path / "served").mkdir()
    with make_report(open_results(results), Options(undated=True)) as opened:
        app, path = report_app(opened, tmp_path / "served")
        yield TestClient(app, base_url="http://127.0.0.1"), path


def test_the_server_gives_the_page_and_parts_of_recordings(served, tmp_path):
    client, path = served
    assert "Call emotions" in client.get(path).text
    assert client.get(path + "data.js").text.startswith('serData("')
    (name,) = [
        row["recording_id"]
        for row in read_rows(tmp_path / "out")
        if row["path"] == "a b/1.wav"
    ]
    whole = (tmp_path / "in" / "a b" / "1.wav").read_bytes()
    part = client.get(f"{path}audio/{name}", headers={"Range": "bytes=100-199"})
    assert part.status_code == 206
    assert part.content == whole[100:200]


def test_the_server_converts_what_browsers_cannot_play(served, tmp_path):
    client, path = served
    (name,) = [
        row["recording_id"]
        for row in read_rows(tmp_path / "out")
        if row["path"] == "a b/2.wav"
    ]
    for _ in range(2):
        assert client.get(f"{path}audio/{name}").content[:4] == b"OggS"


def test_the_server_gives_nothing_without_its_token_or_under_another_host(
    served, tmp_path
):
    client, path = served
    for other in ("/", "/data.js", "/wrong/", f"{path}../", f"{path}audio/nothing"):
        assert client.get(other).status_code == 404
    foreign = client.get(path, headers={"Host": "evil.example"})
    assert foreign.status_code == 400


def read_rows(directory: Path) -> list[dict]:
    return read_table(directory, "recordings").to_pylist()
