"""Access to the files of a corpus, whether in folders or in zip archives."""

import lzma
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from ser_batch.errors import CorpusError
from ser_batch.sources.formats import named_as_audio

MEMBER_BYTES = 512 << 20
"""Size limit of one archive member, well above that of any clip."""


@lru_cache(maxsize=8)
def _opened(path: Path) -> zipfile.ZipFile:
    # Cached: with thousands of clips in an archive, its directory is slow to parse.
    return zipfile.ZipFile(path)


@dataclass(frozen=True, slots=True)
class CorpusFile:
    """A file: `path` itself, or one `member` of the zip archive at `path`."""

    path: Path
    member: str | None = None

    @property
    def inner(self) -> PurePosixPath:
        """The path of the file, or its path inside the archive."""
        return (
            PurePosixPath(self.member)
            if self.member
            else PurePosixPath(self.path.as_posix())
        )

    @property
    def stem(self) -> str:
        """The file name without its extension."""
        return self.inner.stem

    @property
    def is_audio(self) -> bool:
        """True if the name has the extension of an audio file."""
        return named_as_audio(self.inner.name)

    @property
    def shown(self) -> str:
        """The names of the folder and the file, for notes.

        Notes are stored in the bundle, so they must not reveal paths of this machine.
        """
        return "/".join(self.inner.parts[-2:])

    def __str__(self) -> str:
        return f"{self.path}/{self.member}" if self.member else str(self.path)

    @contextmanager
    def on_disk(self) -> Iterator[Path]:
        """Provide a path from which the file can be read while the context lasts.

        An archive member is extracted to a temporary folder under a fixed name, so that
        the contents of an archive never determine where anything is written.
        """
        if self.member is None:
            yield self.path
            return
        with TemporaryDirectory(prefix="ser-") as folder:
            file = Path(folder) / f"member{PurePosixPath(self.member).suffix}"
            file.write_bytes(self.read_bytes())
            yield file

    def read_bytes(self) -> bytes:
        """Read the whole file.

        Raises:
            OSError: the file cannot be read.
        """
        if self.member is None:
            return self.path.read_bytes()
        try:
            archive = _opened(self.path)
            if archive.getinfo(self.member).file_size > MEMBER_BYTES:
                raise OSError(f"its stated size exceeds {MEMBER_BYTES >> 20} MiB")
            return archive.read(self.member)
        except (
            zipfile.BadZipFile,
            zlib.error,
            lzma.LZMAError,
            RuntimeError,
            EOFError,
            ValueError,
            KeyError,
        ) as error:
            raise OSError(f"cannot be read from its archive: {error}") from error


def corpus_files(root: Path) -> list[CorpusFile]:
    """List the files of a folder or a zip archive, without hidden ones.

    Zip archives inside a folder are searched as well.

    Raises:
        CorpusError: the folder or archive does not exist, or an archive is damaged.
    """
    if root.is_dir():
        paths = sorted(
            path
            for path in root.rglob("*")
            if path.is_file()
            and not any(part.startswith(".") for part in path.relative_to(root).parts)
        )
    elif root.is_file():
        paths = [root]
    else:
        raise CorpusError(f"{root}: no such folder or zip archive")
    files: list[CorpusFile] = []
    for path in paths:
        files += _members(path) if path.suffix.lower() == ".zip" else [CorpusFile(path)]
    return files


def _members(path: Path) -> list[CorpusFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = sorted(
                info.filename for info in archive.infolist() if not info.is_dir()
            )
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError) as error:
        raise CorpusError(
            f"{path}: the archive cannot be read ({error}); copy or download it again"
        ) from error
    kept = (
        name
        for name in names
        if not PurePosixPath(name).name.startswith(".") and "__MACOSX" not in name
    )
    return [CorpusFile(path, name) for name in kept]
