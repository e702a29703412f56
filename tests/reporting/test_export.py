"""Exports: other tools read back what the results contain."""

import json
from pathlib import Path

import duckdb
import openpyxl
import pandas as pd
import pytest
import webvtt
from praatio import textgrid
from pyannote.database.util import load_rttm

from ser_batch.errors import UsageError
from ser_batch.reporting.export.exporting import FORMATS, export_results
from ser_batch.results.results import open_results
from tests.support.commands import ser
from tests.support.results import LABELS, call, write_results
from tests.support.tables import live_file, read_table


@pytest.fixture
def results(tmp_path) -> Path:
    return write_results(
        tmp_path / "out",
        call(
            "billing/my call.wav", [(0, 5), (20, 25)], [(4, 12)],
            [(4, 8, {"angry": 0.9}), (8, 12, {"angry": 0.4, "happy": 0.35})],
        ),
        call(
            "=evil()&<b>.wav", [(0, 5)], [(6, 9)], [(6, 9, {"happy": 0.7})],
            duration_s=200_000.0,
        ),
        call("broken.wav", error="-empty"),
    )  # fmt: skip


def exported(results: Path, format_: str, tmp_path: Path) -> Path:
    out = tmp_path / f"export.{format_}"
    export_results(open_results(results), format_, out)
    return out


def segments_of(results: Path) -> list[dict]:
    return sorted(
        read_table(results, "segments").to_pylist(),
        key=lambda row: (row["path"], row["start_s"]),
    )


def test_pyannote_reads_rttm(results, tmp_path):
    folder = exported(results, "rttm", tmp_path)
    speech = load_rttm(folder / "speech.rttm")
    assert set(speech) == {"billing/my_call.wav", "=evil()&<b>.wav"}
    tracks = [
        (s.start, round(s.end, 3), who)
        for s, _, who in speech["billing/my_call.wav"].itertracks(yield_label=True)
    ]
    assert tracks == [(0, 5, "agent"), (4, 12, "customer"), (20, 25, "agent")]
    emotions = load_rttm(folder / "emotions.rttm")
    assert [
        label
        for *_, label in emotions["billing/my_call.wav"].itertracks(yield_label=True)
    ] == ["angry"]


def test_audformat_reads_its_export(results, tmp_path):
    audformat = pytest.importorskip("audformat")
    database = audformat.Database.load(exported(results, "audformat", tmp_path))
    table = database["segments"].get()
    assert audformat.index_type(table.index) == "segmented"
    expected = segments_of(results)
    assert table.index.get_level_values("file").tolist() == [
        row["path"] for row in expected
    ]
    for name in ("start", "end"):
        seconds = table.index.get_level_values(name).total_seconds().tolist()
        assert seconds == pytest.approx([row[f"{name}_s"] for row in expected])
    assert [None if pd.isna(label) else label for label in table.emotion] == [
        row["label"] for row in expected
    ]
    assert table.p_angry.tolist() == pytest.approx([row["p_angry"] for row in expected])
    assert list(database.schemes["emotion"].labels) == list(LABELS)


def test_audformat_keeps_times_beyond_a_day(tmp_path):
    audformat = pytest.importorskip("audformat")
    directory = write_results(
        tmp_path / "out",
        call("a.wav", scored=[(90_000.25, 90_004, {})], duration_s=100_000.0),
    )
    table = audformat.Database.load(exported(directory, "audformat", tmp_path))[
        "segments"
    ].get()
    assert table.index.get_level_values("start").total_seconds().tolist() == [90_000.25]


def test_praatio_reads_textgrid(results, tmp_path):
    folder = exported(results, "textgrid", tmp_path)
    grid = textgrid.openTextgrid(
        str(folder / "billing" / "my call.wav.TextGrid"), includeEmptyIntervals=False
    )
    assert grid.tierNames == ("agent: speech", "customer: speech", "customer: emotion")
    assert [tuple(e) for e in grid.getTier("customer: emotion").entries] == [
        (4, 8, "angry"),
        (8, 12, "?"),
    ]
    assert [tuple(e)[:2] for e in grid.getTier("agent: speech").entries] == [
        (0, 5),
        (20, 25),
    ]
    assert grid.maxTimestamp == 100


def test_the_webvtt_package_reads_webvtt(results, tmp_path):
    folder = exported(results, "webvtt", tmp_path)
    cues = webvtt.read(str(folder / "billing" / "my call.wav.vtt")).captions
    assert [(c.start, c.end, c.text) for c in cues] == [
        ("00:00:04.000", "00:00:08.000", "customer: angry (90%)"),
        ("00:00:08.000", "00:00:12.000", "customer: unsure (40%)"),
    ]


def test_jsonl_and_csv_contain_the_tables_and_csv_no_formulas(results, tmp_path):
    folder = exported(results, "jsonl", tmp_path)
    rows = [
        json.loads(line)
        for line in (folder / "segments.jsonl").read_text().splitlines()
    ]
    by_path = sorted(rows, key=lambda row: (row["path"], row["start_s"]))
    assert [row["p_angry"] for row in by_path] == pytest.approx(
        [r["p_angry"] for r in segments_of(results)], abs=1e-6
    )
    lines = (folder / "recordings.jsonl").read_text().splitlines()
    assert {json.loads(line)["path"] for line in lines} == {
        "billing/my call.wav",
        "=evil()&<b>.wav",
        "broken.wav",
    }
    folder = exported(results, "csv", tmp_path)
    calls = pd.read_csv(folder / "calls.csv")
    assert set(calls.path) == {"billing/my call.wav", "'=evil()&<b>.wav", "broken.wav"}
    assert "'-empty" in set(pd.read_csv(folder / "recordings.csv").error.dropna())
    assert len(pd.read_csv(folder / "speech.csv")) == 5
    assert set(pd.read_csv(folder / "episodes.csv").emotion) == {"distress", "angry"}


@pytest.mark.parametrize("format_", ["csv", "jsonl"])
def test_text_contains_no_levels_of_waveforms(tmp_path, format_):
    own = call("a.wav", [(0, 5)])
    own.recording["level_curves"] = [bytes([0, 200, 255])]
    directory = write_results(tmp_path / "out", own)
    recordings = exported(directory, format_, tmp_path) / f"recordings.{format_}"
    assert "level_curves" not in recordings.read_text()


def test_openpyxl_reads_xlsx_and_finds_no_formulas(results, tmp_path):
    book = openpyxl.load_workbook(exported(results, "xlsx", tmp_path))
    assert book.sheetnames == ["calls", "moments", "segments", "about"]
    calls = [[cell.value for cell in row] for row in book["calls"].iter_rows()]
    paths = [row[calls[0].index("path")] for row in calls[1:]]
    assert paths == ["billing/my call.wav", "=evil()&<b>.wav", "broken.wav"]
    assert all(
        cell.data_type != "f"
        for sheet in book
        for row in sheet.iter_rows()
        for cell in row
    )
    assert calls[1][calls[0].index("angry_share")] == pytest.approx(
        (4 * 0.9 + 4 * 0.4) / 8
    )
    assert book["segments"].max_row == 1 + 3


def test_duckdb_contains_the_tables_and_working_views(results, tmp_path):
    path = exported(results, "duckdb", tmp_path)
    with duckdb.connect(str(path), read_only=True) as database:
        assert database.execute("SELECT count(*) FROM segments").fetchall() == [(3,)]
        assert database.execute(
            "SELECT recordings, failed FROM portfolio"
        ).fetchall() == [(3, 1)]
        assert database.execute("SELECT path FROM worth_listening").fetchall()[0] == (
            "billing/my call.wav",
        )
        assert database.execute("SELECT error FROM failures").fetchall() == [
            ("-empty",)
        ]
        # The start times are unknown.
        assert database.execute("SELECT count(*) FROM by_day").fetchall() == [(0,)]


@pytest.mark.parametrize("format_", FORMATS)
def test_results_without_calls_can_be_exported(tmp_path, format_):
    export_results(
        open_results(write_results(tmp_path / "none")), format_, tmp_path / "export"
    )
    assert (tmp_path / "export").exists()
    export_results(
        open_results(write_results(tmp_path / "failed", call("a.wav", error="x"))),
        format_,
        tmp_path / "again",
    )
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_an_export_never_overwrites_other_files(results, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "mine.txt").write_text("precious")
    with pytest.raises(UsageError, match="is not empty"):
        export_results(open_results(results), "csv", tmp_path / "there")
    with pytest.raises(UsageError, match="xlsx is written to a file"):
        export_results(open_results(results), "xlsx", tmp_path / "there")
    assert (tmp_path / "there" / "mine.txt").read_text() == "precious"


def test_annotations_include_the_emotions_of_scored_agents(tmp_path):
    scored = [(0, 5, {"angry": 0.9})]
    directory = write_results(
        tmp_path / "out", call("a.wav", [(0, 5)], [(6, 9)], scored, scored_role="agent")
    )
    rttm = exported(directory, "rttm", tmp_path)
    assert "angry" in (rttm / "emotions.rttm").read_text()
    assert (
        "agent: angry"
        in (exported(directory, "webvtt", tmp_path) / "a.wav.vtt").read_text()
    )


def test_textgrid_handles_long_names_and_channels_with_the_same_role(tmp_path):
    long = "ä" * 120 + ".wav"
    both = call(long, [(0, 5)], [(6, 9)], roles=("customer", "customer"))
    (made,) = exported(
        write_results(tmp_path / "out", both), "textgrid", tmp_path
    ).iterdir()
    grid = textgrid.openTextgrid(str(made), includeEmptyIntervals=False)
    assert grid.tierNames == ("customer 0: speech", "customer 1: speech")


def test_a_damaged_part_is_reported_as_damaged(results, tmp_path):
    live_file(results, "speech", "part-000001").write_bytes(b"rubbish")
    done = ser("export", results, "--to", "rttm", "--out", tmp_path / "x")
    assert done.returncode == 2
    assert "part-000001 is damaged" in done.stderr
    assert "Traceback" not in done.stderr


def test_paths_with_parent_folders_stay_inside_the_export(tmp_path):
    directory = write_results(
        tmp_path / "out", call("../../up.wav", [(0, 5)], [(6, 9)], [(6, 9, {})])
    )
    export_results(open_results(directory), "webvtt", tmp_path / "a" / "b" / "export")
    assert [p.name for p in (tmp_path / "a" / "b" / "export").rglob("*.vtt")] == [
        "up.wav.vtt"
    ]
    assert not (tmp_path / "a" / "up.wav.vtt").exists()


def test_a_metadata_column_named_like_a_formula_is_escaped(results, tmp_path):
    (tmp_path / "m.csv").write_text("path,=cmd\nbilling/my call.wav,x\n")
    done = ser(
        "export",
        results,
        "--to",
        "csv",
        "--out",
        tmp_path / "x",
        "--metadata",
        tmp_path / "m.csv",
    )
    assert done.returncode == 0
    header = (tmp_path / "x" / "calls.csv").read_text().splitlines()[0].split(",")
    assert "'=cmd" in header
    assert "=cmd" not in header


def test_the_command_prints_its_output_path_and_joins_metadata(results, tmp_path):
    (tmp_path / "m.csv").write_text("path,queue\nbilling/my call.wav,refunds\n")
    done = ser(
        "export",
        results,
        "--to",
        "csv",
        "--out",
        tmp_path / "x",
        "--metadata",
        tmp_path / "m.csv",
    )
    assert done.returncode == 0
    assert f"written: {tmp_path / 'x'}" in done.stderr
    assert "refunds" in (tmp_path / "x" / "calls.csv").read_text()
