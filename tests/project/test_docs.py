"""The docs name existing files only, and their tutorials run as they are written.

`make lint` checks the parts of the docs that are generated from the code.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ser_batch.reporting.pages.json_report import report_schema
from tests.support.paths import ROOT

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
LINK = re.compile(r"\]\(([^)\s]+)\)")
CONSOLE = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
SUCCESS = (0, 3)
"""The example calls include one that is broken."""


def test_every_link_leads_to_a_file():
    missing = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in PAGES
        for target in LINK.findall(page.read_text().replace("\n  ", " "))
        if not target.startswith(("http", "#", "mailto:"))
        and not (page.parent / target.split("#")[0]).exists()
    ]
    assert missing == []


def test_every_page_is_in_the_index():
    index = (DOCS / "index.md").read_text()
    pages = {str(p.relative_to(DOCS).with_suffix("")) for p in DOCS.rglob("*.md")}
    assert {name for name in pages - {"index"} if f"\n{name}\n" not in index} == set()


def test_the_json_schema_of_a_report_is_that_of_the_code():
    written = json.loads((DOCS / "reference" / "report.schema.json").read_text())
    assert written == report_schema(), "run `make docs`"


@pytest.mark.slow
@pytest.mark.parametrize("page", [p for p in PAGES if CONSOLE.search(p.read_text())])
def test_the_commands_of_a_page_run_one_after_the_other(page: Path, tmp_path):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    program = f'ser() {{ "{sys.executable}" -m ser_batch "$@"; }}\n'
    for block in CONSOLE.findall(page.read_text()):
        for command in re.findall(r"^\$ (.+)$", block, re.MULTILINE):
            done = subprocess.run(
                ["bash", "-c", program + command], cwd=tmp_path, capture_output=True,
                text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
            )  # fmt: skip
            assert done.returncode in SUCCESS, f"{command}\n{done.stderr}"


def test_every_file_named_in_the_architecture_exists():
    text = (ROOT / "docs" / "contributing" / "architecture.md").read_text()
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
