"""A Ray cluster gives the same rows as one machine, whatever is lost meanwhile.

Run by `test_cluster.py` in a process of their own: Ray ends one whose head is gone.
"""

import json
import os
import shutil
import signal
import subprocess
import threading
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import soundfile

from ser_batch.config.options import Config
from ser_batch.emotion.loading import load_scorer
from ser_batch.engine.cluster import RayEngine
from ser_batch.errors import ClusterError, UsageError
from ser_batch.pipeline import run
from ser_batch.results.maintenance import verify
from ser_batch.results.results import open_results
from tests.support.commands import command_line, ser
from tests.support.paths import EXAMPLES, ROOT
from tests.support.recordings import backdate

ray = pytest.importorskip("ray", reason="the extra `cluster` is not installed")
Cluster = pytest.importorskip("ray.cluster_utils").Cluster
pytestmark = pytest.mark.slow
CALLS = 12


@pytest.fixture(scope="module")
def calls(tmp_path_factory) -> Path:
    """Return a folder with a dozen different calls, one of them broken."""
    folder = tmp_path_factory.mktemp("calls")
    waveform, rate = soundfile.read(EXAMPLES / "billing" / "1001.wav")
    for number in range(CALLS):
        soundfile.write(
            folder / f"{number:02}.wav", np.roll(waveform, 4000 * number, 0), rate
        )
    shutil.copyfile(EXAMPLES / "billing" / "1003-broken.wav", folder / "broken.wav")
    for path in folder.iterdir():
        backdate(path)
    return folder


@pytest.fixture(scope="module")
def expected(calls, tmp_path_factory, tiny_bundle) -> pd.DataFrame:
    out = tmp_path_factory.mktemp("local") / "out"
    assert (
        ser("analyze", calls, "--bundle", tiny_bundle, "--out", out, "-q").returncode
        == 3
    )
    return segments(out)


@pytest.fixture(scope="module")
def head():
    """Start a cluster of a head that runs nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("PYTHONPATH", str(ROOT))
        own = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        own.nodes = []
        yield own
        ray.shutdown()
        own.shutdown()


@pytest.fixture
def cluster(head):
    """Return the cluster, with two nodes."""
    while len(head.nodes) < 2:
        head.nodes.append(head.add_node(num_cpus=1))
    return head


def segments(out: Path) -> pd.DataFrame:
    rows = open_results(out).segments().sort_values(["recording_id", "segment"])
    return rows.reset_index(drop=True)


def config_of(bundle: Path, cluster, **more) -> Config:
    options = {"engine": "ray", "ray_address": cluster.address, **more}
    return Config.from_dict({"score": {"bundle": str(bundle)}, "run": options})


def check(out: Path, expected: pd.DataFrame) -> None:
    assert verify(out).sound
    recordings = open_results(out).recordings()
    assert recordings.status.value_counts().to_dict() == {"done": CALLS, "failed": 1}
    found = segments(out)
    numbers = expected.select_dtypes("number").columns
    others = expected.columns.difference([*numbers, "label"])
    pd.testing.assert_frame_equal(found[others], expected[others])
    pd.testing.assert_frame_equal(found[numbers], expected[numbers], atol=1e-4)


def actors() -> list[psutil.Process]:
    return [
        own
        for own in psutil.process_iter(["cmdline"])
        if "ray::Analyst" in " ".join(own.info["cmdline"] or ())
    ]


def test_rows_are_those_of_one_machine_though_a_process_and_a_node_are_lost(
    cluster, calls, expected, tmp_path, tiny_bundle
):
    lost = []

    def lose(progress):
        if progress.done >= 1 and not lost:
            victim = actors()[0]
            lost.append(victim.pid)
            victim.send_signal(signal.SIGKILL)
        if progress.done >= 3 and len(lost) == 1:
            lost.append("node")
            cluster.nodes.append(cluster.add_node(num_cpus=1))
            cluster.remove_node(cluster.nodes.pop(0))

    progress = run(
        [str(calls)], tmp_path / "out", config_of(tiny_bundle, cluster),
        threading.Event(), lose,
    )  # fmt: skip
    assert len(lost) == 2
    assert progress.failed == 1
    check(tmp_path / "out", expected)


def counted(name: str) -> float:
    """Return the sum of a counter over what all nodes export for Prometheus."""
    total = 0.0
    for node in ray.nodes():
        address = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}"
        with suppress(OSError), urllib.request.urlopen(f"{address}/metrics") as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith(f"{name}{{"):
                    total += float(line.rpartition(" ")[2])
    return total


def test_nodes_count_for_prometheus_and_the_log_says_which_analysed_what(
    cluster, calls, tmp_path, tiny_bundle
):
    pytest.importorskip("opencensus", reason="Ray without its exporter for Prometheus")
    seen = []

    def wait_for_counters(progress):
        until = time.monotonic() + 60
        while progress.done >= 3 and not seen and time.monotonic() < until:
            if counted("ray_ser_recordings_total") >= 1:
                seen.append(counted("ray_ser_audio_seconds_total"))
            time.sleep(0.5)

    log = tmp_path / "log"
    config = config_of(tiny_bundle, cluster, log_file=str(log))
    run([str(calls)], tmp_path / "out", config, threading.Event(), wait_for_counters)
    assert seen
    assert seen[0] > 0
    events = [json.loads(line) for line in log.read_text().splitlines()]
    nodes = [own.get("node") for own in events if own["event"] == "recording"]
    assert nodes == [os.uname().nodename] * (CALLS + 1)


def test_a_driver_that_is_killed_goes_on_where_it_was(
    cluster, calls, expected, tmp_path, tiny_bundle
):
    out = tmp_path / "out"
    command = command_line(
        "analyze", calls, "--bundle", tiny_bundle, "--out", out, "--engine", "ray",
        "--ray-address", cluster.address, "--quiet", "--log-file", tmp_path / "log",
    )  # fmt: skip
    first = subprocess.Popen(command, cwd=ROOT)
    log = tmp_path / "log"
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if log.exists() and log.read_text().count('"recording"') >= 2:
            break
        time.sleep(0.05)
    first.kill()
    first.wait()
    assert subprocess.run(command, cwd=ROOT).returncode == 3
    check(out, expected)


def test_a_cluster_without_nodes_ends_the_run_and_keeps_what_is_done(
    cluster, calls, tmp_path, tiny_bundle
):
    def lose(progress):
        if progress.done >= 2 and cluster.nodes:
            for node in cluster.nodes:
                cluster.remove_node(node)
            cluster.nodes.clear()

    config = config_of(tiny_bundle, cluster, cluster_wait_s=15.0)
    with pytest.raises(ClusterError, match="no node of the cluster"):
        run([str(calls)], tmp_path / "out", config, threading.Event(), lose)
    done = len(open_results(tmp_path / "out").recordings())
    assert 2 <= done < CALLS + 1
    assert verify(tmp_path / "out").sound


def test_sigterm_ends_a_run_in_order(cluster, calls, tmp_path, tiny_bundle):
    out, log = tmp_path / "out", tmp_path / "log"
    command = command_line(
        "analyze", calls, "--bundle", tiny_bundle, "--out", out, "--engine", "ray",
        "--ray-address", cluster.address, "--quiet", "--log-file", log,
    )  # fmt: skip
    process = subprocess.Popen(command, cwd=ROOT)
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if log.exists() and log.read_text().count('"recording"') >= 1:
            break
        time.sleep(0.02)
    process.terminate()
    assert process.wait(60) in (130, 3)  # 3: it was done already
    assert open_results(out).run_record["finished_at"] is not None
    assert len(open_results(out).recordings()) >= 1


def test_what_the_nodes_lack_is_said(cluster, calls, tmp_path, tiny_bundle):
    config = config_of(tmp_path / "nowhere", cluster)
    scorer = load_scorer(str(tiny_bundle), "cpu")
    with pytest.raises(UsageError, match="no bundle.*nowhere"):
        run([str(calls)], tmp_path / "out", config, threading.Event(), scorer=scorer)


def test_a_cluster_that_is_not_there_is_refused(tmp_path, calls, tiny_bundle):
    done = ser(
        "analyze", calls, "--bundle", tiny_bundle, "--out", tmp_path / "out",
        "--engine", "ray", "--ray-address", "127.0.0.1:1",
    )  # fmt: skip
    assert done.returncode == 2
    assert "no cluster" in done.stderr
    alone = ser(
        "analyze", calls, "--out", tmp_path / "out", "--ray-address", "127.0.0.1:1"
    )
    assert alone.returncode == 2
    assert "only with the engine ray" in alone.stderr


def test_nothing_to_do_starts_no_cluster():
    assert list(RayEngine("127.0.0.1:1", None).decode([], None, None)) == []


def test_the_exit_code_of_a_lost_cluster_is_its_own(tmp_path, monkeypatch, tiny_bundle):
    def lost(*_args, **_kwargs):
        raise ClusterError("no node of the cluster has worked for 300 s")

    monkeypatch.setattr("ser_batch.pipeline.run", lost)
    done = ser("analyze", EXAMPLES, "--bundle", tiny_bundle, "--out", tmp_path / "out")
    assert done.returncode == 5
