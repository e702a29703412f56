"""The tables: every recording has its rows exactly once."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ser_batch.errors import ResultsError
from ser_batch.results import writing as module
from ser_batch.results.known import read_known
from ser_batch.results.manifest import Identity
from ser_batch.results.schemas import table_schemas
from ser_batch.results.writing import open_writer
from tests.support.rows import IDENTITY, LABELS, globbed, ids, rows
from tests.support.tables import read_table


def test_rows_are_read_back_by_ser_and_by_a_plain_glob(tmp_path):
    with open_writer(tmp_path, IDENTITY) as writer:
        for name in "abc":
            writer.add(rows(name))
        writer.commit()
    assert ids(tmp_path) == globbed(tmp_path) == ["a", "b", "c"]
    assert (
        ids(tmp_path, "segments")
        == globbed(tmp_path, "segments")
        == ["a", "a", "b", "b", "c", "c"]
    )


def test_many_small_commits_share_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PART_RECORDINGS", 10)
    for night in range(8):
        with open_writer(tmp_path, IDENTITY) as writer:
            for i in range(4):
                writer.add(rows(f"{night}-{i}"))
            writer.commit()
    assert len(ids(tmp_path)) == 32
    assert len(list((tmp_path / "recordings").iterdir())) <= 4


def test_changed_recordings_replace_their_rows_in_every_part(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PART_RECORDINGS", 3)
    with open_writer(tmp_path, IDENTITY) as writer:
        for name in "abcdefgh":
            writer.add(rows(name))
        writer.commit()
    with open_writer(tmp_path, IDENTITY) as writer:
        for name in "beh":
            writer.add(rows(name, 1, content="new"))
        writer.commit()
        writer.add(rows("b", 3, content="newer"))
        writer.commit()
    assert ids(tmp_path) == globbed(tmp_path) == list("abcdefgh")
    segments = ids(tmp_path, "segments")
    assert {name: segments.count(name) for name in "abeh"} == {
        "a": 2,
        "b": 3,
        "e": 1,
        "h": 1,
    }
    known = read_known(tmp_path, IDENTITY)
    assert {name: known[name].content_hash for name in "abe"} == {
        "a": "x",
        "b": "newer",
        "e": "new",
    }


def test_all_parts_have_the_same_schema_with_units_and_descriptions(tmp_path):
    with open_writer(tmp_path, IDENTITY) as writer:
        writer.add(rows("silent", 0))
        writer.commit()
    for table, schema in table_schemas(LABELS).items():
        [part] = (tmp_path / table).iterdir()
        there = pq.read_schema(part)
        assert there.equals(schema)
        assert all(f.metadata[b"description"] for f in there)
    assert pq.read_schema(part).field("start_s").metadata[b"unit"] == b"s"


def first_night(directory: Path) -> None:
    with open_writer(directory, IDENTITY) as writer:
        for name in "abc":
            writer.add(rows(name))
        writer.commit()


def test_a_second_run_on_the_same_directory_is_refused(tmp_path):
    with open_writer(tmp_path, IDENTITY):
        code = (
            "import sys; from pathlib import Path\n"
            "from ser_batch.results.manifest import Identity\n"
            "from ser_batch.results.writing import open_writer\n"
            "from ser_batch.errors import ResultsError\n"
            "identity = Identity('tiny@1', 'abc', ('calm', 'angry'))\n"
            "try:\n    open_writer(Path(sys.argv[1]), identity).__enter__()\n"
            "except ResultsError as error:\n    print(error)"
        )
        second = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True
        )
    assert "another run is writing here" in second.stdout
    with open_writer(tmp_path, IDENTITY):
        pass


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path):
    code = (
        "import os, sys; from pathlib import Path\n"
        "from ser_batch.results.manifest import Identity\n"
        "from ser_batch.results.writing import open_writer\n"
        "identity = Identity('tiny@1', 'abc', ('calm', 'angry'))\n"
        "with open_writer(Path(sys.argv[1]), identity):\n"
        "    os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)]).returncode == -9
    assert (tmp_path / ".lock").exists()
    first_night(tmp_path)
    assert ids(tmp_path) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("identity", "what"),
    [
        (Identity("other@2", "abc", LABELS), "model"),
        (Identity("tiny@1", "x", LABELS), "configuration"),
    ],
)
def test_another_model_or_configuration_is_refused(tmp_path, identity, what):
    first_night(tmp_path)
    with (
        pytest.raises(ResultsError, match=f"made with {what}"),
        open_writer(tmp_path, identity),
    ):
        pass
    assert ids(tmp_path) == ["a", "b", "c"]


def test_parts_of_unknown_origin_are_not_touched(tmp_path):
    first_night(tmp_path)
    (tmp_path / "current").rename(tmp_path / "moved")
    with (
        pytest.raises(ResultsError, match="the link `current` is missing"),
        open_writer(tmp_path, IDENTITY),
    ):
        pass
    (tmp_path / "moved").rename(tmp_path / "current")
    assert globbed(tmp_path) == ["a", "b", "c"]
    (tmp_path / "other" / "segments").mkdir(parents=True)
    (tmp_path / "other" / "segments" / "x.parquet").touch()
    with (
        pytest.raises(ResultsError, match="manifest.json does not"),
        open_writer(tmp_path / "other", IDENTITY),
    ):
        pass
    (tmp_path / "other" / "segments" / "x.parquet").unlink()
    first_night(tmp_path / "other")
    assert globbed(tmp_path / "other", "segments") == ["a", "a", "b", "b", "c", "c"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "damaged"),
        ('{"format": 99}', "format 99"),
        ('{"format": 4}', "damaged"),
    ],
)
def test_a_damaged_manifest_is_named(tmp_path, text, message):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ResultsError, match=message):
        read_table(tmp_path, "recordings")


def test_a_missing_part_is_an_error_and_not_silently_skipped(tmp_path):
    first_night(tmp_path)
    next((tmp_path / "speech").iterdir()).unlink()
    with pytest.raises(ResultsError, match="missing"):
        read_table(tmp_path, "speech")


def test_a_directory_without_results_gives_a_hint(tmp_path):
    with pytest.raises(ResultsError, match="ser analyze"):
        read_table(tmp_path, "recordings")


def test_the_run_record_is_json(tmp_path):
    with open_writer(tmp_path, IDENTITY) as writer:
        writer.write_record({"name": "café"})
    assert json.loads((tmp_path / "run.json").read_text(encoding="utf-8")) == {
        "name": "café"
    }


@pytest.mark.parametrize(
    "parts", [[], None, {"../x": {"recordings": 1, "bytes": 1}}, {"part-000001": {}}]
)
def test_a_manifest_with_invalid_parts_is_reported_as_damaged(tmp_path, parts):
    first_night(tmp_path)
    values = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps({**values, "parts": parts}))
    with pytest.raises(ResultsError, match="damaged"):
        read_table(tmp_path, "recordings")
