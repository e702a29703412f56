"""The manifest: one file, replaced in one step, that names the live parts."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from ser_batch.config.options import Config
from ser_batch.emotion.scorer import ModelInfo
from ser_batch.errors import ConfigError, ResultsError
from ser_batch.results.schemas import FORMAT, TABLES
from ser_batch.storage.checkout import (
    checkout_of,
    name_of,
    newest,
    storage_of,
    with_addresses,
)
from ser_batch.storage.local import crc32_of

MANIFEST, RUN_RECORD = "manifest.json", "run.json"
GENERATIONS, CURRENT = ".gen", "current"
PART_FILE = re.compile(r"\.?part-\d{6,}(-\d{6,}|-[0-9a-f]{16})?\.parquet(\.partial)?")
"""The file names of parts, alone, with a generation, or as in an object store."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What all rows of a results directory have in common."""

    model_id: str
    config_hash: str
    labels: tuple[str, ...]
    profile_id: str = ""
    """The profile of the place; empty if rows were scored without one."""
    options: Mapping[str, Mapping[str, Any]] = field(
        default_factory=dict, compare=False
    )
    """The options of the run, to say which of them differ from those of the rows."""

    @classmethod
    def of(cls, model: ModelInfo, config: Config) -> Self:
        """Return what the rows of a model and a configuration have in common."""
        return cls(
            model.model_id, config.hash(), model.labels, options=config.identity()
        )

    @property
    def row_hash(self) -> str:
        """A fingerprint of everything that affects a row, including the profile."""
        if not self.profile_id:
            return self.config_hash
        text = f"{self.config_hash}/{self.profile_id}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass
class Manifest:
    """The live parts, in order.

    Each has the number of its recordings, its size in bytes, and the CRC-32 of its
    files; in an object store also a hash of its content, which is part of its name.
    """

    identity: Identity
    next_part: int = 1
    parts: dict[str, dict[str, int]] = field(default_factory=dict)
    generation: int = 0
    """The number of the state; 0 if the file system has no links.

    The parts of a table are then in a single folder.
    """
    commits: tuple[str, ...] = ()
    """In an object store: what tells this state from all others, after the same of
    those before it."""

    @property
    def commit(self) -> str:
        """What tells this state from all others; empty if it is in a folder."""
        return newest(self.commits)

    def name(self, table: str, part: str) -> str:
        """Return the name of a part's file within its results directory."""
        content = self.parts.get(part, {}).get("content")
        if content is not None:
            return f"{table}/{part}-{content:016x}.parquet"
        if not self.generation:
            return f"{table}/{part}.parquet"
        number = f"{self.generation:06}"
        return f"{GENERATIONS}/{number}/{table}/{part}-{number}.parquet"

    def file(self, directory: Path, table: str, part: str) -> Path:
        """Return the path of a part's file; see `files`."""
        return self.files(directory, table, [part])[0]

    def files(self, directory: Path, table: str, parts: Iterable[str]) -> list[Path]:
        """Return the paths of the files of parts, which may be missing.

        Raises:
            OSError: they are in an object store, and cannot be downloaded.
        """
        return storage_of(directory).paths([self.name(table, part) for part in parts])

    def crc32(self, directory: Path, part: str) -> int:
        """Return the CRC-32 of a part's files, one after the other.

        Raises:
            OSError: a file cannot be read.
        """
        crc = 0
        for table in TABLES:
            crc = crc32_of(self.file(directory, table, part), crc)
        return crc

    @classmethod
    def read(cls, directory: Path) -> Self | None:
        """Return the manifest of a directory, or None if there is none.

        Raises:
            ResultsError: it cannot be read, or has another format.
        """
        path = directory / MANIFEST
        if not path.exists() and (directory / CURRENT).exists():
            path = directory / CURRENT / MANIFEST
        try:
            checkout = checkout_of(directory)
            values = json.loads(
                checkout.read_versioned(MANIFEST) if checkout else path.read_bytes()
            )
            if values["format"] != FORMAT:
                raise ResultsError(
                    f"{path}: results format {values['format']}; this version reads "
                    f"format {FORMAT}: use the version that made it",
                    path=path,
                )
            return cls._from_values(values)
        except ResultsError:
            raise
        except FileNotFoundError:
            return None
        except OSError as error:
            message = f"{with_addresses(str(path))}: cannot be read: {error.strerror}"
            raise ResultsError(message, path=path) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ResultsError(
                f"{path}: damaged ({error}); start a new directory. The parts of this "
                "one are complete Parquet files, and keep their rows",
                path=path,
            ) from error

    @classmethod
    def _from_values(cls, values: dict[str, Any]) -> Self:
        identity = Identity(
            values["model_id"],
            values["config_hash"],
            tuple(values["labels"]),
            str(values.get("profile_id", "")),
        )
        parts = {
            name: {key: int(n) for key, n in part.items()}
            for name, part in values["parts"].items()
        }
        for name, part in parts.items():
            named = re.fullmatch(r"part-\d{6,}", name)
            if not (named and {"recordings", "bytes"} <= set(part)):
                raise ValueError(
                    "parts must be named part-NNNNNN and have recordings and bytes"
                )
        generation = int(values["generation"])
        commits = tuple(map(str, values.get("commits", ())))
        return cls(identity, int(values["next_part"]), parts, generation, commits)

    def data(self) -> bytes:
        """Return the bytes of `manifest.json`."""
        values = {
            "format": FORMAT,
            "model_id": self.identity.model_id,
            "config_hash": self.identity.config_hash,
            "labels": self.identity.labels,
            "profile_id": self.identity.profile_id,
            "generation": self.generation,
            "next_part": self.next_part,
            "parts": self.parts,
        }
        if self.commits:
            values["commits"] = self.commits
            # So that readers need not know how files are named.
            values["tables"] = {
                table: [self.name(table, part) for part in self.parts]
                for table in TABLES
            }
        return json.dumps(values, indent=1).encode()


def read_manifest(directory: Path) -> Manifest:
    """Return the manifest of a directory that must have one.

    Raises:
        ResultsError: it contains no results, or its manifest is damaged.
    """
    manifest = Manifest.read(directory)
    if manifest is None:
        raise ResultsError(
            f"{name_of(directory)}: contains no results (no {MANIFEST}); create them "
            "with `ser analyze ... --out`",
            path=directory,
        )
    return manifest


def check_identity(directory: Path, found: Identity, wanted: Identity) -> None:
    """Check that rows of different models or configurations would not be mixed.

    Raises:
        ResultsError: they would.
    """
    for what, old, new in (
        ("model", found.model_id, wanted.model_id),
        ("configuration", found.config_hash, wanted.config_hash),
    ):
        if old == new:
            continue
        differences = _differences(directory, found, wanted)
        if what == "configuration" and differences:
            raise ResultsError(
                f"{directory}: its rows were made with other options: "
                f"{'; '.join(differences)}. Rows of different options cannot be mixed: "
                "choose a new --out, or use the options of its rows",
                path=directory,
            )
        raise ResultsError(
            f"{directory}: its rows were made with {what} {old}, but this run has "
            f"{new}: results of different models or configurations cannot be "
            "mixed. Choose a new --out, or use the options in run.json",
            path=directory,
        )


def _differences(directory: Path, found: Identity, wanted: Identity) -> list[str]:
    """Return each option that differs, if `run.json` has those of the rows."""
    try:
        record = json.loads(storage_of(directory).read(RUN_RECORD))
        if record["config_hash"] != found.config_hash:
            return []
        options = Config.from_dict(record["config"]).identity()
        before, now = _flat(options), _flat(wanted.options)
    except (OSError, ValueError, KeyError, TypeError, ConfigError):
        return []

    return [
        f"{name} {before.get(name, 'unset')} (now {now.get(name, 'unset')})"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]


def _flat(options: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return options that are set, as `group.option`."""
    return {
        f"{group}.{name}": _text(value)[:40]
        for group, values in options.items()
        for name, value in values.items()
        if value not in (None, (), [], "")
    }


def _text(value: Any) -> str:
    return ",".join(value) if isinstance(value, (list, tuple)) else str(value)
