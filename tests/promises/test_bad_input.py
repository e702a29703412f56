"""Real-world input: bad files get a row or a message, the rest is analysed."""

import os
import struct
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ser_batch.config.options import Config
from ser_batch.pipeline import run
from ser_batch.results import live_parts
from ser_batch.sources.local import LocalSource
from ser_batch.sources.search import find_recordings
from ser_batch.speech.decoded import Task
from ser_batch.text import printable
from tests.support.commands import ser
from tests.support.decoding import job_in
from tests.support.paths import ENVIRONMENT, ROOT
from tests.support.recordings import backdate, wav_header, write_call
from tests.support.tables import tables

NAMES = [
    "with spaces.wav",
    "émoji 📞.wav",
    "two\nlines.wav",
    "[brackets] {x}.wav",
    "=1+1.wav",
    "a" * 251 + ".wav",
]


@pytest.fixture
def settings(tiny_bundle) -> Config:
    return Config.from_dict(
        {"score": {"bundle": str(tiny_bundle)}, "run": {"device": "cpu"}}
    )


def rows_of(folder: Path, out: Path, settings: Config) -> dict[str, dict]:
    progress = run([str(folder)], out, settings, threading.Event())
    rows = {row["path"]: row for row in tables(out)["recordings"]}
    assert len(rows) == progress.found == progress.done + progress.failed
    return rows


@pytest.mark.processes
def test_every_bad_file_gets_a_row_and_the_good_ones_are_analysed(
    tmp_path, settings, call
):
    folder = tmp_path / "in"
    write_call(folder / "good.wav", call)
    (folder / "empty.wav").write_bytes(b"")
    (folder / "text.wav").write_text("not a call\n" * 100)
    (folder / "cut.wav").write_bytes((folder / "good.wav").read_bytes()[:100_000])
    (folder / "liar.wav").write_bytes(
        wav_header(10 * 3600 * 16000 - 100)[:44] + bytes(32000)
    )
    soundfile.write(
        folder / "nan.wav",
        np.full((16000, 2), np.nan, np.float32),
        8000,
        subtype="FLOAT",
    )
    soundfile.write(
        folder / "inf.wav",
        np.full((16000, 2), np.inf, np.float32),
        8000,
        subtype="FLOAT",
    )
    (folder / "no-channels.wav").write_bytes(
        wav_header(16000, channels=0) + bytes(16000)
    )
    soundfile.write(folder / "one-sample.wav", np.array([0.5]), 8000)
    (folder / "no-samples.wav").write_bytes(wav_header(0))
    (folder / "noise.mp3").write_bytes(np.random.default_rng(0).bytes(5000))
    (folder / "dangling.wav").symlink_to(folder / "nowhere.wav")
    (folder / "circle.wav").symlink_to(folder / "circle.wav")
    os.mkfifo(folder / "pipe.wav")
    (folder / "notes.txt").write_text("not even named as a call")
    backdate(folder)
    (folder / "good.wav").rename(folder / "far-future.wav")
    os.utime(folder / "far-future.wav", (10**12, 10**12))
    write_call(folder / "good.wav", call[::-1])
    rows = rows_of(folder, tmp_path / "out", settings)
    failed = {
        path: row["error"] for path, row in rows.items() if row["status"] == "failed"
    }
    assert set(rows) - set(failed) == {
        "good.wav", "far-future.wav", "cut.wav", "liar.wav", "nan.wav", "inf.wav",
        "one-sample.wav",
    }  # fmt: skip
    # Reasons do not contain file names.
    assert not [path for path, error in failed.items() if path in error]
    assert "0 bytes" in failed["empty.wav"]
    assert "unrecognised audio format" in failed["text.wav"]
    assert "no samples" in failed["no-samples.wav"]
    assert "broken link" in failed["dangling.wav"]
    assert "symbolic links" in failed["circle.wav"]
    assert "not a regular file" in failed["pipe.wav"]
    assert rows["good.wav"]["segments"] > 0
    assert rows["cut.wav"]["segments"] > 0
    assert "truncated" in rows["cut.wav"]["notes"]
    assert rows["liar.wav"]["duration_s"] == pytest.approx(2)
    assert "non-finite" in rows["nan.wav"]["notes"]
    assert rows["one-sample.wav"]["duration_s"] == pytest.approx(1 / 8000, abs=1e-3)


def test_an_unreadable_file_that_is_still_growing_gets_no_failed_row(
    tmp_path, tiny_bundle, monkeypatch
):
    import ser_batch.speech.decoding as decoding
    from ser_batch.speech.silero import SileroVad

    path = tmp_path / "x.m4a"
    path.write_bytes(b"\0\0\0\x18ftypM4A ")
    recording = find_recordings([str(path)]).recordings[0]
    task = Task(recording, LocalSource().stamp(recording))
    job = job_in(tmp_path / "work")
    monkeypatch.setattr(decoding, "RECENT_S", 0.1)
    assert isinstance(decoding.decode(task, job, SileroVad()), decoding.Failed)
    path.write_bytes(path.read_bytes() + bytes(1000))
    assert isinstance(decoding.decode(task, job, SileroVad()), decoding.Growing)


def test_an_hour_of_silence_is_reported_as_silence(tmp_path, settings):
    path = tmp_path / "in" / "silence.wav"
    path.parent.mkdir()
    soundfile.write(path, np.zeros((3600 * 8000, 1), np.int16), 8000, subtype="ULAW")
    backdate(path.parent)
    row = rows_of(path.parent, tmp_path / "out", settings)["silence.wav"]
    assert (row["duration_s"], row["silence_s"], row["segments"]) == (3600, 3600, 0)


def test_unusual_file_names_are_handled_literally(tmp_path, settings, call):
    folder = tmp_path / "in"
    for i, name in enumerate(NAMES):
        write_call(folder / name, call[:, 80 * i : 24000])
    write_call(
        Path(os.fsdecode(os.fsencode(folder) + b"/not-utf8-\xff.wav")),
        call[:, :24000] / 2,
    )
    backdate(folder)
    rows = rows_of(folder, tmp_path / "out", settings)
    assert {row["status"] for row in rows.values()} == {"done"}
    assert set(rows) == {printable(name) for name in NAMES} | {"not-utf8-\\xff.wav"}
    assert "two\\nlines.wav" in rows
    for name in ("émoji 📞.wav", "[brackets] {x}.wav"):
        said = ser("report", tmp_path / "out", "--call", name)
        assert said.returncode == 0
        assert name in said.stdout
    table = ser("report", tmp_path / "out", "--format", "csv").stdout
    assert "'=1+1.wav" in table


def test_unreadable_files_and_folders_are_named_and_the_rest_is_analysed(
    tmp_path, settings, call, monkeypatch
):
    # Root can read every file, so the check runs as an ordinary user.
    folder = tmp_path / "in"
    write_call(folder / "good.wav", call)
    write_call(folder / "secret.wav", call)
    write_call(folder / "closed" / "x.wav", call)
    (folder / "secret.wav").chmod(0)
    (folder / "closed").chmod(0)
    if os.geteuid():
        rows = rows_of(folder, tmp_path / "out", settings)
    else:
        code = (
            "import os, sys\n"
            "from pathlib import Path\n"
            "from ser_batch.sources.search import find_recordings\n"
            "from ser_batch.speech.decoding import decode\n"
            "from ser_batch.speech.silero import SileroVad\n"
            "from tests.support.decoding import job_in, tasks_of\n"
            "vad = SileroVad(); os.setegid(65534); os.seteuid(65534)\n"
            "print(find_recordings([sys.argv[1]]).unreadable)\n"
            "for task in tasks_of([sys.argv[1]]):\n"
            "    outcome = decode(task, job_in(Path(sys.argv[2])), vad)\n"
            "    print(task.recording.path, getattr(outcome, 'error', 'done'))\n"
        )
        work = tmp_path / "work"
        work.mkdir()
        for path in [work, *tmp_path.parents[:3], tmp_path, folder]:
            path.chmod(0o777)
        said = subprocess.run(
            [sys.executable, "-c", code, str(folder), str(work)],
            capture_output=True,
            text=True,
            cwd=ROOT,
            check=True,
        ).stdout
        assert "closed" in said.splitlines()[0]
        assert "good.wav done" in said
        assert (
            "secret.wav permission denied" in said
            or "secret.wav cannot be read" in said
        )
        return
    assert rows["good.wav"]["status"] == "done"
    assert "read" in rows["secret.wav"]["error"]


def test_a_folder_that_vanishes_during_a_run_leaves_failed_rows(
    tmp_path, settings, call
):
    folder = tmp_path / "in"
    for i in range(4):
        write_call(folder / f"{i}.wav", call[:, i:80000])

    def remove(progress) -> None:
        if progress.done and folder.exists():
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()

    progress = run(
        [str(folder)],
        tmp_path / "out",
        settings.updated({"run": {"workers": 1}}),
        threading.Event(),
        remove,
    )
    rows = tables(tmp_path / "out")["recordings"]
    assert len(rows) == progress.found == 4
    assert progress.done + progress.failed == 4
    assert progress.done >= 1


def test_a_file_that_is_given_several_times_is_one_recording(tmp_path, call):
    path = write_call(tmp_path / "in" / "x.wav", call)
    (tmp_path / "in" / "link.wav").symlink_to(path)
    found = find_recordings(
        [str(path), str(path), str(tmp_path / "in"), f"{tmp_path}/in/*.wav"]
    )
    assert len(found.recordings) == 1


def test_circular_links_are_walked_once(tmp_path, call):
    write_call(tmp_path / "in" / "deep" / "x.wav", call)
    (tmp_path / "in" / "deep" / "up").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "self").symlink_to(tmp_path / "in" / "self")
    found = find_recordings([str(tmp_path / "in")])
    assert [r.path for r in found.recordings] == ["deep/x.wav"]


@pytest.mark.parametrize("out", ["/proc/results", "a-file"])
def test_an_unwritable_output_is_refused_immediately(
    tmp_path, calls, tiny_bundle, monkeypatch, out
):
    (tmp_path / "a-file").write_text("")
    monkeypatch.chdir(tmp_path)
    said = ser("analyze", calls, "--bundle", tiny_bundle, "--out", out)
    assert said.returncode == 2
    assert "cannot be written" in said.stderr
    assert "Traceback" not in said.stderr


def test_a_full_disk_ends_the_run_with_a_message_and_the_next_run_resumes(
    tmp_path, calls, tiny_bundle, monkeypatch, settings
):
    from ser_batch.errors import ResultsError

    real = live_parts.pq.write_table

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(live_parts.pq, "write_table", full)
    with pytest.raises(
        ResultsError, match="No space left on device.*free up disk space"
    ):
        run([str(calls)], tmp_path / "out", settings, threading.Event())
    monkeypatch.setattr(live_parts.pq, "write_table", real)
    assert run([str(calls)], tmp_path / "out", settings, threading.Event()).done == 4
    assert len(tables(tmp_path / "out")["recordings"]) == 5


def test_a_full_working_directory_stops_the_run_but_fails_no_recording(
    tmp_path, calls, tiny_bundle
):
    # A limit on the file size simulates a full disk; the workers inherit it.
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from ser_batch.cli.app import main\n"
        "if __name__ == '__main__':\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000)); main()\n"
    )
    script = tmp_path / "ser.py"
    script.write_text(code)
    said = subprocess.run(
        [sys.executable, script, "analyze", calls, "--bundle", tiny_bundle,
         "--out", tmp_path / "out"],
        capture_output=True, text=True, env=ENVIRONMENT,
    )  # fmt: skip
    assert said.returncode == 2, said.stderr
    assert "File too large" in said.stderr
    assert "run the same command again" in said.stderr
    assert not (tmp_path / "out" / ".work").exists()
    assert (
        ser(
            "analyze", calls, "--bundle", tiny_bundle, "--out", tmp_path / "out"
        ).returncode
        == 3
    )
    assert len(tables(tmp_path / "out")["recordings"]) == 5


def test_hidden_and_temporary_files_are_skipped_and_content_reveals_audio(
    tmp_path, call
):
    for name in (
        ".hidden.wav",
        "x.wav.tmp",
        "x.wav.part",
        ".cache/x.wav",
        "~$x.wav",
        "x.wav~",
    ):
        write_call(tmp_path / "in" / name, call[:, :800])
    write_call(tmp_path / "in" / "kept.REC", call[:, :800])
    (tmp_path / "in" / "calls.csv").write_text("path,queue\n")
    found = find_recordings([str(tmp_path / "in")])
    assert [r.path for r in found.recordings] == ["kept.REC"]
    assert found.ignored == 1


def test_a_list_may_contain_files_and_folders(tmp_path, call):
    inside = write_call(tmp_path / "in" / "a.wav", call[:, :800])
    write_call(tmp_path / "in" / "sub" / "b.wav", call[:, :800])
    outside = write_call(tmp_path / "else" / "a.wav", call[:, :800])
    (tmp_path / "in" / "list.txt").write_text(f"a.wav\n\nsub\n{outside}\n{inside}\n")
    found = find_recordings([f"@{tmp_path}/in/list.txt"])
    assert sorted(r.path for r in found.recordings) == sorted(
        ["a.wav", "sub/b.wav", str(outside).lstrip("/")]
    )


def test_a_glob_that_matches_nothing_is_refused(tmp_path):
    from ser_batch.errors import UsageError

    with pytest.raises(UsageError, match="matches nothing"):
        find_recordings([f"{tmp_path}/*.wav"])


def test_the_wav_header_helper_writes_the_data_size():
    assert struct.unpack("<I", wav_header(8)[40:44]) == (8,)


def test_globs_and_walks_over_circular_links_terminate(tmp_path, call):
    write_call(tmp_path / "in" / "x.wav", call[:, :800])
    for name in "abc":
        (tmp_path / "in" / name).symlink_to(tmp_path / "in")
    assert len(find_recordings([f"{tmp_path}/in/**/*.wav"]).recordings) == 1
    assert len(find_recordings([str(tmp_path / "in")]).recordings) == 1


def test_deeply_nested_folders_are_walked(tmp_path, call, monkeypatch):
    write_call(tmp_path / "x.wav", call[:, :800])
    monkeypatch.chdir(tmp_path)
    try:
        for _ in range(1100):
            os.mkdir("d")
            os.chdir("d")
        assert len(find_recordings([str(tmp_path)]).recordings) == 1
    finally:
        os.chdir(tmp_path)
        # The folders are too deep for Python's rmtree.
        subprocess.run(["rm", "-rf", "d"], check=True)


def test_a_list_that_is_not_utf8_is_refused(tmp_path):
    from ser_batch.errors import UsageError

    (tmp_path / "list.txt").write_bytes("x.wav\n".encode("utf-16"))
    with pytest.raises(UsageError, match="not a list of paths in UTF-8"):
        find_recordings([f"@{tmp_path}/list.txt"])
    (tmp_path / "list.txt").write_bytes("\ufeffx.wav\r\n".encode())
    assert [r.path for r in find_recordings([f"@{tmp_path}/list.txt"]).recordings] == [
        "x.wav"
    ]


def test_recordings_inside_the_results_directory_are_kept(tmp_path, call, settings):
    write_call(tmp_path / "x.wav", call)
    rows_of(tmp_path, tmp_path, settings)
    strangers = [
        write_call(tmp_path / "speech" / name, call)
        for name in ("part-1.wav", "part-000009.wav")
    ]
    run([str(tmp_path)], tmp_path, settings, threading.Event())
    assert all(path.exists() for path in strangers)
    assert len(tables(tmp_path)["recordings"]) == 3
