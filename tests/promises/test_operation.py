"""Operation: logs, accounts, strict mode, no network, and devices short of memory."""

import json
import os
import stat
import subprocess
import sys
from contextlib import suppress

import numpy as np
import pytest
import torch

from ser_batch.emotion.batches import SegmentBatch
from ser_batch.emotion.bundles import load_bundle
from ser_batch.emotion.network_scorer import NetworkScorer
from ser_batch.engine.progress import Progress
from ser_batch.errors import AccountingError, UsageError
from ser_batch.sources.source import Recording
from tests.support.commands import command_line, ser
from tests.support.paths import ENVIRONMENT, EXAMPLES, ROOT
from tests.support.tables import read_table, tables

ALL_IN_ONE_PROCESS = """
import json, sys
from tests.support.commands import ser
done = [ser(*command) for command in json.load(sys.stdin)]
print(json.dumps([(one.returncode, one.stdout + one.stderr) for one in done]))
"""
NO_NETWORK = """
import socket

class NoInternet(socket.socket):
    def __init__(self, family=-1, type=-1, proto=-1, fileno=None):
        if fileno is None and family in (-1, socket.AF_INET, socket.AF_INET6):
            raise OSError("this test allows no internet socket")
        super().__init__(family, type, proto, fileno)

socket.socket = NoInternet
"""


def test_the_log_has_an_event_for_the_start_each_recording_and_the_end(
    calls, tmp_path, tiny_bundle
):
    log = tmp_path / "out" / "ser.log"  # in a folder that does not exist yet
    ser(
        "analyze",
        calls,
        "--bundle",
        tiny_bundle,
        "--out",
        tmp_path / "out",
        "--log-file",
        log,
        "--quiet",
    )
    events = [json.loads(line) for line in log.read_text().splitlines()]
    assert [e["event"] for e in (events[0], events[-1])] == [
        "run started",
        "run finished",
    ]
    by_path = {e["path"]: e for e in events if e["event"] == "recording"}
    rows = {
        row["path"]: row
        for row in read_table(tmp_path / "out", "recordings").to_pylist()
    }
    assert {path: e["status"] for path, e in by_path.items()} == {
        path: row["status"] for path, row in rows.items()
    }
    assert (
        by_path["billing/1003-broken.wav"]["error"]
        == rows["billing/1003-broken.wav"]["error"]
    )
    assert (
        by_path["billing/1001.wav"]["segments"] == rows["billing/1001.wav"]["segments"]
    )
    assert (events[-1]["done"], events[-1]["failed"], events[-1]["pending"]) == (
        4,
        1,
        0,
    )
    ser(
        "analyze",
        calls,
        "--bundle",
        tiny_bundle,
        "--out",
        tmp_path / "out",
        "--log-file",
        log,
        "--quiet",
    )
    again = [json.loads(line) for line in log.read_text().splitlines()][len(events) :]
    assert again[-1]["skipped"] == 5


def test_an_unwritable_log_is_refused_before_the_run_starts(
    calls, tmp_path, tiny_bundle
):
    done = ser(
        "analyze",
        calls,
        "--bundle",
        tiny_bundle,
        "--out",
        tmp_path / "out",
        "--log-file",
        tmp_path,
    )
    assert done.returncode == 2
    assert "--log-file" in done.stderr
    assert not (tmp_path / "out" / "recordings").exists()


def test_run_json_records_counts_and_peak_memory(calls, tmp_path, tiny_bundle):
    ser("analyze", calls, "--bundle", tiny_bundle, "--out", tmp_path / "out", "--quiet")
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    counts = record["counts"]
    assert (
        counts["found"]
        == sum(
            counts[name] for name in ("done", "failed", "skipped", "growing", "pending")
        )
        == 5
    )
    assert 50e6 < record["peak_memory_bytes"] < 16e9


@pytest.mark.processes
def test_strict_stops_at_the_first_failure_and_the_next_run_resumes(
    calls, tmp_path, tiny_bundle
):
    for i in range(12):
        (calls / f"z{i:02}.wav").write_bytes(
            (EXAMPLES / "billing" / "1001.wav").read_bytes() + bytes(i)
        )
    for path in calls.rglob("*"):
        os.utime(path, (1, 1))
    options = ("--bundle", tiny_bundle, "--workers", 1, "--out")
    done = ser("analyze", calls, *options, tmp_path / "out", "--strict")
    assert done.returncode == 3
    assert "Stopped at the first recording that failed (--strict)" in done.stdout
    rows = read_table(tmp_path / "out", "recordings").to_pylist()
    assert [row["status"] for row in rows].count("failed") == 1
    assert len(rows) < 17
    # No recording failed in the second run. With --strict, an earlier failure counts.
    assert ser("analyze", calls, *options, tmp_path / "out").returncode == 0
    strict = ser("analyze", calls, *options, tmp_path / "out", "--strict")
    assert strict.returncode == 3
    ser("analyze", calls, *options, tmp_path / "undisturbed")
    assert tables(tmp_path / "out") == tables(tmp_path / "undisturbed")


def test_counts_that_do_not_add_up_are_an_error():
    found = [Recording("/in", f"{i}.wav") for i in range(3)]
    known = {recording.recording_id for recording in found}
    Progress(found=3, done=2, failed=1).check(found, known)
    Progress(found=3, done=1, growing=1, skipped=1).check(
        found, known - {found[0].recording_id}
    )
    interrupted = Progress(found=3, done=1)
    interrupted.interrupted = True
    interrupted.check(found, {found[0].recording_id})
    for wrong, rows in (
        (Progress(found=3, done=3), known - {found[1].recording_id}),
        (Progress(found=3, done=1), known),
    ):
        with pytest.raises(AccountingError, match="do not add up"):
            wrong.check(found, rows)
    with pytest.raises(AccountingError):
        Progress(found=3, done=4).check(found, known)


OUT_OF_MEMORY = (
    torch.OutOfMemoryError("CUDA out of memory"),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory"
    ),
    RuntimeError("could not create a primitive"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    MemoryError(),
)


@pytest.mark.parametrize(
    "error", OUT_OF_MEMORY, ids=["cuda", "cpu", "onednn", "cudnn", "python"]
)
def test_a_device_short_of_memory_gets_smaller_batches_and_equal_results(
    tiny_bundle, monkeypatch, error
):
    scorer = NetworkScorer(load_bundle(str(tiny_bundle)), "cpu")
    torch.manual_seed(0)
    lengths = torch.tensor([8000, 9000, 12000, 12000, 16000])
    width = 1 + 2 * scorer.bundle.features.n_static
    batch = SegmentBatch(
        list(range(5)), torch.randn(5, 16000) / 10, lengths, torch.rand(5, width)
    )
    whole = scorer.scores(batch).probabilities
    sizes, real = [], scorer._scores

    def short_of_memory(batch: SegmentBatch) -> torch.Tensor:
        sizes.append(len(batch.keys))
        if len(batch.keys) > 2:
            raise error
        return real(batch)

    monkeypatch.setattr(scorer, "_scores", short_of_memory)
    assert torch.allclose(scorer.scores(batch).probabilities, whole, atol=1e-5)
    assert sizes == [5, 2, 3, 1, 2]

    def no_memory(*args: object) -> torch.Tensor:
        raise error

    monkeypatch.setattr(scorer, "_scores", no_memory)
    with pytest.raises(
        UsageError,
        match="cpu: out of memory, even for one segment; "
        "free some.*run the same command",
    ):
        scorer.scores(batch)
    monkeypatch.setattr(
        scorer, "_features", type("Features", (), {"static": no_memory})()
    )
    with pytest.raises(UsageError, match="out of memory"):
        scorer._sums(np.zeros(8000, np.float32))


def test_other_network_errors_are_not_mistaken_for_lack_of_memory(
    tiny_bundle, monkeypatch
):
    scorer = NetworkScorer(load_bundle(str(tiny_bundle)), "cpu")

    def broken(batch: SegmentBatch) -> torch.Tensor:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(scorer, "_scores", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        scorer.scores(
            SegmentBatch([0, 1], torch.zeros(2, 8000), torch.tensor([8000, 8000]), None)
        )


@pytest.mark.slow
def test_no_command_needs_internet_access(calls, tmp_path, tiny_bundle):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(NO_NETWORK)
    path = os.pathsep.join([str(tmp_path / "site"), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": path}
    out = tmp_path / "out"
    commands = [
        (
            "analyze",
            calls,
            "--bundle",
            tiny_bundle,
            "--out",
            out,
            "--metadata",
            EXAMPLES.parent / "calls.csv",
        ),
        ("report", out, "--html", tmp_path / "r.html", "--plots", tmp_path / "plots"),
        ("export", out, "--to", "xlsx", "--out", tmp_path / "r.xlsx"),
        ("export", out, "--to", "duckdb", "--out", tmp_path / "r.duckdb"),
        ("verify", out),
        ("predict", EXAMPLES / "billing" / "1001.wav", "--bundle", tiny_bundle),
        ("models", "list"),
        ("doctor",),
    ]
    done = subprocess.run(
        [sys.executable, "-c", ALL_IN_ONE_PROCESS],
        input=json.dumps([list(map(str, command)) for command in commands]),
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    results = json.loads(done.stdout)
    assert [code for code, _ in results] == [3, *[0] * (len(commands) - 1)], results
    assert not [said for _, said in results if "no internet socket" in said]
    assert len(read_table(out, "recordings")) == 5

    code = "import socket; socket.socket(socket.AF_INET)"
    refused = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    # The network is really blocked.
    assert "this test allows no internet socket" in refused.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("umask", "file", "folder"), [(0o022, 0o644, 0o755), (0o077, 0o600, 0o700)]
)
def test_results_follow_the_umask_and_waveforms_are_private(
    calls, tmp_path, tiny_bundle, umask, file, folder
):
    out, seen = tmp_path / "out", set()
    command = command_line(
        "analyze",
        calls,
        "--bundle",
        tiny_bundle,
        "--quiet",
        "--out",
        out,
    )
    with subprocess.Popen(
        list(map(str, command)),
        umask=umask,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    ) as process:
        while process.poll() is None:
            with suppress(FileNotFoundError):
                seen.add(stat.S_IMODE((out / ".work").stat().st_mode))
    assert seen == {0o700}
    assert not (out / ".work").exists()
    modes = {
        stat.S_IMODE(path.stat().st_mode)
        for path in out.rglob("*.*")
        if path.is_file() and path.name != ".lock"
    }
    assert modes == {file}
    assert {
        stat.S_IMODE(path.stat().st_mode)
        for path in [out, *out.iterdir()]
        if path.is_dir()
    } == {folder}
    # No temporary files are left.
    assert {path.name for path in tmp_path.iterdir()} <= {"calls", "out"}


@pytest.mark.slow
def test_a_closed_display_does_not_stop_the_run(
    calls, tmp_path, tiny_bundle, monkeypatch
):
    reader, writer = os.pipe()
    os.close(reader)  # as if the reader had exited
    code = (
        "import ser_batch.cli.run_display as d; d.PLAIN_EVERY_S = 0\n"
        "from ser_batch.cli.app import main\nif __name__ == '__main__': main()\n"
    )
    (tmp_path / "ser.py").write_text(code)
    command = [
        sys.executable,
        tmp_path / "ser.py",
        "analyze",
        calls,
        "--bundle",
        tiny_bundle,
        "--out",
        tmp_path / "out",
    ]
    environment = ENVIRONMENT
    done = subprocess.run(
        list(map(str, command)),
        stderr=writer,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    os.close(writer)
    assert done.returncode == 3
    assert "4 done, 1 failed" in done.stdout
    assert len(read_table(tmp_path / "out", "recordings")) == 5


@pytest.mark.parametrize("quiet", [[], ["--quiet"]])
def test_a_summary_that_cannot_be_printed_does_not_change_the_exit_code(
    calls, tmp_path, tiny_bundle, quiet
):
    with open("/dev/full", "w") as full:
        command = command_line(
            "analyze",
            calls,
            "--bundle",
            tiny_bundle,
            "--out",
            tmp_path / "out",
        )
        done = subprocess.run([*map(str, command), *quiet], stdout=full, stderr=full)
    assert done.returncode == 3
    assert len(read_table(tmp_path / "out", "recordings")) == 5
