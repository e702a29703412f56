"""The live parts of results in an object store.

There are no links in a store, and no locks. Parts are named once and never changed, and
the manifest is replaced on condition that it is still the one that a run began with. So
of two runs that write at the same time, one wins, and the other ends. Parts that no
manifest names any more stay for their readers until `compact`.
"""

import hashlib
import os
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import pyarrow as pa

from ser_batch.errors import ResultsError
from ser_batch.results.live_parts import LiveParts
from ser_batch.results.manifest import MANIFEST, Identity, Manifest
from ser_batch.results.schemas import TABLES
from ser_batch.storage.checkout import REMEMBERED, Checkout, checkout_of, name_of

STORED_PART = re.compile(r"part-\d{6,}-[0-9a-f]{16}\.parquet")


class StoredParts(LiveParts):
    """The parts that a manifest in an object store names. See `LiveParts`."""

    def __init__(self, checkout: Checkout, manifest: Manifest) -> None:
        super().__init__(checkout.directory, manifest)
        self._checkout, self._began_with = checkout, manifest

    def clear_leftovers(self) -> None:
        """Do nothing: another run may be about to commit what no manifest names yet."""

    def forget_others(self, but_last: bool = False) -> None:
        """Remove the parts that the manifest does not name.

        With `but_last`, those are kept that it named when it was opened.

        Raises:
            ResultsError: another run has replaced the manifest meanwhile; or what is to
                be removed is still there.
        """
        live, last = _names(self.manifest), _names(self._began_with)
        gone = [
            f"{table}/{own}"
            for table in TABLES
            for own in self._checkout.list(table)
            if STORED_PART.fullmatch(own) and f"{table}/{own}" not in live
        ]
        if but_last:
            gone = [name for name in gone if name not in last]
        if not gone:
            return
        # Another run may have written some of them, and be about to commit them. After
        # a new commit here, it cannot; and no name is used twice.
        self._change(self.manifest.identity, set(), lambda after: None)
        try:
            self._checkout.delete_all(gone)
        except OSError as error:
            raise ResultsError(
                f"{name_of(self.directory)}: {len(gone)} objects that are no longer "
                f"live could not be deleted: {error.strerror}. `ser compact` tries it "
                "again",
                path=self.directory,
            ) from error

    def _write(
        self, manifest: Manifest, part: str, tables: Mapping[str, pa.Table]
    ) -> dict[str, int]:
        size = super()._write(manifest, part, tables)
        written = [self.directory / manifest.name(table, part) for table in TABLES]
        manifest.parts[part] = size = {**size, "content": _content(written)}
        names = [manifest.name(table, part) for table in TABLES]
        for path, name in zip(written, names, strict=True):
            os.replace(path, self.directory / name)
        self._checkout.upload(names)
        return size

    def _change(
        self,
        identity: Identity,
        old: set[str],
        make: Callable[[Manifest], None],
        grows: bool | None = None,
    ) -> None:
        before = self.manifest
        kept = {part: size for part, size in before.parts.items() if part not in old}
        commits = (*before.commits, _new_commit())[-REMEMBERED:]
        after = Manifest(identity, before.next_part, dict(kept), commits=commits)
        try:
            make(after)
            won = self._checkout.swap(MANIFEST, before.commit, after.data())
        except (OSError, pa.ArrowException) as error:
            raise self._cannot_be_written(error) from error
        new = _names(after) - _names(before)
        # Of the working copy: what is needed again, is downloaded again.
        for name in (*new, *(_names(before) - _names(after))):
            (self.directory / name).unlink(missing_ok=True)
        if not won:
            with suppress(OSError):
                self._checkout.delete_all(new)
            raise _another_run(self.directory)
        self.manifest = after

    def _cannot_be_written(self, error: Exception) -> ResultsError:
        reason = getattr(error, "strerror", None) or error
        return ResultsError(
            f"{name_of(self.directory)}: cannot be written: {reason}. Committed rows "
            "are safe: run the same command again when the store answers",
            path=self.directory,
        )


def _names(manifest: Manifest) -> set[str]:
    return {manifest.name(table, part) for table in TABLES for part in manifest.parts}


def parts_of(directory: Path, manifest: Manifest) -> LiveParts:
    """Return the live parts of a results directory, wherever it is.

    Raises:
        ResultsError: they were copied into a store, where they can only be read.
    """
    checkout = checkout_of(directory)
    if checkout is None:
        return LiveParts(directory, manifest)
    if not manifest.commit:
        raise ResultsError(
            f"{checkout.address}: was copied from a folder, and can only be read here; "
            "to add to it, first `ser merge` it into another address",
            path=directory,
        )
    return StoredParts(checkout, manifest)


def create_stored(checkout: Checkout, identity: Identity) -> Manifest:
    """Create results without rows in an object store, and return their manifest.

    Raises:
        ResultsError: another run did so at the same time, or there are parts without a
            manifest.
        OSError: the store cannot be written.
    """
    for table in TABLES:
        if stray := checkout.list(table):
            raise ResultsError(
                f"{checkout.address}/{table}/{stray[0]} exists, but {MANIFEST} does "
                "not: choose an empty folder for --out",
            )
    manifest = Manifest(identity, commits=(_new_commit(),))
    if not checkout.swap(MANIFEST, "", manifest.data()):
        raise _another_run(checkout.directory)
    return manifest


def _new_commit() -> str:
    """Return what tells a state from all others."""
    return secrets.token_hex(16)


def _another_run(directory: Path) -> ResultsError:
    """Return the error for a state that another run has replaced meanwhile."""
    return ResultsError(
        f"{name_of(directory)}: another run has written here meanwhile, and this one "
        "ends. What it had committed is safe; wait for the other run to end, and run "
        "the same command again",
        path=directory,
    )


def _content(paths: Iterable[Path]) -> int:
    """Return a hash of files that is never the same twice.

    What a run has written and not committed may be removed at any time, so nothing may
    be written under its name again.
    """
    digest = hashlib.blake2b(digest_size=8, key=secrets.token_bytes(16))
    for path in paths:
        digest.update(path.read_bytes())
    # 63 bits, which every reader of JSON can hold.
    return int.from_bytes(digest.digest()) >> 1
