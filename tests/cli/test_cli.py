"""The command line: its output and exit codes, and that the README matches it."""

import json
import os
import pty
import re
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from ser_batch.cli.app import app
from ser_batch.cli.help_pages import PAGES
from ser_batch.version import __version__
from tests.support.commands import command_line, ser, ser_process
from tests.support.paths import EXAMPLES, ROOT
from tests.support.tables import tables

COMMANDS = (
    "analyze", "report", "export", "verify", "compact", "merge", "path", "forget",
    "relocate", "predict", "stream", "serve", "profile", "label", "train", "adapt",
    "evaluate", "compare", "corpus", "models", "doctor", "help",
)  # fmt: skip


def test_help_lists_every_command_without_importing_heavy_libraries():
    code = (
        "import sys; sys.argv = ['ser', '--help']\n"
        "from ser_batch.cli.app import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'pandas', 'pyarrow', 'onnxruntime', 'librosa', 'numpy'}\n"
        "heavy &= set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    assert all(command in said.stdout for command in COMMANDS)


def test_a_report_does_not_import_torch(calls, tmp_path, tiny_bundle):
    ser("analyze", calls, "--bundle", tiny_bundle, "--out", tmp_path / "out")
    code = (
        f"import sys; sys.argv = ['ser', 'report', {str(tmp_path / 'out')!r}]\n"
        "from ser_batch.cli.app import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "assert 'torch' not in sys.modules"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    assert "billing/1001.wav" in said.stdout


@pytest.mark.parametrize("option", [[], ["--dry-run"]], ids=["a run", "a dry run"])
def test_a_run_with_nothing_new_does_not_import_torch(
    calls, tmp_path, tiny_bundle, option
):
    arguments = ["analyze", calls, "--bundle", tiny_bundle, "--out", tmp_path / "out"]
    assert ser(*arguments).returncode == 3
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["device"] == "cpu" or record["device"].startswith("cuda")
    command = ["ser", *map(str, arguments), *option]
    code = (
        f"import sys; sys.argv = {command!r}\n"
        "from ser_batch.cli.app import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "assert not {'torch', 'onnxruntime'} & set(sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    assert "5 already analysed" in said.stdout or "0 of 5" in said.stderr


def test_a_run_ends_with_a_summary_and_the_next_command(calls, tmp_path, tiny_bundle):
    said = ser("analyze", calls, "--bundle", tiny_bundle, "--out", tmp_path / "out")
    assert said.returncode == 3
    assert "5 recordings: 4 done, 1 failed" in said.stdout
    assert "failed: billing/1003-broken.wav: unrecognised audio format" in said.stdout
    assert f"Next: ser report {tmp_path}/out" in said.stdout
    assert "for tests" in said.stdout  # the bundle's licence
    assert "--roles agent,customer" in said.stdout
    assert said.stderr == ""
    again = ser("analyze", calls, "--bundle", tiny_bundle, "--out", tmp_path / "out")
    assert again.returncode == 0
    assert "5 already analysed" in again.stdout


def test_metadata_given_to_a_run_is_kept_for_reports(calls, tmp_path, tiny_bundle):
    options = (
        "--bundle",
        tiny_bundle,
        "--quiet",
        "--metadata",
        EXAMPLES.parent / "calls.csv",
        "--out",
        tmp_path / "out",
    )
    assert ser("analyze", calls, *options).returncode == 3
    report = json.loads(
        ser("report", tmp_path / "out", "--by", "queue", "--format", "json").stdout
    )
    assert {
        group["group"]: group["figures"]["recordings"]["value"]
        for group in report["groups"]
    } == {
        "billing": 3,
        "delivery": 2,
    }
    assert report["first"] == "2026-11-02T09:14:00"
    assert (
        ser(
            "analyze",
            calls,
            *options[:4],
            tmp_path / "none.csv",
            "--out",
            tmp_path / "new",
        ).returncode
        == 2
    )
    assert not (tmp_path / "new").exists()


def test_quiet_prints_only_failures(calls, tmp_path, tiny_bundle):
    said = ser(
        "analyze", calls, "--bundle", tiny_bundle, "--out", tmp_path / "out", "--quiet"
    )
    assert (said.stdout, said.returncode) == ("", 3)
    assert said.stderr.startswith(
        "failed: billing/1003-broken.wav: unrecognised audio format"
    )


def test_a_dry_run_lists_recordings_and_writes_nothing(calls, tmp_path, tiny_bundle):
    said = ser(
        "analyze",
        calls,
        "--bundle",
        tiny_bundle,
        "--out",
        tmp_path / "out",
        "--dry-run",
    )
    assert said.returncode == 0
    assert len(said.stdout.splitlines()) == 5
    assert "5 of 5 recordings would be analysed" in said.stderr
    assert not (tmp_path / "out").exists()
    ser(
        "analyze", calls / "billing", "--bundle", tiny_bundle, "--out", tmp_path / "out"
    )
    (calls / "billing" / "1001.wav").touch()
    said = ser(
        "analyze",
        calls / "billing",
        "--bundle",
        tiny_bundle,
        "--out",
        tmp_path / "out",
        "--dry-run",
    )
    assert said.stdout.splitlines() == [str(calls / "billing" / "1001.wav")]


def test_the_command_line_overrides_the_file_and_run_json_records_both(
    calls, tmp_path, tiny_bundle
):
    path = tmp_path / "ser.toml"
    path.write_text(
        "[score]\nroles = ['customer', 'agent']\n[segments]\nmax_s = 4\n"
        "[vad]\nonset = 0.4\n"
    )
    arguments = [
        "--config",
        path,
        "--roles",
        "agent,customer",
        "--set",
        "vad.onset=0.45",
        "--bundle",
        tiny_bundle,
    ]
    ser("analyze", calls, *arguments, "--out", tmp_path / "out")
    config = json.loads((tmp_path / "out" / "run.json").read_text())["config"]
    assert config["score"]["roles"] == ["agent", "customer"]
    assert config["segments"]["max_s"] == 4.0
    assert config["vad"]["onset"] == 0.45
    assert all(
        row["end_s"] - row["start_s"] <= 4
        for row in tables(tmp_path / "out")["segments"]
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["analyze", "nowhere", "--out", "x"], "nowhere: no such file"),
        (["analyze", EXAMPLES, "--out", "x", "--bundle", "none"], "no bundle 'none'"),
        (
            ["analyze", EXAMPLES, "--out", "x", "--set", "vad"],
            "write GROUP.OPTION=VALUE",
        ),
        (
            ["analyze", EXAMPLES, "--out", "x", "--set", "vad.onst=1"],
            "unknown option vad.onst",
        ),
        (["analyze", EXAMPLES, "--out", "x", "--roles", "boss"], "agent and customer"),
        (["analyze", EXAMPLES, "--out", "x", "--vad", "pyannote"], "pyannote model"),
        (
            [
                "analyze",
                EXAMPLES,
                "--out",
                "x",
                "--mix",
                "--roles",
                "customer,customer",
            ],
            "cannot be combined",
        ),
        (["analyze", EXAMPLES, "--out", "x", "--device", "cuda:9"], "CUDA devices"),
        (["analyze", EXAMPLES], "Missing option"),
        (["report", "nowhere"], "contains no results"),
        (["models", "show", "none"], "no bundle 'none'"),
        (["train", "ravdes=x", "--out", "y"], "NAME is one of ravdess"),
        (
            ["train", "ravdess=nowhere", "--out", "y"],
            "nowhere: no such folder or zip archive",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_wrong_usage_exits_with_2_and_a_hint(tmp_path, arguments, message, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = ser(*arguments)
    assert said.returncode == 2
    assert message in " ".join(re.sub("[│╭╰─╮╯]", " ", said.stderr).split())
    assert "Traceback" not in said.stderr


def test_predict_labels_clips_and_reports_unreadable_ones(
    calls, tiny_bundle, monkeypatch
):
    clips = [calls / "delivery" / "2002.wav", calls / "billing" / "1003-broken.wav"]
    said = ser("predict", *clips, "--bundle", tiny_bundle, "--json")
    assert said.returncode == 3
    [line] = said.stdout.splitlines()
    prediction = json.loads(line)
    assert sum(prediction["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    assert prediction["label"] in {*prediction["probabilities"], None}
    assert "1003-broken.wav: unrecognised audio format" in said.stderr
    monkeypatch.chdir(calls)  # a short path, which fits on one line of the table
    said = ser("predict", "delivery/2002.wav", "--bundle", tiny_bundle)
    assert "delivery/2002.wav" in said.stdout


def test_models_lists_the_shipped_bundles_and_shows_a_card():
    assert "telephone" in ser("models", "list").stdout
    card = ser("models", "show", "telephone").stdout
    assert "Out of scope" in card
    assert "CC BY-NC-SA" in card


def test_doctor_reports_no_problem_in_a_working_installation():
    said = ser("doctor", "--json")
    checks = json.loads(said.stdout)
    assert [check["name"] for check in checks if not check["ok"]] == []
    assert said.returncode == 0
    assert len(checks) >= 9


def test_doctor_advises_on_incompatible_torch_and_torchaudio(monkeypatch):
    import ser_batch.cli.installation as installation

    real = installation.version
    monkeypatch.setattr(
        installation,
        "version",
        lambda name: "2.15.0" if name == "torch" else real(name),
    )
    result = CliRunner().invoke(app, ["doctor", "--json"])
    assert result.exit_code == 2
    wrong = {
        check["name"]: check for check in json.loads(result.stdout) if not check["ok"]
    }
    assert "torch 2.15.0 with torchaudio" in wrong["torch and torchaudio"]["found"]
    assert "torch==2.11" in wrong["torch and torchaudio"]["advice"]
    assert "torch 2.15.0, needs" in wrong["packages"]["found"]


def test_a_terminal_shows_progress_and_then_the_summary(calls, tmp_path, tiny_bundle):
    leader, follower = pty.openpty()
    command = command_line(
        "analyze",
        calls,
        "--bundle",
        tiny_bundle,
        "--out",
        tmp_path / "out",
    )
    with subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=follower, text=True
    ) as process:
        os.close(follower)
        said = b""
        while True:
            try:
                chunk = os.read(leader, 4096)
            except OSError:
                break
            if not chunk:
                break
            said += chunk
        summary = process.communicate()[0]
    os.close(leader)
    text = said.decode(errors="replace")
    assert "looking for recordings" in text
    assert "x real time" in text
    assert "5 recordings: 4 done, 1 failed" in summary


def test_every_option_is_in_the_docs_or_the_example_configuration_file():
    generated = ROOT / "docs" / "reference" / "cli.md"
    pages = {*(ROOT / "docs").rglob("*.md"), ROOT / "examples" / "ser.toml"}
    documented = "".join(page.read_text() for page in pages - {generated})
    help_ = ser_process(
        "analyze", "--help", env={**os.environ, "COLUMNS": "200"}
    ).stdout
    for option in set(re.findall(r"--([a-z][a-z-]+)", help_)) - {"help"}:
        assert (
            f"--{option}" in documented
            or f"{option.replace('-', '_')} = " in documented
        ), option


def test_the_readme_shows_only_existing_commands():
    text = (ROOT / "README.md").read_text()
    for command in re.findall(r"^ *(?:\$ )?ser ([a-z]+)", text, re.MULTILINE):
        assert command in COMMANDS


def test_the_docs_show_only_existing_options(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    help_of = {name: ser(name, "--help").stdout for name in COMMANDS}
    # `ser profile calls/` is short for `ser profile make calls/`.
    of_groups = (name for name in PAGES if name.startswith(("label ", "models ")))
    for name in ("profile make", *of_groups):
        help_of[name] = ser(*name.split(), "--help").stdout
    help_of["profile"] = help_of["profile make"]
    shown = 0
    for path in [
        ROOT / "README.md",
        ROOT / "SECURITY.md",
        *(ROOT / "docs").rglob("*.md"),
    ]:
        for line in re.findall(
            r"^(?:    | ?\$ ).*\bser [a-z].*$|`ser [a-z][^`]*`",
            path.read_text(),
            re.MULTILINE,
        ):
            for command, rest in re.findall(r"\bser ([a-z]+)([^;`|]*)", line):
                full = " ".join([command, *rest.split()[:1]])
                known = help_of.get(full) or help_of[command]
                for option in re.findall(r"--([a-z][a-z-]+)", rest):
                    shown += 1
                    assert f"--{option}" in known, f"{path.name}: {line}"
    assert shown > 30


@pytest.mark.slow
def test_the_example_scripts_run_on_the_example_calls(tmp_path):
    def run(script: str, *arguments: object) -> str:
        command = [sys.executable, ROOT / "examples" / script, *arguments]
        done = subprocess.run(
            list(map(str, command)), capture_output=True, text=True, cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    moments = run("moments_of_anger.py", EXAMPLES)
    assert "billing/1003-broken.wav: failed" in moments
    assert re.search(r"billing/1001.wav: \d+ segments", moments)
    assert re.search(
        r"customer +25\.\d", run("one_call.py", EXAMPLES / "billing" / "1001.wav")
    )
    ser("analyze", EXAMPLES, "--roles", "agent,customer", "--out", tmp_path / "results")
    assert "delivery" in run("queues.py", tmp_path / "results", "folder")


def test_the_example_queries_run_on_the_results(tmp_path):
    ser("analyze", EXAMPLES, "--out", tmp_path / "results")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    code = (
        "import duckdb, pathlib, sys\n"
        "for query in pathlib.Path(sys.argv[1]).read_text().split(';'):\n"
        "    print(duckdb.sql(query))"
    )
    said = subprocess.run(
        [sys.executable, "-c", code, ROOT / "examples" / "queries.sql"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert said.returncode == 0, said.stderr
    assert said.stdout.count("billing") >= 3
    assert "1003-broken.wav" in said.stdout


def test_the_readme_shows_what_the_demo_prints(tmp_path):
    shown = (ROOT / "README.md").read_text().split("<!-- demo -->")[1]
    lines = re.findall(r"^    (.*\S)", shown.split("<!-- /demo -->")[0], re.MULTILINE)
    metadata = ("--metadata", EXAMPLES.parent / "calls.csv")
    out = tmp_path / "results"
    ser("analyze", EXAMPLES, "--roles", "agent,customer", *metadata, "--out", out)
    printed = ser("report", out, "--by", "queue").stdout
    assert len(lines) > 3
    assert all(line in printed for line in lines)


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().split()) < 900


def test_help_and_version_are_found_where_one_looks_for_them():
    assert (
        ser("help", "corpus", "check").stdout == ser("corpus", "check", "--help").stdout
    )
    assert ser("help").stdout == ser("--help").stdout
    assert ser("-V").stdout == ser("--version").stdout == f"ser {__version__}\n"


def test_a_table_given_as_a_recording_gets_a_hint(tmp_path):
    table = tmp_path / "calls.csv"
    table.write_text("path,queue\na.wav,billing\n")
    said = ser("analyze", table, "--out", tmp_path / "out")
    assert said.returncode == 2
    assert f"--metadata {table}" in said.stderr
    assert not (tmp_path / "out").exists()
