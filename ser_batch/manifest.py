"""Which parts of a results directory are live, said by one file that is replaced in one step."""

import json
import os
import re
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from ser_batch.errors import ResultsError

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Identity:
    """What all rows of a results directory have in common."""

    model_id: str
    config_hash: str
    labels: tuple[str, ...]


@dataclass
class Manifest:
    """The live parts, in order, with the recordings and bytes that each holds, and the CRC-32 of its files."""

    identity: Identity
    next_part: int = 1
    parts: dict[str, dict[str, int]] = field(default_factory=dict)

    @classmethod
    def read(cls, directory: Path) -> Self | None:
        """The manifest of a directory, or None where there is none.

        Raises:
            ResultsError: it cannot be read, or is of another format.
        """
        path = directory / "manifest.json"
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            if values["format"] != FORMAT:
                raise ResultsError(
                    f"{path}: results format {values['format']}; this version reads format {FORMAT}: "
                    "use the one that made it"
                )
            identity = Identity(values["model_id"], values["config_hash"], tuple(values["labels"]))
            parts = {name: {key: int(n) for key, n in part.items()} for name, part in values["parts"].items()}
            if not all(
                re.fullmatch(r"part-\d{6,}", name) and {"recordings", "bytes"} <= set(parts[name]) for name in parts
            ):
                raise ValueError("parts are named part-NNNNNN and have recordings and bytes")
            return cls(identity, int(values["next_part"]), parts)
        except ResultsError:
            raise
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ResultsError(f"{path}: cannot be read: {error.strerror}") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ResultsError(
                f"{path}: is damaged ({error}); start a new directory. "
                "Its parts are whole Parquet files, and keep their rows"
            ) from error

    def write(self, directory: Path) -> None:
        """Puts this manifest in the place of the last one, in one step."""
        values = {
            "format": FORMAT,
            "model_id": self.identity.model_id,
            "config_hash": self.identity.config_hash,
            "labels": self.identity.labels,
            "next_part": self.next_part,
            "parts": self.parts,
        }
        write_durably(directory / "manifest.json", json.dumps(values, indent=1).encode())


def read_manifest(directory: Path) -> Manifest:
    """The manifest of a directory that must have one.

    Raises:
        ResultsError: it holds no results, or its manifest is damaged.
    """
    manifest = Manifest.read(directory)
    if manifest is None:
        raise ResultsError(f"{directory}: holds no results (no manifest.json); `ser analyze ... --out` makes them")
    return manifest


def crc32_of(path: Path, crc: int = 0) -> int:
    """CRC-32 (ISO 3309) of a file's bytes, continued from `crc`. Raises OSError."""
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            crc = zlib.crc32(block, crc)
    return crc


def write_durably(path: Path, data: bytes) -> None:
    """The file holds `data` on disk, or what it held before: nothing in between."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Names that were changed in a folder are on disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
