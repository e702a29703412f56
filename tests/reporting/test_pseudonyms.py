"""Exports with hashed paths contain no names, and everything else."""

import json
import stat
import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ser_batch.errors import UsageError
from ser_batch.reporting.export.exporting import FORMATS, export_results
from ser_batch.results.maintenance import verify
from ser_batch.results.name_hashes import hashed_path, hasher, load_key
from ser_batch.results.results import open_results
from tests.support.commands import ser
from tests.support.equality import differences
from tests.support.results import call, write_results
from tests.support.tables import read_table

SECRETS = (
    "jane-doe",
    "0049301234",
    "complaints",
    "archive-of-acme",
    "agent-smith",
    "secret-log",
)


@pytest.fixture
def results(tmp_path) -> Path:
    root = "/srv/archive-of-acme"
    damaged = call("complaints/agent-smith.wav", [(0, 5)], [(6, 9)], input_root=root)
    damaged.recording["notes"] = (
        "agent-smith.wav ends in the middle of a frame, "
        f"as {root}/complaints/agent-smith.wav says"
    )
    damaged.recording["error_detail"] = f"{root}/complaints: secret-log"
    out = write_results(
        tmp_path / "out",
        damaged,
        call(
            "complaints/jane-doe.wav",
            [(0, 5)],
            [(6, 9)],
            [(6, 9, {"angry": 0.9})],
            input_root=root,
        ),
        call(
            "complaints/0049301234.agent-smith",
            [(0, 5)],
            [(6, 12)],
            [(6, 12, {"happy": 0.7})],
            input_root=root,
        ),
        call(
            "jane-doe.mp3",
            error="failed in an unexpected way, please report it",
            error_detail=f"OSError('cannot open {root}/x')",
            input_root=root,
        ),
        call(
            "complaints/0049301234.mp3",
            error="0049301234.mp3 in complaints is empty",
            input_root=root,
        ),
    )
    record = {
        "inputs": [root],
        "config": {"run": {"log_file": "secret-log"}},
        "counts": {"found": 3},
        "model": {},
    }
    (out / "run.json").write_text(json.dumps(record))
    (out / "metadata").mkdir()
    (out / "calls.csv").write_text("path,agent\ncomplaints/jane-doe.wav,agent-smith\n")
    return out


def everything(path: Path) -> str:
    """Return the whole text of a file or folder, decompressed."""
    if path.is_dir():
        return "".join(
            str(child.relative_to(path)) + everything(child)
            for child in sorted(path.rglob("*"))
        )
    if path.suffix == ".parquet":
        return str(pq.read_schema(path).metadata) + str(pq.read_table(path).to_pylist())
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return "".join(
                archive.read(name).decode("utf-8", "replace")
                for name in archive.namelist()
            )
    return path.read_bytes().decode("utf-8", "replace")


@pytest.mark.parametrize("format_", FORMATS)
def test_exports_with_hashed_paths_contain_no_names(results, tmp_path, format_):
    plain, hashed = tmp_path / f"plain.{format_}", tmp_path / f"hashed.{format_}"
    export_results(open_results(results), format_, plain)
    assert "jane-doe" in everything(plain)  # so the check works
    export_results(open_results(results), format_, hashed, hash_paths=tmp_path / "key")
    said = everything(hashed)
    assert [secret for secret in SECRETS if secret in said] == []
    assert (
        hashed_path(
            "complaints/jane-doe.wav", hasher(load_key(tmp_path / "key"))
        ).split("/")[1]
        in said
    )


def test_hashed_exports_keep_all_other_data_and_the_folder_structure(results, tmp_path):
    export_results(
        open_results(results), "results", tmp_path / "copy", hash_paths=tmp_path / "key"
    )
    assert verify(tmp_path / "copy").sound
    names = (
        "recording_id",
        "path",
        "input_root",
        "location",
        "duplicate_of",
        "analyzed_at",
        "error",
        "error_detail",
        "notes",
    )
    for table in ("recordings", "speech", "segments"):
        rows = [
            sorted(
                str({k: v for k, v in row.items() if k not in names})
                for row in read_table(d, table).to_pylist()
            )
            for d in (results, tmp_path / "copy")
        ]
        assert rows[0] == rows[1]
    paths = read_table(tmp_path / "copy", "recordings")["path"].to_pylist()
    assert sorted(len(path.split("/")) for path in paths) == [1, 2, 2, 2, 2]
    errors = [
        row["error"]
        for row in read_table(tmp_path / "copy", "recordings").to_pylist()
        if row["error"]
    ]
    assert sorted(errors) == [
        "... in ... is empty",
        "failed in an unexpected way, please report it",
    ]
    assert len({path.split("/")[0] for path in paths if "/" in path}) == 1
    assert {p.name for p in (tmp_path / "copy").iterdir()} == {
        ".gen", "current", "manifest.json", "run.json",
        "recordings", "speech", "segments",
    }  # fmt: skip
    assert (
        ser("report", tmp_path / "copy", "--html", tmp_path / "page.html").returncode
        == 0
    )
    assert not [
        secret for secret in SECRETS if secret in (tmp_path / "page.html").read_text()
    ]


def test_a_copy_with_names_contains_the_same_rows(results, tmp_path):
    export_results(open_results(results), "results", tmp_path / "copy")
    assert list(differences(results, tmp_path / "copy")) == []


def test_hashed_names_depend_only_on_the_key(results, tmp_path):
    ids = {}
    for night, key in (("monday", "key"), ("tuesday", "key"), ("elsewhere", "other")):
        export_results(
            open_results(results),
            "results",
            tmp_path / night,
            hash_paths=tmp_path / key,
        )
        ids[night] = set(
            read_table(tmp_path / night, "recordings")["recording_id"].to_pylist()
        )
    assert ids["monday"] == ids["tuesday"]
    assert not ids["monday"] & ids["elsewhere"]


def test_metadata_can_filter_a_hashed_export_without_being_written(results, tmp_path):
    (tmp_path / "calls.csv").write_text(
        "path,started_at,agent\ncomplaints/jane-doe.wav,2020-05-01,agent-smith\n"
        "jane-doe.mp3,2021-05-01,agent-smith\n"
    )
    done = ser(
        "export", results, "--to", "csv", "--out", tmp_path / "csv",
        "--hash-paths", tmp_path / "key",
        "--metadata", tmp_path / "calls.csv", "--until", "2020-12-31",
    )  # fmt: skip
    assert done.returncode == 0
    said = everything(tmp_path / "csv")
    assert len((tmp_path / "csv" / "recordings.csv").read_text().splitlines()) == 2
    assert not [secret for secret in SECRETS if secret in said]


def test_a_damaged_run_json_is_left_out(results, tmp_path):
    (results / "run.json").write_text('{"ser_version": ')
    export_results(
        open_results(results), "results", tmp_path / "copy", hash_paths=tmp_path / "key"
    )
    assert not (tmp_path / "copy" / "run.json").exists()


def test_a_key_is_readable_only_by_its_owner_and_invalid_keys_are_refused(tmp_path):
    key = load_key(tmp_path / "key")
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert load_key(tmp_path / "key") == key
    (tmp_path / "notes").write_text("not a key")
    (tmp_path / "letter").write_text("grüße", encoding="latin-1")
    for wrong in ("notes", "letter"):
        with pytest.raises(UsageError, match="not a key"):
            load_key(tmp_path / wrong)
    with pytest.raises(UsageError, match="cannot read or create the key"):
        load_key(tmp_path / "nowhere" / "key")
