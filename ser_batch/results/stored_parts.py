"""The live parts of results in an object store.

There are no links in a store, and no locks. Parts are named by their content and never
changed, and the manifest is replaced on condition that it is still the one that a run
began with. So of two runs that write at the same time, one wins, and the other ends.
Parts that no manifest names any more stay for their readers until `compact`.
"""

import hashlib
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from ser_batch.errors import ResultsError
from ser_batch.results.live_parts import LiveParts
from ser_batch.results.manifest import MANIFEST, Identity, Manifest
from ser_batch.results.schemas import TABLES
from ser_batch.storage.checkout import Checkout, checkout_of


class StoredParts(LiveParts):
    """The parts that a manifest in an object store names. See `LiveParts`."""

    def __init__(self, checkout: Checkout, manifest: Manifest) -> None:
        super().__init__(checkout.directory, manifest)
        self._checkout, self._began_with = checkout, manifest

    def clear_leftovers(self) -> None:
        """Do nothing: another run may be about to commit what no manifest names yet."""

    def forget_others(self, but_last: bool = False) -> None:
        """Remove the objects that the manifest does not name.

        With `but_last`, those are kept that it named when it was opened.

        Raises:
            ResultsError: another run has replaced the manifest meanwhile.
            OSError: the store cannot be reached.
        """
        if self.manifest.commit == self._began_with.commit:
            # Runs that began with this state may have written parts that they are yet
            # to commit. After a new one they cannot, and what is older may go.
            self._change(self.manifest.identity, set(), lambda after: None)
        committed_at = self._checkout.modified_at(MANIFEST)
        live, last = _names(self.manifest), _names(self._began_with)
        for table in TABLES:
            for own, modified_at in self._checkout.all_modified_at(table).items():
                name = f"{table}/{own}"
                gone = not but_last if name in last else modified_at < committed_at
                if gone and name not in live:
                    self._checkout.delete(name)

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
        after = Manifest(identity, before.next_part, kept, commit=new_commit())
        try:
            make(after)
            won = self._checkout.swap(MANIFEST, before.commit, after.data())
        except (OSError, pa.ArrowException) as error:
            raise self._cannot_be_written(error) from error
        if not won:
            raise another_run(self.directory)
        self.manifest = after
        for part in set(before.parts) - set(kept):
            for table in TABLES:
                # Of the working copy; the object stays for its readers.
                (self.directory / before.name(table, part)).unlink(missing_ok=True)


def _names(manifest: Manifest) -> set[str]:
    return {manifest.name(table, part) for table in TABLES for part in manifest.parts}


def parts_of(directory: Path, manifest: Manifest) -> LiveParts:
    """Return the live parts of a results directory, wherever it is."""
    checkout = checkout_of(directory)
    if checkout:
        return StoredParts(checkout, manifest)
    return LiveParts(directory, manifest)


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
    manifest = Manifest(identity, commit=new_commit())
    if not checkout.swap(MANIFEST, "", manifest.data()):
        raise another_run(checkout.directory)
    return manifest


def new_commit() -> str:
    """Return what tells a state from all others."""
    return secrets.token_hex(16)


def another_run(directory: Path) -> ResultsError:
    """Return the error for a state that another run has replaced meanwhile."""
    return ResultsError(
        f"{directory}: another run has written here meanwhile, and this one ends. "
        "What it had committed is safe; wait for the other run to end, and run the "
        "same command again",
        path=directory,
    )


def _content(paths: list[Path]) -> int:
    digest: Any = hashlib.blake2b(digest_size=8)
    for path in paths:
        digest.update(path.read_bytes())
    # 63 bits, which every reader of JSON and Parquet can hold.
    return int.from_bytes(digest.digest()) >> 1
