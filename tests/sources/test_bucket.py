"""Recordings in an object store are analysed as files are."""

import shutil
import sys
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest

from ser_batch.errors import UsageError
from ser_batch.results.results import open_results
from ser_batch.sources.bucket import BucketSource
from ser_batch.sources.everywhere import source_for
from ser_batch.sources.source import Recording
from ser_batch.storage.objects import reason
from tests.support.commands import ser
from tests.support.paths import EXAMPLES
from tests.support.recordings import backdate

pytest.importorskip("obstore", reason="the extra `cloud` is not installed")
pytest.importorskip("moto", reason="moto, which stands in for S3, is not installed")

from tests.support import stores

BUCKET = "calls"


@pytest.fixture(scope="module")
def address():
    with stores.store() as own:
        yield own


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    for name, value in stores.ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    # Objects of the moment would be waited for, in case that they are still growing.
    monkeypatch.setattr("ser_batch.speech.decoding.RECENT_S", 0.0)


@pytest.fixture
def bucket(address):
    """Return a client, and empty the bucket."""
    s3 = stores.client(address)
    s3.create_bucket(Bucket=BUCKET)
    yield s3
    for own in s3.list_objects_v2(Bucket=BUCKET).get("Contents", ()):
        s3.delete_object(Bucket=BUCKET, Key=own["Key"])


def fill(s3, folder: Path = EXAMPLES, prefix: str = "night/") -> None:
    for path in sorted(folder.rglob("*.*")):
        key = prefix + path.relative_to(folder).as_posix()
        s3.put_object(Bucket=BUCKET, Key=key, Body=path.read_bytes())


def analysed(out: Path, address: str, bundle: Path, *more: object):
    return ser(
        "analyze", f"s3://{BUCKET}/night/", "--bundle", bundle, "--out", out,
        "--storage-option", f"endpoint={address}", *more,
    )  # fmt: skip


def test_objects_give_the_same_rows_as_files(tmp_path, address, bucket, tiny_bundle):
    shutil.copytree(EXAMPLES, tmp_path / "night")
    # A headerless file is known by its name alone.
    raw = (tmp_path / "night" / "billing" / "1001.wav").read_bytes()[4000:20000]
    (tmp_path / "night" / "raw.ul").write_bytes(raw)
    (tmp_path / "night" / "notes.txt").write_bytes(b"not audio")
    (tmp_path / "night" / ".hidden.wav").write_bytes(b"RIFF")
    for path in (tmp_path / "night").rglob("*.*"):
        backdate(path)
    fill(bucket, tmp_path / "night")
    files = ser(
        "analyze", tmp_path / "night", "--bundle", tiny_bundle, "--out", tmp_path / "a"
    )
    objects = analysed(tmp_path / "b", address, tiny_bundle)
    assert objects.returncode == files.returncode == 3, objects.stderr
    one, two = (open_results(tmp_path / name) for name in "ab")
    for table in ("speech", "segments"):
        pd.testing.assert_frame_equal(
            one.read(table).to_pandas(), two.read(table).to_pandas()
        )
    ours, theirs = (r.recordings().set_index("path").sort_index() for r in (one, two))
    same = ["recording_id", "content_hash", "codec", "status", "error", "size_bytes"]
    pd.testing.assert_frame_equal(ours[same], theirs[same])
    assert theirs.location["billing/1001.wav"] == (
        f"s3://{BUCKET}/night/billing/1001.wav"
    )
    assert theirs.etag.notna().all()
    assert ours.etag.isna().all()


def test_a_second_run_reads_only_what_is_new_or_was_replaced(
    tmp_path, address, bucket, tiny_bundle, monkeypatch
):
    fill(bucket)
    out = tmp_path / "out"
    assert analysed(out, address, tiny_bundle).returncode == 3
    read = []
    whole = BucketSource._read

    def counted(self, recording, stamp):
        read.append(recording.path)
        return whole(self, recording, stamp)

    monkeypatch.setattr(BucketSource, "_read", counted)
    assert analysed(out, address, tiny_bundle).returncode == 0
    assert read == []
    other = (EXAMPLES / "delivery" / "2001.ogg").read_bytes()
    bucket.put_object(Bucket=BUCKET, Key="night/billing/1001.wav", Body=other)
    bucket.put_object(Bucket=BUCKET, Key="night/new.ogg", Body=other)
    done = analysed(out, address, tiny_bundle)
    assert done.returncode == 0, done.stderr
    assert set(read) <= {"billing/1001.wav", "new.ogg", "delivery/2001.ogg"}
    rows = open_results(out).recordings().set_index("path")
    assert rows.size_bytes["billing/1001.wav"] == len(other)
    assert (rows.status == "duplicate").sum() == 1
    # What moves keeps its rows.
    bucket.copy_object(
        Bucket=BUCKET, Key="night/moved/2002.wav",
        CopySource=f"{BUCKET}/night/delivery/2002.wav",
    )  # fmt: skip
    bucket.delete_object(Bucket=BUCKET, Key="night/delivery/2002.wav")
    before = rows.recording_id["delivery/2002.wav"]
    assert analysed(out, address, tiny_bundle).returncode == 0
    rows = open_results(out).recordings().set_index("path")
    assert rows.recording_id["moved/2002.wav"] == before
    assert "delivery/2002.wav" not in rows.index


def test_an_object_that_vanishes_is_a_failed_row_and_is_tried_again(
    tmp_path, address, bucket, tiny_bundle, monkeypatch
):
    fill(bucket)
    key = "night/delivery/2001.ogg"
    data = bucket.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    find = BucketSource.find

    def vanishing(self, inputs):
        found = find(self, inputs)
        bucket.delete_object(Bucket=BUCKET, Key=key)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(BucketSource, "find", vanishing)
        assert analysed(tmp_path / "out", address, tiny_bundle).returncode == 3
    rows = open_results(tmp_path / "out").recordings().set_index("path")
    assert "gone" in rows.error["delivery/2001.ogg"]
    bucket.put_object(Bucket=BUCKET, Key=key, Body=data)
    assert analysed(tmp_path / "out", address, tiny_bundle).returncode == 0
    rows = open_results(tmp_path / "out").recordings().set_index("path")
    assert rows.status["delivery/2001.ogg"] == "done"


def test_what_fails_in_between_is_tried_again_and_broken_reads_go_on(
    tmp_path, address, bucket, tiny_bundle
):
    fill(bucket)
    counts = {"busy": 0, "broken": 0}

    def fault(method, path):
        counts["busy"] += 1
        if counts["busy"] % 7 == 1:
            return 503
        if method == "GET" and path.endswith("1001.wav") and counts["broken"] < 3:
            counts["broken"] += 1
            return -50_000
        return None

    with stores.faulty(address, fault) as proxy:
        done = analysed(tmp_path / "out", proxy, tiny_bundle)
    assert done.returncode == 3, done.stderr
    assert counts["broken"] == 3
    rows = open_results(tmp_path / "out").recordings().set_index("path")
    assert rows.status["billing/1001.wav"] == "done"
    assert rows.size_bytes["billing/1001.wav"] == len(
        (EXAMPLES / "billing" / "1001.wav").read_bytes()
    )
    assert (rows.status == "failed").sum() == 1  # the example that is broken


def test_large_objects_are_decoded_from_a_temporary_file(
    tmp_path, address, bucket, tiny_bundle, monkeypatch
):
    fill(bucket)
    assert analysed(tmp_path / "a", address, tiny_bundle).returncode == 3
    monkeypatch.setattr("ser_batch.sources.bucket.IN_MEMORY_BYTES", 1000)
    assert analysed(tmp_path / "b", address, tiny_bundle).returncode == 3
    one, two = (open_results(tmp_path / n).segments() for n in "ab")
    pd.testing.assert_frame_equal(one, two)


def test_a_single_object_and_files_can_be_given_together(
    tmp_path, address, bucket, tiny_bundle
):
    fill(bucket)
    done = ser(
        "analyze", f"s3://{BUCKET}/night/billing/1001.wav",
        EXAMPLES / "delivery" / "2002.wav", "--bundle", tiny_bundle,
        "--out", tmp_path / "out", "--storage-option", f"endpoint={address}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = open_results(tmp_path / "out").recordings()
    assert set(rows.path) == {"1001.wav", "2002.wav"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("s3://calls/nothing", "no such object, and none below it"),
        ("s3://no-such-bucket/x/", "cannot be listed"),
        ("http://host/calls/", "not an address of an object store"),
    ],
)
def test_addresses_that_lead_nowhere_are_refused(
    tmp_path, address, bucket, tiny_bundle, given, message
):
    done = ser(
        "analyze", given, "--bundle", tiny_bundle, "--out", tmp_path / "out",
        "--storage-option", f"endpoint={address}",
    )  # fmt: skip
    assert done.returncode == 2
    assert message in " ".join(done.stderr.split())
    assert not (tmp_path / "out").exists()


def test_no_secret_reaches_the_results_a_log_or_an_error(
    tmp_path, address, bucket, tiny_bundle, monkeypatch
):
    fill(bucket)
    log = tmp_path / "log.jsonl"
    done = analysed(tmp_path / "out", address, tiny_bundle, "--log-file", log)
    assert done.returncode == 3
    monkeypatch.setattr("ser_batch.storage.objects.RETRIES", {"max_retries": 0})
    nowhere = analysed(tmp_path / "other", "http://127.0.0.1:1", tiny_bundle)
    assert nowhere.returncode == 2
    written = b"".join(
        path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()
    )
    for text in (written, nowhere.stderr.encode(), done.stderr.encode()):
        assert stores.SECRET.encode() not in text
    inside = ser("analyze", f"s3://me:{stores.SECRET}@calls/", "--out", tmp_path / "x")
    assert inside.returncode == 2
    assert stores.SECRET not in inside.stderr
    for name in ("aws_secret_access_key", "session_token", "sas_key", "password"):
        with pytest.raises(UsageError, match="credentials come from the environment"):
            source_for([f"{name}={stores.SECRET}"])
    with pytest.raises(UsageError, match="credentials come from the environment"):
        source_for(["endpoint=http://user:word@host"])
    assert source_for(["skip_signature=true"])
    with pytest.raises(UsageError, match="NAME=VALUE"):
        source_for(["endpoint"])
    signed = RuntimeError("GET http://host/x?X-Signature=abc failed\nDebug source: ...")
    assert reason(signed) == "GET http://host/x failed"


def test_stores_whose_listings_differ_from_their_answers_are_read(
    tmp_path, address, bucket, tiny_bundle, monkeypatch
):
    """MinIO lists milliseconds, Azure lists tags without quotes; answers differ."""
    import obstore

    fill(bucket)
    listed, later = obstore.list, timedelta(milliseconds=821)

    def other(*args, **kwargs):
        for page in listed(*args, **kwargs):
            yield [
                meta
                | {
                    "last_modified": meta["last_modified"] + later,
                    "e_tag": meta["e_tag"].strip('"'),
                }
                for meta in page
            ]

    with monkeypatch.context() as patch:
        patch.setattr(obstore, "list", other)
        done = analysed(tmp_path / "out", address, tiny_bundle)
        assert done.returncode == 3, done.stderr
        rows = open_results(tmp_path / "out").recordings()
        assert (rows.status == "done").sum() == 4
        again = analysed(tmp_path / "out", address, tiny_bundle)
        assert "0 done" in again.stdout


def test_a_prefix_without_recordings_is_an_empty_folder(
    tmp_path, address, bucket, tiny_bundle
):
    bucket.put_object(Bucket=BUCKET, Key="night/.hidden.wav", Body=b"x")
    done = analysed(tmp_path / "out", address, tiny_bundle)
    assert done.returncode == 0, done.stderr
    assert len(open_results(tmp_path / "out").recordings()) == 0
    bare = BucketSource((("endpoint", address),)).find([f"s3://{BUCKET}"])
    assert bare.recordings == []


def test_a_bucket_that_is_gone_says_nothing_of_its_objects(address, bucket):
    source = BucketSource((("endpoint", address),))
    bucket.put_object(Bucket=BUCKET, Key="1.wav", Body=b"one")
    assert source.is_there(f"s3://{BUCKET}/1.wav", f"s3://{BUCKET}") is True
    assert source.is_there(f"s3://{BUCKET}/2.wav", f"s3://{BUCKET}") is False
    assert source.is_there("s3://no-such-bucket/2.wav", "s3://no-such-bucket") is None


def test_recordings_are_sampled_by_content_without_reading_them(address, bucket):
    bucket.put_object(Bucket=BUCKET, Key="a/1.wav", Body=b"one")
    bucket.put_object(Bucket=BUCKET, Key="b/2.wav", Body=b"one")
    source = BucketSource((("endpoint", address),))
    keys = [
        source.content_key(Recording(f"s3://{BUCKET}", path))
        for path in ("a/1.wav", "b/2.wav", "gone.wav")
    ]
    assert keys[0] == keys[1] != ""
    assert keys[2] == ""
    assert source.head(Recording(f"s3://{BUCKET}", "a/1.wav")) == b"one"
    assert source.head(Recording(f"s3://{BUCKET}", "gone.wav")) == b""


def test_without_obstore_the_extra_is_named(tmp_path, tiny_bundle, monkeypatch):
    monkeypatch.setattr("ser_batch.storage.objects.find_spec", lambda _: None)
    monkeypatch.setitem(sys.modules, "obstore", None)
    done = analysed(tmp_path / "out", "http://127.0.0.1:2", tiny_bundle)
    assert done.returncode == 2
    assert "ser-batch[cloud]" in done.stderr
