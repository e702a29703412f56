"""The docs say what the code says."""

import subprocess
import sys

from tests.support.paths import ROOT


def test_what_is_made_from_the_code_is_up_to_date():
    pages = sorted(str(path) for path in (ROOT / "docs").glob("*.md"))
    command = [sys.executable, "-m", "cogapp", "--check", *pages]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}\nRun `make docs`"


def test_every_file_that_the_architecture_names_is_there():
    text = (ROOT / "docs" / "architecture.md").read_text()
    names = {
        word.strip("`(),.;:|") for word in text.split() if word.startswith(("`", "(`"))
    }
    files = {
        name
        for name in names
        if name.endswith((".py", ".sql", ".toml")) and "*" not in name
    }
    there = {path.name for path in (ROOT / "ser_batch").rglob("*")} | {"pyproject.toml"}
    there |= {path.name for path in (ROOT / "tests").rglob("*.py")}
    assert [
        name for name in sorted(files) if name.rpartition("/")[2] not in there
    ] == []
