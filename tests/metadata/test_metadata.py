"""Call metadata: joined without losing rows, and typed without guessing."""

import json
import time
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pandas as pd
import pytest

from ser_batch.errors import UsageError
from ser_batch.metadata.column_types import infer_types
from ser_batch.metadata.file_names import NAME_PATTERNS
from ser_batch.metadata.gathering import MetadataInputs, gather_metadata
from ser_batch.results.results import open_results
from tests.support.results import call, write_results
from tests.support.tables import read_table

PATHS = ("billing/1001.wav", "billing/1002.wav", "delivery/1001.ogg")


@pytest.fixture
def results(tmp_path) -> Path:
    return write_results(
        tmp_path / "out",
        *(call(p, agent=[(0, 5)], input_root=str(tmp_path / "in")) for p in PATHS),
    )


def metadata(results: Path, **sources):
    recordings = read_table(
        results, "recordings", ["recording_id", "path", "input_root"]
    ).to_pandas()
    kept = open_results(results).metadata
    found = gather_metadata(recordings, MetadataInputs(**sources), kept)
    paths = recordings.set_index("recording_id").path
    return found.table.assign(path=found.table.recording_id.map(paths)).set_index(
        "path"
    ), found.notes


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("key", ["path", "recording_id", "File"])
def test_a_csv_file_is_joined_on_path_id_or_file_name(results, tmp_path, key):
    recordings = read_table(results, "recordings").to_pylist()
    row = next(r for r in recordings if r["path"] == "billing/1002.wav")
    value = {
        "path": row["path"],
        "recording_id": row["recording_id"],
        "File": "1002.wav",
    }[key]
    table, notes = metadata(
        results, csv=write(tmp_path / "m.csv", f"{key},queue\n{value},refunds\n")
    )
    assert table.queue.to_dict() == {"billing/1002.wav": "refunds"}
    assert any("no row for 2 recordings" in note for note in notes)


def test_a_file_name_shared_by_two_recordings_is_not_joined(results, tmp_path):
    table, notes = metadata(
        results, csv=write(tmp_path / "m.csv", "name,queue\n1001,x\n1002.wav,y\n")
    )
    assert table.queue.to_dict() == {"billing/1002.wav": "y"}
    assert any(
        "several recordings match the name of 1 row (1001): use paths" in note
        for note in notes
    )


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_spreadsheet_separators_and_encodings_are_supported(
    results, tmp_path, separator, encoding
):
    text = (
        separator.join(["path", "queue"])
        + "\r\n"
        + separator.join(["billing/1001.wav", "Rückgabe"])
        + "\r\n"
    )
    table, notes = metadata(results, csv=write(tmp_path / "m.csv", text, encoding))
    assert table.queue.to_dict() == {"billing/1001.wav": "Rückgabe"}
    assert any("Windows-1252" in note for note in notes) == (encoding == "cp1252")


def test_the_first_of_duplicate_rows_is_used_and_noted(results, tmp_path):
    text = "path,queue\nbilling/1001.wav,first\nbilling/1001.wav,second\n"
    table, notes = metadata(results, csv=write(tmp_path / "m.csv", text))
    assert table.queue.to_dict() == {"billing/1001.wav": "first"}
    assert any(
        "more than one row for 1 recording (billing/1001.wav); using the first one" in n
        for n in notes
    )


def test_types_are_inferred_only_where_values_survive_a_round_trip():
    table = infer_types(
        pd.DataFrame(
            {
                "recording_id": ["a", "b", "c"],
                "score": ["1", "2", ""],
                "price": ["1.5", "-2", None],
                "vip": ["true", "False", None],
                "phone": ["0301234", "49301", "1"],
                "long": ["12345678901234567890", "1", "2"],
                "started_at": ["2026-01-31T09:00:00", "2026-02-01", None],
                "due": ["2026-01-31", "2026-02-01", None],
                "version": ["1.10", "1.1", None],
                "mixed": ["1", "x", None],
                "nothing": ["", None, " "],
            },
            dtype="object",
        )
    )
    kinds = {name: str(kind) for name, kind in table.dtypes.items()}
    assert kinds["score"] == "Int64"
    assert kinds["price"] == "float64"
    assert kinds["vip"] == "boolean"
    assert table.phone.tolist() == ["0301234", "49301", "1"]
    assert table.long.iloc[0] == "12345678901234567890"
    assert kinds["started_at"] == kinds["due"] == "datetime64[us]"
    assert table.started_at.iloc[0] == datetime(2026, 1, 31, 9)
    assert table.version.tolist()[:2] == ["1.10", "1.1"]
    assert table.mixed.iloc[0] == "1"
    assert table.nothing.isna().all()


def test_an_invalid_started_at_is_noted_and_left_out(results, tmp_path):
    text = (
        "path,started_at\nbilling/1001.wav,soon\nbilling/1002.wav,202601311405\n"
        "delivery/1001.ogg,2026-01-31\n"
    )
    table, notes = metadata(results, csv=write(tmp_path / "m.csv", text))
    assert table.started_at.isna().to_dict() == {
        "billing/1001.wav": True,
        "billing/1002.wav": True,
        "delivery/1001.ogg": False,
    }
    assert any(
        "started_at is not a time for 2 values (soon, 202601311405)" in note
        for note in notes
    )


def test_times_with_a_zone_become_local_and_others_stay_unchanged(
    results, tmp_path, monkeypatch
):
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    text = (
        "path,Started_At\nbilling/1001.wav,2026-01-01T10:00\n"
        "billing/1002.wav,2026-01-01T10:00Z\n"
    )
    table, _ = metadata(results, csv=write(tmp_path / "m.csv", text))
    monkeypatch.undo()
    time.tzset()
    assert table.started_at.to_dict() == {
        "billing/1001.wav": datetime(2026, 1, 1, 10),
        "billing/1002.wav": datetime(2026, 1, 1, 5),
    }


def test_sources_may_differ_in_time_formats_and_column_case(tmp_path):
    directory = write_results(
        tmp_path / "out",
        call("20260131-140500_5551234-all.mp3"),
        call("20260131-150500_77-all.mp3"),
    )
    text = (
        "name,started_at,Caller\n20260131-150500_77-all.mp3,2026-02-01T09:00:00,Kim\n"
    )
    table, notes = metadata(
        directory, name_pattern="vicidial", csv=write(tmp_path / "m.csv", text)
    )
    assert sorted(table.started_at) == [
        datetime(2026, 1, 31, 14, 5),
        datetime(2026, 2, 1, 9),
    ]
    assert sorted(table.caller) == ["5551234", "Kim"]
    assert not any("not a time" in note for note in notes)


def test_a_file_that_matches_no_recording_is_only_noted(results, tmp_path):
    table, notes = metadata(
        results, csv=write(tmp_path / "m.csv", "path,queue\nnowhere.wav,x\n")
    )
    assert table.empty
    assert any("no row matches a recording" in note for note in notes)


def test_multi_line_fields_are_read_as_one_field(results, tmp_path):
    table, _ = metadata(
        results,
        csv=write(tmp_path / "m.csv", 'path,note\nbilling/1001.wav,"a\nb\u2028c"\n'),
    )
    assert table.loc["billing/1001.wav", "note"] == "a\nb\u2028c"


@pytest.mark.parametrize(
    ("name", "path", "expected"),
    [
        (
            "freepbx",
            "2026/01/31/external-600-5551234-20260131-140500-1769868300.42.wav",
            {
                "direction": "external",
                "called": "600",
                "caller": "5551234",
                "uniqueid": "1769868300.42",
            },
        ),
        (
            "3cx",
            "101/[Kim Lee]_101-0301234_20260131140500(7).wav",
            {"agent": "Kim Lee", "extension": "101", "caller": "0301234"},
        ),
        ("vicidial", "20260131-140500_5551234-all.mp3", {"caller": "5551234"}),
        (
            r"(?P<queue>\w+)/(?P<agent>\w+)_(?P<started_at>\d{8}-\d{6})",
            "refunds/kim_20260131-140500.wav",
            {"queue": "refunds", "agent": "kim"},
        ),
    ],
)
def test_file_names_of_common_recorders_are_parsed(tmp_path, name, path, expected):
    table, _ = metadata(write_results(tmp_path / "out", call(path)), name_pattern=name)
    row = table.loc[path]
    assert row.started_at == datetime(2026, 1, 31, 14, 5)
    assert {key: str(row[key]) for key in expected} == expected


def test_an_expression_can_contain_a_predefined_pattern(tmp_path):
    path = "refunds/in-800-0301234-20260131-140500-1764000000.0.wav"
    table, _ = metadata(
        write_results(tmp_path / "out", call(path)),
        name_pattern=r"(?P<queue>\w+)/{freepbx}",
    )
    row = table.loc[path]
    assert (row.queue, str(row.caller)) == ("refunds", "0301234")
    assert row.started_at == datetime(2026, 1, 31, 14, 5)


def test_the_folders_of_a_genesys_export_give_the_hour_in_utc(tmp_path):
    path = "o/year=2026/month=1/day=31/hour=9/conversation_id=c-1/r-1.opus"
    table, _ = metadata(
        write_results(tmp_path / "out", call(path)),
        name_pattern="genesys",
        zone=ZoneInfo("Europe/Berlin"),
    )
    row = table.loc[path]
    assert (row.conversation_id, row.started_at) == ("c-1", datetime(2026, 1, 31, 10))


def test_a_date_that_stands_in_folders_is_joined(tmp_path):
    table, notes = metadata(
        write_results(tmp_path / "out", call("2026/1/31/a.wav"), call("x/b.wav")),
        name_pattern=r"(?P<year>\d{4})/(?P<month>\d+)/(?P<day>\d+)/",
    )
    assert table.started_at.to_dict() == {"2026/1/31/a.wav": datetime(2026, 1, 31)}
    assert notes == ["the name pattern does not match 1 recording (x/b.wav)"]


def test_names_that_do_not_match_the_pattern_are_noted(results):
    table, notes = metadata(results, name_pattern=r"(?P<queue>billing)/")
    assert table.queue.to_dict() == {
        "billing/1001.wav": "billing",
        "billing/1002.wav": "billing",
    }
    assert notes == ["the name pattern does not match 1 recording (delivery/1001.ogg)"]


@pytest.mark.parametrize("pattern", ["(?P<a", r"\w+", "freepxb"])
def test_an_invalid_pattern_is_refused_and_the_built_in_ones_are_listed(
    results, pattern
):
    with pytest.raises(UsageError, match="freepbx, 3cx, vicidial, genesys"):
        metadata(results, name_pattern=pattern)


def test_sidecars_are_flattened_and_damaged_ones_are_noted(results, tmp_path):
    folder = tmp_path / "in" / "billing"
    folder.mkdir(parents=True)
    (folder / "1001.json").write_text(
        json.dumps(
            {"queue": "refunds", "agent": {"name": "Kim", "level": 2}, "tags": [1]}
        )
    )
    (folder / "1002.wav.json").write_text("{not json")
    table, notes = metadata(results, sidecars=True)
    assert table.loc[
        "billing/1001.wav", ["queue", "agent_name", "agent_level"]
    ].tolist() == ["refunds", "Kim", 2]
    assert any("1002.wav.json: not readable JSON" in note for note in notes)
    assert any("no sidecar for 2 recordings" in note for note in notes)


def test_the_metadata_file_of_a_genesys_recording_is_a_sidecar(results, tmp_path):
    folder = tmp_path / "in" / "billing"
    folder.mkdir(parents=True)
    (folder / "1001_metadata.json").write_text('{"mediaType": "Call"}')
    table, _ = metadata(results, sidecars=True)
    assert table.mediaType.to_dict() == {"billing/1001.wav": "Call"}


def test_column_names_that_differ_only_in_case_are_merged(results, tmp_path):
    folder = tmp_path / "in" / "billing"
    folder.mkdir(parents=True)
    (folder / "1001.json").write_text('{"Agent": "Kim", "\\ud800": 1}')
    (folder / "1002.json").write_text('{"agent": "Lee"}')
    table, _ = metadata(results, sidecars=True)
    assert table.Agent.to_dict() == {
        "billing/1001.wav": "Kim",
        "billing/1002.wav": "Lee",
    }


def test_new_sources_update_stored_metadata(results, tmp_path):
    open_results(results).keep_metadata(
        MetadataInputs(
            write(tmp_path / "a.csv", "path,queue,vip\nbilling/1001.wav,old,true\n")
        )
    )
    open_results(results).keep_metadata(
        MetadataInputs(
            write(
                tmp_path / "b.csv",
                "path,queue\nbilling/1002.wav,b\nbilling/1001.wav,new\n",
            )
        )
    )
    table, _ = metadata(results)
    assert table.queue.to_dict() == {"billing/1001.wav": "new", "billing/1002.wav": "b"}
    assert bool(table.loc["billing/1001.wav", "vip"]) is True


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "empty"),
        (b"\x00\x01\x02\x03", "not text"),
        (b"queue,agent\nx,y\n", "is needed to identify recordings"),
        (b"path,queue\nbilling/1001.wav\n", "row 2 has 1 fields, but the header has 2"),
        (b"path,queue,queue\na,b,c\n", "every column needs a unique name"),
        (b",\n", "empty"),
    ],
)
def test_an_invalid_csv_file_is_refused_with_a_reason(results, tmp_path, data, why):
    path = tmp_path / "m.csv"
    path.write_bytes(data)
    with pytest.raises(UsageError, match=why):
        metadata(results, csv=path)


def test_a_column_named_like_a_built_in_one_is_renamed_and_noted(results, tmp_path):
    recordings = read_table(
        results, "recordings", ["recording_id", "path", "input_root"]
    ).to_pandas()
    path = write(tmp_path / "m.csv", "path,status\nbilling/1001.wav,solved\n")
    found = gather_metadata(recordings, MetadataInputs(path), taken={"status"})
    assert found.columns == ["meta_status"]
    assert any("status is meta_status" in note for note in found.notes)


def test_every_built_in_pattern_contains_the_start_time():
    assert all(
        "(?P<started_at>" in pattern or "(?P<year>" in pattern
        for pattern in NAME_PATTERNS.values()
    )
