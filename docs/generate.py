"""The parts of the documentation that are generated from the code.

`make docs` writes them, and `make lint` and the tests check that they are up to date.
Run as a program, this writes the JSON schema of a report.
"""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pyarrow as pa

from ser_batch.reporting.figures.measures import measures_of
from ser_batch.reporting.pages.json_report import report_schema
from ser_batch.results.schemas import table_schemas

ROOT = Path(__file__).parent.parent
COMMANDS = (
    "analyze", "report", "export", "verify", "compact", "merge", "path", "forget",
    "relocate", "predict", "stream", "serve", "profile", "profile make", "profile show",
    "profile refresh",
    "label start", "label serve", "label status", "label export", "label import",
    "train", "adapt", "evaluate", "compare", "corpus check", "models list",
    "models show", "models add", "doctor",
)  # fmt: skip


def layers() -> str:
    """Return the layers of the package, from the import rules."""
    rules = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = [layer.replace(" : ", "   ") for layer in rules["contracts"][0]["layers"]]
    width = max(map(len, layers)) + 2
    edge = "─" * width
    packages = [layer.center(width) for layer in layers]
    rows = f"\n├{edge}┤\n".join(f"│{row}│" for row in packages)
    return f"```text\n┌{edge}┐\n{rows}\n└{edge}┘\n```"


def measures() -> str:
    """Return a table of all measures of a report, with their formulas."""
    rows = [
        "| measure | what it is | unit | sum of | divided by the sum of |",
        "| --- | --- | --- | --- | --- |",
        "| `<label>_share` | mean probability of each label, by scored time | 1 "
        "| `p_<label>_s` | `scored_s` |",
    ]
    for name, m in measures_of(()).items():
        by = "–" if m.kind == "count" else f"`{m.by}`"
        rows.append(f"| `{name}` | {m.meaning} | {m.unit} | `{m.over}` | {by} |")
    return "\n".join(rows)


def tables() -> str:
    """Return the columns of each table of the results, with units and meanings."""
    rows = {
        "recordings": "recording, including failed ones and copies",
        "speech": "speech region on any channel",
        "segments": "scored segment",
    }
    parts = []
    for name, schema in table_schemas(("neutral",)).items():
        parts += [
            f"## `{name}`: one row per {rows[name]}",
            "",
            "| column | type | unit | meaning |",
            "| --- | --- | --- | --- |",
            *(_column(field) for field in schema),
            "",
        ]
    return "\n".join(parts)


def _column(field: pa.Field) -> str:
    about = {key.decode(): value.decode() for key, value in field.metadata.items()}
    name, meaning = field.name, about["description"]
    if name == "p_neutral":
        name, meaning = "p_<label>", "calibrated probability of each label"
    return f"| `{name}` | {field.type} | {about.get('unit', '')} | {meaning} |"


def json_tables() -> str:
    """Return the keys of each object in a report as JSON."""
    parts = []
    for name, record in report_schema()["$defs"].items():
        parts += [
            f"## {name}",
            "",
            record["description"],
            "",
            "| key | type | meaning |",
            "| --- | --- | --- |",
            *(
                f"| `{key}` | {_type(value)} | {value.get('description', '')} |"
                for key, value in record["properties"].items()
            ),
            "",
        ]
    return "\n".join(parts)


def _type(value: dict[str, Any]) -> str:
    """Return the type of a value in a JSON schema, in words."""
    if "$ref" in value:
        name = value["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in value:
        return " or ".join(_type(one) for one in value["anyOf"])
    if value.get("type") == "array":
        return f"array of {_type(value['items'])}"
    if value.get("type") == "object":
        return f"object of {_type(value['additionalProperties'])}"
    return str(value.get("type", "any"))


def help_of_all_commands() -> str:
    """Return the `--help` of each command."""
    return "\n\n".join(f"## ser {name}\n\n{_help(name)}" for name in COMMANDS)


def _help(command: str) -> str:
    arguments = [sys.executable, "-m", "ser_batch", *command.split(), "--help"]
    environment = {
        **os.environ,
        "COLUMNS": "96",
        "TERMINAL_WIDTH": "96",
        "NO_COLOR": "1",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        arguments, capture_output=True, text=True, check=True, env=environment
    )
    text = done.stdout.replace("python -m ser_batch", "ser").strip("\n")
    lines = [line.rstrip() for line in text.splitlines()]
    return "```text\n" + "\n".join(lines) + "\n```"


def write_schema() -> None:
    """Write the JSON schema of a report next to the page that describes it."""
    text = json.dumps(report_schema(), indent=1) + "\n"
    (ROOT / "docs" / "reference" / "report.schema.json").write_text(text)


if __name__ == "__main__":
    write_schema()
