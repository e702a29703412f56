"""Results in an object store keep the promises of those in a folder."""

import json
import subprocess
from contextlib import suppress
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ser_batch.errors import ResultsError, UsageError
from ser_batch.results.maintenance import compact, verify
from ser_batch.results.merging import merge_results
from ser_batch.results.results import open_results
from ser_batch.results.retention import chosen, forget
from ser_batch.results.schemas import TABLES
from ser_batch.results.stored_parts import StoredParts
from ser_batch.results.writing import open_writer
from ser_batch.storage import checkout
from ser_batch.storage.checkout import Checkout, results_folder, with_addresses
from tests.support.commands import command_line, ser
from tests.support.equality import assert_close
from tests.support.paths import EXAMPLES
from tests.support.results import IDENTITY, write_results
from tests.support.tables import tables

pytest.importorskip("obstore", reason="the extra `cloud` is not installed")
pytest.importorskip("moto", reason="moto, which stands in for S3, is not installed")

import obstore

from tests.support import stores
from tests.support.stored import calls, place, stored


def test_rows_in_a_store_are_those_in_a_folder(opened, tmp_path):
    for parts in (1, 3):
        local = write_results(tmp_path / f"{parts}", *calls(9), parts=parts)
        directory = write_results(opened(), *calls(9), parts=parts)
        assert tables(opened()) == tables(local)
        assert verify(directory).sound
        assert verify(opened()).sound


def test_a_run_analyses_into_a_store_once_and_reports_from_it(
    address, request, tmp_path, tiny_bundle
):
    common = ("--bundle", tiny_bundle, "--quiet", "--out")
    local = ser("analyze", EXAMPLES, *common, tmp_path / "local")
    first = ser("analyze", EXAMPLES, *common, place(request))
    assert first.returncode == local.returncode == 3, first.stderr
    before = stored(address, request)
    again = ser("analyze", EXAMPLES, *common, place(request))
    assert again.returncode == 0, again.stderr
    after = stored(address, request)
    assert after["manifest.json"] == before["manifest.json"]
    own = ser("report", place(request), "--format", "json").stdout
    theirs = ser("report", tmp_path / "local", "--format", "json").stdout
    assert place(request) in own
    same_but_for_place = own.replace(place(request), str(tmp_path / "local"))
    # Batches of two runs differ, and with them the last bits of scores.
    assert_close(json.loads(same_but_for_place), json.loads(theirs))
    assert not any(stores.SECRET.encode() in data for data in after.values())


@pytest.mark.parametrize("reader", ["pyarrow", "pandas", "duckdb"])
def test_other_readers_read_what_the_manifest_names(
    reader, address, request, opened, tmp_path
):
    from obstore.fsspec import FsspecStore

    local = open_results(write_results(tmp_path / "local", *calls(9), parts=3))
    write_results(opened(), *calls(9), parts=3)
    write_results(opened(), *calls(2), parts=1)  # replaces two calls
    files = FsspecStore("s3", endpoint=address, client_options={"allow_http": True})
    root = place(request).removeprefix("s3://")
    named = json.loads(files.cat_file(f"{root}/manifest.json"))["tables"]
    for table in TABLES:
        paths = [f"{root}/{name}" for name in named[table]]
        if reader == "pyarrow":
            rows = pa.concat_tables(pq.read_table(p, filesystem=files) for p in paths)
            found = rows.to_pandas()
        elif reader == "pandas":
            found = pd.concat(pd.read_parquet(p, filesystem=files) for p in paths)
        else:
            connection = duckdb.connect()
            connection.register_filesystem(files)
            found = connection.sql(
                "SELECT * FROM read_parquet($paths)",
                params={"paths": [f"s3://{path}" for path in paths]},
            ).df()
        by = ["recording_id", *(["start_s"] if "start_s" in found else [])]
        expected = local.read(table).to_pandas().sort_values(by, ignore_index=True)
        found = found.sort_values(by, ignore_index=True)
        assert found[by].equals(expected[by])


def test_of_two_writers_exactly_one_wins_and_the_other_says_so(opened):
    write_results(opened(), *calls(1))
    with open_writer(opened(), IDENTITY) as one:
        with open_writer(opened(), IDENTITY) as other:
            other.add(calls(1, first=10)[0])
            one.add(calls(1, first=20)[0])
            one.commit()
            with pytest.raises(ResultsError, match="another run has written"):
                other.commit()
        one.add(calls(1, first=30)[0])
        one.commit()
    paths = set(open_results(opened()).recordings().path)
    assert paths == {"0.wav", "20.wav", "30.wav"}
    assert verify(opened()).sound


def test_of_two_first_runs_exactly_one_creates_the_results(opened, monkeypatch):
    late = opened()
    real = Checkout.list

    def list_slowly(self, folder):
        found = real(self, folder)
        if self.directory == late and folder == TABLES[-1]:
            write_results(opened(), *calls(1))
        return found

    monkeypatch.setattr(Checkout, "list", list_slowly)
    with pytest.raises(ResultsError, match="another run has written"):
        write_results(late, *calls(1, first=5))
    assert list(open_results(opened()).recordings().path) == ["0.wav"]


@pytest.mark.parametrize("arrives", [True, False], ids=["written", "not-written"])
@pytest.mark.parametrize("nth", range(4))
def test_rows_are_there_once_if_an_answer_is_lost(nth, arrives, address, opened):
    seen: list[str] = []

    def lose(method: str, path: str) -> int | None:
        if method == "PUT" and "manifest.json" in path:
            seen.append(path)
            if len(seen) == nth + 1:
                return stores.LOST if arrives else 503
        return None

    with stores.faulty(address, lose) as proxy:
        write_results(opened(proxy), *calls(6), parts=3)
    assert len(seen) > 4
    assert len(open_results(opened()).recordings()) == 6
    assert verify(opened()).sound


def test_a_store_that_ignores_conditions_is_refused(address, request, opened):
    with (
        stores.faulty(address, conditions=False) as proxy,
        pytest.raises(UsageError, match="ignores or lacks conditional writes"),
    ):
        write_results(opened(proxy), *calls(1))
    assert not stored(address, request)


@pytest.mark.parametrize("survives", [False, True], ids=["before", "after"])
def test_a_run_that_dies_at_any_write_loses_nothing_and_repeats_nothing(
    survives, opened, monkeypatch
):
    """`survives`: the write has arrived at the store, and its answer is never read."""

    class Died(BaseException): ...

    writes = ("_put", "_put_if", "delete_all")
    left = [10_000]

    def dying(real):
        def write(*args, **kwargs):
            left[0] -= 1
            if left[0] == 0 and not survives:
                raise Died
            done = real(*args, **kwargs)
            if left[0] == 0:
                raise Died
            return done

        return write

    for name in writes:
        monkeypatch.setattr(Checkout, name, dying(getattr(Checkout, name)))

    def night(folder: Path) -> None:
        for first in (0, 3):
            own = calls(4, first)
            with open_writer(folder, IDENTITY) as writer:
                for rows in own:
                    if rows.recording["recording_id"] not in writer.known:
                        writer.add(rows)
                        writer.commit()
                writer.write_record({"run": first})

    total = 10_000 - (night(opened()), left[0])[1]
    assert total > 20
    expected = tables(opened())
    for n in range(1, total, 3):
        erase(opened())
        left[0] = n
        with suppress(Died):
            night(opened())
        left[0] = 10_000
        night(opened())
        assert verify(opened()).sound
        assert tables(opened()) == expected


def erase(directory: Path) -> None:
    own = checkout._open[directory]
    for page in obstore.list(own._store, own._prefix):
        obstore.delete(own._store, [meta["path"] for meta in page])


def test_compacting_removes_what_is_not_live_but_spares_the_last_state(
    opened, address, request, monkeypatch
):
    write_results(opened(), *calls(6), parts=3)
    write_results(opened(), *calls(2))
    last = open_results(opened())
    live = {last.manifest.name("segments", part) for part in last.parts}
    there = {name for name in stored(address, request) if name.startswith("segments")}
    assert live < there
    rows = tables(opened())
    assert compact(opened()) == (len(last.parts), 1)
    there = {name for name in stored(address, request) if name.startswith("segments")}
    assert there > live
    assert len(there) == len(live) + 1
    assert len(last.read("segments")) == 6  # by who has begun with it
    compact(opened())
    assert len([n for n in stored(address, request) if n.startswith("segments")]) == 1
    assert tables(opened()) == rows


def test_a_run_whose_parts_a_compaction_may_have_removed_cannot_commit(
    opened, monkeypatch
):
    write_results(opened(), *calls(1))
    real = StoredParts._write

    def write_slowly(self, *args):
        written = real(self, *args)
        if self.directory == slow:
            compact(opened())
        return written

    slow = opened()
    monkeypatch.setattr(StoredParts, "_write", write_slowly)
    with pytest.raises(ResultsError, match="another run has written"):
        write_results(slow, *calls(1, first=1))
    assert verify(opened()).sound


def test_no_object_names_what_was_forgotten(opened, address, request):
    write_results(opened(), *calls(3), parts=3)
    gone = calls(1)[0].recording["recording_id"]
    forget(opened(), lambda results: chosen(results, [gone], [], None))
    assert len(open_results(opened()).recordings()) == 2
    for name in stored(address, request):
        if name.startswith(TABLES):
            path = opened() / name
            [path] = checkout._open[path.parents[1]].paths([name])
            assert gone not in pq.read_table(path)["recording_id"].to_pylist()


def test_shards_in_a_store_are_merged(opened, tmp_path, request):
    folders = []
    for k in range(2):
        folder = results_folder(f"{place(request)}/{k}")
        folders.append(write_results(folder, *calls(2, first=2 * k)))
    merged = merge_results(opened(), folders)
    assert merged.added == 4
    assert merge_results(opened(), folders).unchanged == 4
    assert verify(opened()).sound


def test_a_reader_takes_the_newer_state_if_its_own_is_gone(opened, monkeypatch):
    from ser_batch.results.results import read_stably

    write_results(opened(), *calls(4), parts=2)
    tries = []

    def read(results):
        tries.append(results)
        if len(tries) == 1:
            compact(opened())
            compact(opened())
        return results.read("segments")

    assert len(read_stably(opened(), read)) == 4
    assert len(tries) == 2


def test_messages_name_the_address_and_not_the_working_copy(opened, request):
    with pytest.raises(ResultsError) as raised:
        open_results(opened())
    assert with_addresses(str(raised.value)).startswith(f"{place(request)}: contains")


def test_a_killed_run_leaves_results_that_the_next_one_completes(
    address, request, tmp_path, tiny_bundle
):
    common = ("--bundle", tiny_bundle, "--quiet", "--out")
    ser("analyze", EXAMPLES, *common, tmp_path / "local")
    for after_s in (1.0, 2.5):
        command = command_line("analyze", EXAMPLES, *common, place(request))
        killed = subprocess.Popen(command)
        with suppress(subprocess.TimeoutExpired):
            killed.wait(after_s)
        killed.kill()
        killed.wait()
    done = ser("analyze", EXAMPLES, *common, place(request))
    assert done.returncode in (0, 3), done.stderr
    assert tables(results_folder(place(request))) == tables(tmp_path / "local")
