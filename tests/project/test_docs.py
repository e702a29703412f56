"""The docs name existing files only.

`make lint` checks the parts of the docs that are generated from the code.
"""

from tests.support.paths import ROOT


def test_every_file_named_in_the_architecture_exists():
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
