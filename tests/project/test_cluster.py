"""The examples for clusters run as they are written, with stand-ins for schedulers."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ser_batch.results.results import open_results
from tests.support.paths import EXAMPLES, ROOT

CLUSTER = ROOT / "examples" / "cluster"
SHARDS = 2


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Return a folder with calls and a profile, and put this `ser` on the path."""
    tmp_path = tmp_path_factory.mktemp("cluster")
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "ser"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m ser_batch "$@"\n')
    script.chmod(0o755)
    shutil.copytree(EXAMPLES, tmp_path / "calls")
    (tmp_path / "results").mkdir()
    profile = shell(
        tmp_path,
        'ser profile make "$CALLS" --roles agent,customer --out "$OUT/centre.json"',
    )
    assert profile.returncode == 0, profile.stderr
    return tmp_path


@pytest.fixture
def data(made) -> Path:
    """Return the same, without results."""
    for folder in ("shards", "calls"):
        shutil.rmtree(made / "results" / folder, ignore_errors=True)
    return made


def shell(root: Path, *command: str, **variables: str) -> subprocess.CompletedProcess:
    environment = os.environ | {
        "PATH": f"{root / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "CALLS": str(root / "calls"),
        "OUT": str(root / "results"),
    }
    words = ["/bin/sh", "-c", *command] if len(command) == 1 else list(command)
    return subprocess.run(
        words, env=environment | variables, capture_output=True, text=True
    )


def check_merged(results: Path) -> None:
    recordings = open_results(results).recordings()
    assert len(recordings) == 5
    assert (recordings.status == "failed").sum() == 1


@pytest.mark.slow
def test_an_array_of_jobs_on_slurm_gives_one_set_of_results(data):
    for number in range(1, SHARDS + 1):
        done = shell(
            data, "bash", str(CLUSTER / "slurm-shard.sh"),
            SLURM_ARRAY_TASK_ID=str(number), SLURM_ARRAY_TASK_COUNT=str(SHARDS),
            SLURM_CPUS_PER_TASK="1",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    done = shell(data, "bash", str(CLUSTER / "slurm-merge.sh"))
    assert done.returncode == 0, done.stderr
    check_merged(data / "results" / "calls")


@pytest.mark.slow
def test_an_indexed_job_on_kubernetes_gives_one_set_of_results(data):
    shards, merge = yaml.safe_load_all((CLUSTER / "kubernetes.yaml").read_text())

    def command(job: dict) -> str:
        pod = job["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"]
        (container,) = pod["containers"]
        assert container["command"][:2] == ["/bin/sh", "-c"]
        text = container["command"][2].replace("/data/", f"{data}/")
        return text.replace("/16", f"/{SHARDS}").replace("--workers 4", "--workers 1")

    assert shards["spec"]["completions"] == 16
    for index in range(SHARDS):
        done = shell(data, command(shards), JOB_COMPLETION_INDEX=str(index))
        assert done.returncode == 0, done.stderr
    done = shell(data, command(merge))
    assert done.returncode == 0, done.stderr
    check_merged(data / "results" / "calls")


def test_the_image_installs_this_package_for_an_ordinary_user():
    """A lint of what is easily got wrong: there is no Docker daemon to build it."""
    text = (CLUSTER / "Dockerfile").read_text().replace("\\\n", " ")
    steps = [line.split(maxsplit=1) for line in text.splitlines() if line[:1].isalpha()]
    known = {"ARG", "FROM", "WORKDIR", "COPY", "RUN", "USER", "ENTRYPOINT", "CMD"}
    assert {name for name, _ in steps} <= known
    users = [value for name, value in steps if name == "USER"]
    assert users
    assert users[-1] not in ("root", "0")
    after_user = steps[[name for name, _ in steps].index("USER") :]
    assert not [value for name, value in after_user if name == "RUN"]
    for name, value in steps:
        if name == "RUN":
            checked = subprocess.run(["sh", "-n", "-c", value], capture_output=True)
            assert checked.returncode == 0, value
    images = [value.split()[0] for name, value in steps if name == "FROM"]
    assert all(re.fullmatch(r"python:\$\{PYTHON\}-slim", image) for image in images)


def test_the_cluster_of_ray_is_one_that_ray_accepts():
    util = pytest.importorskip(
        "ray.autoscaler._private.util", reason="the extra `cluster` is not installed"
    )
    described = yaml.safe_load((CLUSTER / "ray.yaml").read_text())
    util.validate_config(util.prepare_config(described))
    installed = " ".join(described["setup_commands"])
    assert "ser-batch[cluster,cloud]" in installed
