"""The modules of the HTML report on their own; `page/` has their tests."""

import subprocess

import pytest

from tests.support.paths import NODE, ROOT

FOLDER = ROOT / "tests" / "reporting" / "page"


@pytest.mark.parametrize("tests", sorted(p.name for p in FOLDER.glob("*.test.mjs")))
def test_the_tests_in_javascript_pass(tests):
    done = subprocess.run(
        [NODE, "--test", FOLDER / tests], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
