"""Generations of a results directory: all tables change in one step.

This holds for plain readers too, which do not read the manifest.

    .gen/000123/               one state, never changed: manifest.json and the tables,
                               with hard links to the unchanged parts of the last state
    current -> .gen/000123     one rename of this link makes another state live
    recordings -> current/recordings, and so on

The name of a part includes its generation: a reader that has listed one state and opens
files of another finds nothing, and never half of each.

A reader of `recordings` and then `segments` may see a commit in between. So when
recordings are added, `recordings` points to the new state `AHEAD_S` before the other
tables do, and when some are removed, it points to the old state for as long afterwards:
the recording of each segment is always there. If a run is killed at that moment,
`recordings` stays ahead; `ser verify` reports it, and the next writer corrects it.
"""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ser_batch.errors import ResultsError
from ser_batch.results.manifest import (
    CURRENT,
    GENERATIONS,
    MANIFEST,
    PART_FILE,
    Manifest,
)
from ser_batch.results.schemas import TABLES
from ser_batch.storage.local import LocalStorage, sync_folder

LINKS = {name: f"{CURRENT}/{name}" for name in (*TABLES, MANIFEST)}
"""The links that plain readers open, and their targets."""
KEPT_S = 3600.0
"""A state is kept for its readers for at least this long after it was live ..."""
KEPT = 2
"""... and until this many commits have followed."""
AHEAD_S = 0.2
"""The time that a reader has between reading `recordings` and `segments`."""


def supports_links(directory: Path) -> bool:
    """Return whether the file system of a directory has symbolic and hard links."""
    probe, other = directory / ".probe", directory / ".probe-link"
    try:
        probe.write_bytes(b"")
        os.link(probe, other)
        other.unlink()
        os.symlink(probe.name, other)
        return True
    except OSError:
        return False
    finally:
        for path in (other, probe):
            with suppress(OSError):
                path.unlink()


class Generation:
    """The next state of a results directory, while it is being made."""

    def __init__(self, directory: Path, before: Manifest, after: Manifest) -> None:
        """`after` must describe the state by the time that it is published."""
        self.directory, self.before, self.after = directory, before, after
        self.folder = folder_of(directory, after.generation)
        shutil.rmtree(self.folder, ignore_errors=True)
        for table in TABLES:
            (self.folder / table).mkdir(parents=True)

    def keep(self, part: str) -> None:
        """Take over a part of the previous state."""
        for table in TABLES:
            os.link(
                self.before.file(self.directory, table, part),
                self.after.file(self.directory, table, part),
            )

    def abandon(self) -> None:
        """Remove the unfinished state."""
        with suppress(OSError):
            point_to(self.directory, self.before.generation)
        shutil.rmtree(self.folder, ignore_errors=True)

    def publish(self, grows: bool | None = None) -> None:
        """Make the state live, in one step.

        `grows` is True if it adds recordings, False if it removes some, else None.
        """
        self._keep_foreign_files()
        LocalStorage(self.folder).put({MANIFEST: self.after.data()})
        for table in TABLES:
            sync_folder(self.folder / table)
        sync_folder(self.folder)
        sync_folder(self.folder.parent)
        number = self.after.generation
        if grows is None or not self.before.parts:
            point_to(self.directory, number)
            return
        shown = number if grows else self.before.generation
        recordings = self.directory / "recordings"
        # `recordings` leads the other tables or lags behind; see the module docstring.
        _link(recordings, f"{GENERATIONS}/{shown:06}/recordings")
        if grows:
            time.sleep(AHEAD_S)
            point_to(self.directory, number)
        else:
            point_to(self.directory, number, but="recordings")
            time.sleep(AHEAD_S)
            _link(recordings, LINKS["recordings"])

    def _keep_foreign_files(self) -> None:
        """Take over files that others have put among the parts: none is lost."""
        for table in TABLES:
            before = folder_of(self.directory, self.before.generation) / table
            for path in before.iterdir() if before.is_dir() else ():
                if path.is_file() and not PART_FILE.fullmatch(path.name):
                    os.link(path, self.folder / table / path.name)


def point_to(directory: Path, number: int, but: str = "") -> None:
    """Make a generation current, and point all tables except `but` to it."""
    _link(directory / CURRENT, f"{GENERATIONS}/{number:06}")
    for name, target in LINKS.items():
        if name != but and not leads_to(directory / name, target):
            _link(directory / name, target)
    sync_folder(directory)


def leads_to(path: Path, target: str) -> bool:
    """Return whether a path is a link to the target."""
    return path.is_symlink() and os.readlink(path) == target


def _link(path: Path, target: str) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    os.symlink(target, partial)
    os.replace(partial, path)


def folder_of(directory: Path, number: int) -> Path:
    """Return the folder of a generation."""
    return directory / GENERATIONS / f"{number:06}"


def remove_others(directory: Path, current: int, kept_s: float = 0.0) -> None:
    """Remove generations that no reader needs: those left by a crash, and old ones.

    With `kept_s`, those that were live that many seconds ago and the last `KEPT` are
    kept.
    """
    made = dict(_made(directory))
    now = time.time()
    for number in sorted(made):
        if number == current:
            continue
        if kept_s and number < current:
            # A generation was live until the next one was made.
            ended = made.get(min((n for n in made if n > number), default=number), now)
            if number > current - KEPT or now - ended < kept_s:
                continue
        shutil.rmtree(folder_of(directory, number), ignore_errors=True)


def _made(directory: Path) -> Iterator[tuple[int, float]]:
    folder = directory / GENERATIONS
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        if path.name.isdigit():
            with suppress(OSError):
                yield int(path.name), path.stat().st_mtime


def check_origin(directory: Path) -> None:
    """Check that a directory without a manifest contains no rows.

    Raises:
        ResultsError: it does.
    """
    for number, _ in sorted(_made(directory), reverse=True):
        there = Manifest.read(folder_of(directory, number))
        if there is not None and there.parts:
            raise ResultsError(
                f"{directory}: the link `{CURRENT}` is missing, but "
                f"{GENERATIONS}/{number:06} contains rows: restore it (ln -s "
                f"{GENERATIONS}/{number:06} {CURRENT}), or choose an empty directory "
                "for --out",
                path=directory,
            )
    for table in TABLES:
        folder = directory / table
        if not folder.is_dir():
            continue
        stray = next(folder.iterdir(), None)
        if stray:
            raise ResultsError(
                f"{stray} exists, but manifest.json does not: choose an empty "
                "directory for --out",
                path=directory,
            )
