"""The wheel contains everything that `ser` needs, and works without the source."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.paths import EXAMPLES, ROOT


@pytest.fixture(scope="session")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--no-deps",
            "--no-build-isolation",
            "-w",
            folder,
            ROOT,
        ],
        check=True,
    )
    return next(folder.glob("*.whl"))


def test_the_wheel_contains_the_bundles_but_no_recordings_or_tests(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert "ser_batch/models/telephone/model.safetensors" in names
    assert "ser_batch/py.typed" in names
    assert not [
        name for name in names if name.endswith((".wav", ".flac", ".ogg", ".pt"))
    ]
    assert not [name for name in names if name.startswith(("tests/", "examples/"))]


@pytest.mark.slow
def test_the_installed_wheel_analyses_a_call_without_the_source(wheel, tmp_path):
    site = tmp_path / "site"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        site,
        wheel,
    ]
    subprocess.run(pip, check=True)
    # -I and -S exclude this folder and the editable install; the heavy dependencies are
    # shared.
    shared = [path for path in sys.path if path.endswith("site-packages")]
    code = (
        f"import sys; sys.path[:0] = [{str(site)!r}]; sys.path += {shared!r}\n"
        "import ser_batch\n"
        "assert ser_batch.__file__.startswith(sys.path[0]), ser_batch.__file__\n"
        "from ser_batch.cli.app import main\n"
        "if __name__ == '__main__': main()\n"
    )
    script = tmp_path / "ser.py"
    script.write_text(code)
    said = subprocess.run(
        [
            sys.executable,
            "-I",
            "-S",
            script,
            "analyze",
            EXAMPLES / "billing" / "1001.wav",
            "--out",
            tmp_path / "out",
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert said.returncode == 0, said.stdout + said.stderr
    assert "1 recording: 1 done" in said.stdout
    report = subprocess.run(
        [sys.executable, "-I", "-S", script, "report", tmp_path / "out"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert "1 recording: 1 done" in report.stdout


def test_no_file_in_the_repository_is_large():
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True
    )
    if tracked.returncode:
        pytest.skip("not a git checkout")
    for name in tracked.stdout.splitlines():
        path = ROOT / name
        limit = 20_000_000 if name.startswith("models/") else 2_000_000
        assert not path.is_file() or path.stat().st_size < limit, name
