"""The search for recordings: what it finds, and how little it asks of the system."""

import os
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest

from ser_batch.results.known import COLUMNS, Known
from ser_batch.results.matching import match_recordings
from ser_batch.results.schemas import table_schemas
from ser_batch.sources.local import LocalSource
from ser_batch.sources.search import find_recordings
from ser_batch.sources.source import Recording, Stamp

N_FOLDERS, N_FILES = 4, 50


@pytest.fixture
def calls(tmp_path) -> Path:
    """Folders with many files, one link to a file, and one to a folder elsewhere."""
    for folder in range(N_FOLDERS):
        (tmp_path / "calls" / f"{folder}").mkdir(parents=True)
        for number in range(N_FILES):
            (tmp_path / "calls" / f"{folder}" / f"{number:03}.wav").touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x.wav").touch()
    (tmp_path / "calls" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "calls" / "alias.wav").symlink_to(tmp_path / "elsewhere" / "x.wav")
    return tmp_path / "calls"


def test_locations_have_their_links_resolved(calls):
    found = find_recordings([str(calls)]).recordings
    assert len(found) == N_FOLDERS * N_FILES + 1
    assert {own.location for own in found} == {
        os.path.realpath(own.file) for own in found
    }
    below = find_recordings([str(calls / "link")]).recordings
    assert [own.location for own in below] == [str(calls.parent / "elsewhere/x.wav")]


def test_files_below_a_folder_are_stamped_by_the_listing(calls):
    for own in find_recordings([str(calls)]).recordings:
        if not Path(own.file).is_symlink():
            assert own.stamp == Stamp.of(os.stat(own.file))


def test_only_links_and_their_folders_are_resolved(calls, monkeypatch):
    resolved, realpath = [], os.path.realpath
    monkeypatch.setattr(
        os.path, "realpath", lambda path: (resolved.append(path), realpath(path))[1]
    )
    find_recordings([str(calls)])
    # The input itself, the folder behind a link, the link to a file, and both names of
    # that one file when the better is chosen.
    assert len(resolved) <= 6


def known_from(found: Sequence[Recording]) -> Known:
    """Return what the results would hold of recordings analysed as they are now."""
    rows = []
    for number, own in enumerate(found):
        assert own.stamp is not None
        rows.append({
            "recording_id": f"{number}",
            "path": own.path,
            "input_root": own.root,
            "location": own.location,
            "size_bytes": own.stamp.size_bytes,
            "modified_at": own.stamp.modified_at,
            "content_hash": f"{number:032}",
            "status": "done",
            "part": "part-000001",
        })  # fmt: skip
    schema = table_schemas(())["recordings"]
    fields = [*(schema.field(name) for name in COLUMNS), pa.field("part", pa.string())]
    return Known(pa.Table.from_pylist(rows, pa.schema(fields)))


def test_known_recordings_are_matched_without_looking_at_their_files_again(
    calls, monkeypatch
):
    found = find_recordings([str(calls / "0")]).recordings
    known = known_from(found)

    def look(*args: object) -> None:
        raise AssertionError("a known file was looked at again")

    for name in ("stat", "lstat", "open"):
        monkeypatch.setattr(os, name, look)
    matched = match_recordings(found, known, LocalSource())
    assert matched.unchanged == N_FILES
    assert matched.recordings == matched.moved == matched.copies == []


def test_a_vanished_file_has_no_stamp(tmp_path):
    gone = Recording(str(tmp_path), "gone.wav")
    assert LocalSource().stamp(gone) is None
    [matched] = match_recordings([gone], Known(), LocalSource()).recordings
    assert matched.stamp is None
