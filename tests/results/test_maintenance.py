"""Maintenance: damage is found and repaired, and compacting keeps all rows."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ser_batch.errors import ResultsError
from ser_batch.results import writing as module
from ser_batch.results.known import read_known
from ser_batch.results.maintenance import compact, repair, verify
from ser_batch.results.writing import open_writer
from tests.support.commands import ser
from tests.support.results import IDENTITY, call, write_results
from tests.support.tables import live_file, read_table, tables

SCORED = [(1, 5, {"angry": 0.5}), (6, 9, {"happy": 0.2})]


@pytest.fixture
def results(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(module, "PART_RECORDINGS", 2)
    calls = [call(f"{i}.wav", [(0, 5)], [(5, 9)], SCORED) for i in range(5)]
    return write_results(
        tmp_path / "out", *calls, call("broken.wav", error="is empty"), parts=3
    )


def parts(directory: Path) -> list[str]:
    return list(json.loads((directory / "manifest.json").read_text())["parts"])


def rewrite(directory: Path, table: str, change) -> str:
    """Apply `change` to the first part of a table, and update the manifest."""
    part = parts(directory)[0]
    path = live_file(directory, table, part)
    pq.write_table(change(pq.read_table(path)), path, compression="zstd")
    manifest = json.loads((directory / "manifest.json").read_text())
    sizes = [
        live_file(directory, t, part).stat().st_size
        for t in ("recordings", "speech", "segments")
    ]
    manifest["parts"][part]["bytes"] = sum(sizes)
    (directory / "manifest.json").write_text(json.dumps(manifest))
    return part


def with_column(name: str, values: list):
    def change(table: pa.Table) -> pa.Table:
        i = table.schema.get_field_index(name)
        return table.set_column(
            i, table.schema.field(i), pa.array(values, table.schema.field(i).type)
        )

    return change


def test_undamaged_results_have_no_problems(results):
    findings = verify(results)
    assert findings.sound
    assert (findings.parts, findings.recordings, findings.segments) == (3, 6, 10)


@pytest.mark.parametrize("table", ["recordings", "speech", "segments"])
def test_a_flipped_byte_anywhere_in_the_data_is_found(results, table):
    part = parts(results)[1]
    path = live_file(results, table, part)
    whole = path.read_bytes()
    for at in range(4, len(whole) - 8, max(1, len(whole) // 25)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        assert list(verify(results).problems) in ([part], []), at
    damaged = whole[:60] + bytes(b ^ 0x55 for b in whole[60:70]) + whole[70:]
    path.write_bytes(damaged)
    assert list(verify(results).problems) == [part]


def test_missing_and_truncated_files_are_named(results):
    first, second, _ = parts(results)
    live_file(results, "speech", first).unlink()
    path = live_file(results, "segments", second)
    path.write_bytes(path.read_bytes()[:100])
    problems = verify(results).problems
    assert problems[first] == ["speech is missing"]
    assert problems[second][0].startswith("segments cannot be read")


@pytest.mark.parametrize(
    ("table", "change", "said"),
    [
        (
            "segments",
            with_column("end_s", [5.0, 500.0, 5.0, 9.0]),
            "is not within its recording",
        ),
        (
            "segments",
            with_column("p_angry", [0.9] * 4),
            "probabilities do not sum to 1",
        ),
        (
            "segments",
            with_column("p_angry", [float("nan")] * 4),
            "probabilities do not sum to 1",
        ),
        (
            "segments",
            with_column("p_angry", [None] * 4),
            "segments has rows without p_angry",
        ),
        (
            "segments",
            with_column("start_s", [None] * 4),
            "segments has rows without start_s",
        ),
        (
            "segments",
            with_column("confidence", [7.0] * 4),
            "a confidence is not the highest probability",
        ),
        ("segments", with_column("channel", [-3] * 4), "a channel below 0"),
        ("segments", with_column("segment", [0] * 4), "a segment is duplicated"),
        (
            "speech",
            with_column("role", ["boss"] * 4),
            "a role that is not agent or customer",
        ),
        (
            "segments",
            with_column("label", ["bored", None, None, None]),
            "a label is not one of the model's",
        ),
        ("segments", lambda t: t.slice(1), "should have 2 segments but has 1"),
        (
            "speech",
            with_column("recording_id", ["nobody"] * 4),
            "has rows of a recording that is missing",
        ),
        (
            "recordings",
            lambda t: pa.concat_tables([t, t]),
            "a recording is duplicated",
        ),
        (
            "recordings",
            with_column("status", ["done", "lost"]),
            "not done, failed or duplicate",
        ),
        ("segments", lambda t: t.drop_columns(["level_dbfs"]), "a different schema"),
    ],
)
def test_invalid_rows_are_found(results, table, change, said):
    part = rewrite(results, table, change)
    assert any(said in problem for problem in verify(results).problems[part])


def test_a_recording_in_two_parts_is_found(results):
    manifest = json.loads((results / "manifest.json").read_text())
    first, second, _ = manifest["parts"]
    for table in ("recordings", "speech", "segments"):
        live_file(results, table, second).write_bytes(
            live_file(results, table, first).read_bytes()
        )
    manifest["parts"][second] = manifest["parts"][first]
    (results / "manifest.json").write_text(json.dumps(manifest))
    assert any(
        "is also in part-" in problem for problem in verify(results).problems[second]
    )


def test_repair_moves_damaged_parts_aside_and_forgets_their_recordings(
    results,
):
    part = parts(results)[1]
    path = live_file(results, "segments", part)
    path.write_bytes(b"rubbish")
    assert ser("verify", results).returncode == 3
    done = ser("verify", results, "--repair")
    assert done.returncode == 0
    assert f"{part}: segments cannot be read" in done.stderr
    assert (
        results / "broken" / "segments" / f"{part}.parquet"
    ).read_bytes() == b"rubbish"
    assert verify(results).sound
    assert len(read_known(results, IDENTITY)) == 4
    assert len(list((results / "recordings").iterdir())) == 2


def test_damaged_parts_are_never_rewritten_as_if_they_were_valid(results, monkeypatch):
    part = parts(results)[-1]
    path = live_file(results, "segments", part)
    of_part = pq.read_table(live_file(results, "recordings", part))["path"][0].as_py()
    whole, found = path.read_bytes(), 0
    monkeypatch.setattr(module, "PART_RECORDINGS", 100)
    for at in range(4, len(whole) - 8, max(1, len(whole) // 40)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        if verify(results).sound:
            continue  # a byte of the footer that does not affect rows
        found += 1
        problems = verify(results).problems[part]
        if not any("cannot be read" in problem for problem in problems):
            continue
        with pytest.raises(ResultsError, match="ser verify"):
            compact(results)
        with open_writer(results, IDENTITY) as writer:
            writer.add(call(of_part, [(0, 5)], [(5, 9)], SCORED))
            with pytest.raises(ResultsError, match="ser verify"):
                writer.commit()
        assert part in parts(results)
    assert found > 10


def test_a_run_that_replaces_parts_is_not_reported_as_damage(results, monkeypatch):
    real, calls = module.Manifest.read, []

    def read(directory: Path):
        manifest = real(directory)
        calls.append(manifest)
        if len(calls) == 1:  # a run commits right after the manifest is read
            monkeypatch.setattr(module, "PART_RECORDINGS", 100)
            compact(directory)
        return manifest

    monkeypatch.setattr("ser_batch.results.maintenance.Manifest.read", read)
    assert verify(results).sound


def test_repair_keeps_parts_missing_from_an_old_manifest_without_links(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(module, "supports_links", lambda directory: False)
    monkeypatch.setattr(module, "PART_RECORDINGS", 2)
    calls = [call(f"{i}.wav", [(0, 5)], [(5, 9)], SCORED) for i in range(4)]
    results = write_results(tmp_path / "out", *calls, parts=2)
    old = (results / "manifest.json").read_bytes()
    monkeypatch.setattr(module, "PART_RECORDINGS", 100)
    compact(results)
    [part] = parts(results)
    newest = live_file(results, "segments", part).read_bytes()
    (results / "manifest.json").write_bytes(old)  # restored from a backup
    repair(results)
    assert (results / "broken" / "segments" / f"{part}.parquet").read_bytes() == newest


def test_repair_does_not_change_undamaged_results(results):
    before = tables(results)
    assert repair(results).sound
    assert tables(results) == before
    assert not (results / "broken").exists()


def test_compact_keeps_the_same_rows_in_fewer_files(results, monkeypatch):
    before = tables(results)
    monkeypatch.setattr(module, "PART_RECORDINGS", 4)
    assert compact(results) == (3, 2)
    assert tables(results) == before
    assert verify(results).sound
    listed = {live_file(results, "segments", part).name for part in parts(results)}
    assert {p.name for p in (results / "segments").iterdir()} == listed
    assert compact(results) == (2, 2)


def test_maintenance_is_refused_while_a_run_is_writing(results):
    with open_writer(results, IDENTITY):
        for command in (("compact", results), ("verify", results, "--repair")):
            done = ser(*command)
            assert done.returncode == 2
            assert "another run is writing here" in done.stderr
        assert ser("verify", results).returncode == 0  # reading is allowed


def test_results_can_be_read_and_extended_after_compact(results, monkeypatch):
    monkeypatch.setattr(module, "PART_RECORDINGS", 100)
    compact(results)
    with open_writer(results, IDENTITY) as writer:
        writer.add(call("new.wav", [(0, 5)], [(5, 9)], SCORED))
        writer.commit()
    assert len(read_table(results, "recordings")) == 7
    assert verify(results).sound
