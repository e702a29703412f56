"""A Ray cluster keeps the promises of one machine; the cases are in a module apart."""

import os
import subprocess
import sys

import pytest

from tests.support.paths import ROOT


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_holds_on_one_machine_holds_on_a_cluster():
    pytest.importorskip("ray", reason="the extra `cluster` is not installed")
    cases = str(ROOT / "tests" / "engine" / "cluster_cases.py")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "0", "-q", "--tb=short", cases],
        cwd=ROOT, env=os.environ, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-5000:]
    assert "passed" in done.stdout
