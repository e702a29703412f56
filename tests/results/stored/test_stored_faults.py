"""Results in an object store survive faults, rivals and odd contents."""

import os
import signal
import subprocess
import threading
import time

import pandas as pd
import pytest

from ser_batch.errors import ResultsError, UsageError
from ser_batch.results.maintenance import compact, repair, verify
from ser_batch.results.merging import merge_results
from ser_batch.results.results import open_results
from ser_batch.results.retention import chosen, forget
from ser_batch.results.schemas import TABLES
from ser_batch.results.writing import open_writer
from ser_batch.storage import checkout, objects
from ser_batch.storage.checkout import Checkout, results_folder
from tests.support.commands import command_line, ser
from tests.support.results import IDENTITY, write_results
from tests.support.tables import tables

pytest.importorskip("obstore", reason="the extra `cloud` is not installed")
pytest.importorskip("moto", reason="moto, which stands in for S3, is not installed")


from tests.support import stores
from tests.support.stored import BUCKET, calls, place, stored


def test_objects_of_others_are_never_removed(opened, address, request):
    write_results(opened(), *calls(3), parts=3)
    s3 = stores.client(address)
    prefix = place(request).removeprefix(f"s3://{BUCKET}/")
    foreign = ("recordings/call.wav", "recordings/2026/part-000001-0.parquet")
    for name in foreign:
        s3.put_object(Bucket=BUCKET, Key=f"{prefix}/{name}", Body=b"audio")
    compact(opened())
    gone = calls(1)[0].recording["recording_id"]
    forget(opened(), lambda results: chosen(results, [gone], [], None))
    assert set(foreign) < set(stored(address, request))


def test_no_name_is_used_twice_even_for_the_same_rows(opened, address, request):
    names = set()
    for n in range(1, 4):
        with open_writer(opened(), IDENTITY) as writer:
            parts = writer.parts
            empty = {t: parts.schemas[t].empty_table() for t in TABLES}
            names.add(parts._write(parts.manifest, "part-000009", empty)["content"])
        assert len(names) == n
    assert verify(opened()).sound


def test_parts_that_the_store_does_not_give_are_not_taken_for_damaged(
    opened, address, monkeypatch
):
    monkeypatch.setattr("ser_batch.storage.objects.RETRIES", {"max_retries": 0})
    objects.object_store.cache_clear()
    write_results(opened(), *calls(6), parts=3)
    out_of_order = [False]

    def fail(method: str, path: str) -> int | None:
        return 500 if out_of_order[0] and "segments/part-000002" in path else None

    with stores.faulty(address, fail) as proxy:
        for look in (verify, repair):
            directory = opened(proxy)
            out_of_order[0] = True
            with pytest.raises(ResultsError, match="Nothing was changed"):
                look(directory)
            out_of_order[0] = False
    objects.object_store.cache_clear()
    assert len(open_results(opened()).recordings()) == 6


def test_metadata_stays_if_forgetting_loses_to_another_run(opened, monkeypatch):
    write_results(opened(), *calls(3))
    results = open_results(opened())
    ids = results.recordings().recording_id
    results.write_metadata(pd.DataFrame({"recording_id": ids, "queue": "a"}))

    def choose_slowly(results):
        write_results(opened(), *calls(1, first=9))
        return chosen(results, [ids[0]], [], None)

    with pytest.raises(ResultsError, match="another run has written"):
        forget(opened(), choose_slowly)
    assert len(open_results(opened()).metadata) == 3
    forget(opened(), lambda own: chosen(own, [ids[0]], [], None))
    assert len(open_results(opened()).metadata) == 2


def test_forgetting_that_was_interrupted_is_completed_by_the_same_command(
    opened, address, request, monkeypatch
):
    write_results(opened(), *calls(2))
    gone = calls(1)[0].recording["recording_id"]
    real = Checkout.delete_all

    def choose(results):
        return chosen(results, [gone], [], None)

    def fail(self, names):
        names = list(names)
        if any(name.startswith("segments") for name in names):
            raise OSError(5, "the store does not answer")
        real(self, names)

    monkeypatch.setattr(Checkout, "delete_all", fail)
    with pytest.raises(ResultsError, match="could not be deleted.*ser compact"):
        forget(opened(), choose)
    monkeypatch.setattr(Checkout, "delete_all", real)
    assert len([n for n in stored(address, request) if n.startswith("segments")]) == 2
    with pytest.raises(UsageError, match="contains no recording"):
        forget(opened(), choose)
    assert len([n for n in stored(address, request) if n.startswith("segments")]) == 1


def test_a_run_that_loses_leaves_nothing_behind(opened, address, request):
    write_results(opened(), *calls(1))
    with open_writer(opened(), IDENTITY) as one:
        write_results(opened(), *calls(1, first=5))
        before = set(stored(address, request))
        one.add(calls(1, first=7)[0])
        with pytest.raises(ResultsError, match="another run has written"):
            one.commit()
    assert set(stored(address, request)) == before


def test_a_lost_answer_is_recognised_though_another_run_has_gone_on(
    opened, address, monkeypatch
):
    write_results(opened(), *calls(1))
    writes = []

    def lose(method: str, path: str) -> int | None:
        if method == "PUT" and "manifest.json" in path:
            writes.append(path)
            if len(writes) == 1:
                return stores.LOST
            if len(writes) == 2:
                # The first has arrived; another run adds to it, before it is repeated.
                write_results(opened(), *calls(1, first=5))
        return None

    with stores.faulty(address, lose) as proxy:
        write_results(opened(proxy), *calls(1, first=7))
    paths = set(open_results(opened()).recordings().path)
    assert paths == {"0.wav", "5.wav", "7.wav"}


@pytest.mark.parametrize("nth", range(4))
def test_the_probe_does_not_accuse_a_store_whose_answer_is_lost(nth, address, opened):
    probes = []

    def lose(method: str, path: str) -> int | None:
        if method == "PUT" and ".probe" in path:
            probes.append(path)
            return stores.LOST if len(probes) == nth + 1 else None
        return None

    with stores.faulty(address, lose) as proxy:
        write_results(opened(proxy), *calls(1))
    assert len(probes) == 5


def test_results_that_were_copied_into_a_store_are_read_and_merged_there(
    opened, address, request, tmp_path
):
    local = write_results(tmp_path / "local", *calls(3), parts=2)
    s3, prefix = stores.client(address), place(request).removeprefix(f"s3://{BUCKET}/")
    for path in local.rglob("*"):
        if path.is_file():
            key = f"{prefix}/{path.relative_to(local)}"
            s3.put_object(Bucket=BUCKET, Key=key, Body=path.read_bytes())
    assert tables(opened()) == tables(local)
    with pytest.raises(ResultsError, match="was copied from a folder"):
        write_results(opened(), *calls(1, first=9))
    merged = results_folder(f"{place(request)}-merged")
    assert merge_results(merged, [opened()]).added == 3


def test_working_copies_of_killed_processes_are_removed(opened, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(checkout, "YOUNG_S", 0.0)
    abandoned = tmp_path / "ser-results-abandoned"
    abandoned.mkdir()
    (abandoned / ".alive").touch()
    alive = opened()
    assert not abandoned.exists()
    opened()
    assert alive.exists()


def test_a_store_that_hangs_does_not_keep_ctrl_c_waiting(address, request):
    hung = threading.Event()

    def hang(method: str, path: str) -> None:
        hung.set()
        time.sleep(30)

    with stores.faulty(address, hang) as proxy:
        waiting = subprocess.Popen(
            command_line("report", place(request)),
            env=os.environ | {"AWS_ENDPOINT_URL": proxy},
        )
        assert hung.wait(30)
        waiting.send_signal(signal.SIGINT)
        assert waiting.wait(10) == 130


@pytest.mark.parametrize(
    "command", [["report"], ["path"], ["verify"], ["analyze", "--out"]]
)
def test_a_password_in_an_address_is_not_repeated(command, tmp_path):
    given = "s3://key:topsecret@bucket/r"
    more = {"path": ["segments"], "analyze": [tmp_path]}.get(command[0], [])
    done = ser(*command, given, *more)
    assert done.returncode == 2
    assert "topsecret" not in done.stdout + done.stderr
    assert "not an address" in done.stderr.replace("\n", " ")


@pytest.mark.parametrize(
    "given", ["s3://bucket/a//b", "s3://bucket/../b", "S3://bucket/a", "http://a/b"]
)
def test_what_is_no_address_of_a_folder_is_refused(given, tmp_path):
    for command in (["report", given], ["analyze", tmp_path, "--out", given]):
        assert ser(*command).returncode == 2
    assert ser("export", given, "--to", "csv", "--out", given).returncode == 2


def test_what_a_store_answers_is_not_repeated_with_its_secrets(monkeypatch):
    monkeypatch.setenv("AWS_SESSION_TOKEN", "SESSION-TOKEN-0123")
    said = objects.reason(
        OSError(
            "GET http://user:pass@host/x: SESSION-TOKEN-0123 <Error><Token>t</Token>"
        )
    )
    assert said == "GET http://host/x: ***"
