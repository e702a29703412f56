"""The files of a corpus, in folders and in zip archives alike."""

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
"""No clip in an archive is larger."""


@lru_cache(maxsize=8)
def _opened(path: Path) -> zipfile.ZipFile:
    # A corpus has thousands of clips in one archive, whose list of contents is long.
    return zipfile.ZipFile(path)


@dataclass(frozen=True, slots=True)
class CorpusFile:
    """A file: at `path`, or the `member` of the zip archive that lies there."""

    path: Path
    member: str | None = None

    @property
    def inner(self) -> PurePosixPath:
        """Its path, inside the archive where it lies in one."""
        return (
            PurePosixPath(self.member)
            if self.member
            else PurePosixPath(self.path.as_posix())
        )

    @property
    def stem(self) -> str:
        return self.inner.stem

    @property
    def is_audio(self) -> bool:
        return named_as_audio(self.inner.name)

    @property
    def shown(self) -> str:
        """Its name and its folder's: notes travel with a bundle, and tell nothing of the machine."""
        return "/".join(self.inner.parts[-2:])

    def __str__(self) -> str:
        return f"{self.path}/{self.member}" if self.member else str(self.path)

    @contextmanager
    def on_disk(self) -> Iterator[Path]:
        """A path at which the file can be read for as long as the context lasts.

        A member of an archive is written to a folder of our own under its last name alone: nothing that an
        archive holds decides where that is.
        """
        if self.member is None:
            yield self.path
            return
        with TemporaryDirectory(prefix="ser-") as folder:
            file = Path(folder) / f"member{PurePosixPath(self.member).suffix}"
            file.write_bytes(self.read_bytes())
            yield file

    def read_bytes(self) -> bytes:
        """Raises OSError if it cannot be read."""
        if self.member is None:
            return self.path.read_bytes()
        try:
            archive = _opened(self.path)
            if archive.getinfo(self.member).file_size > MEMBER_BYTES:
                raise OSError(f"claims to hold more than {MEMBER_BYTES >> 20} MiB")
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
    """All files under a folder, those inside its zip archives too; or of one archive. Hidden ones are left out.

    Raises:
        CorpusError: there is no such folder or archive, or an archive is damaged.
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
        raise CorpusError(f"{root}: there is no such folder or zip archive")
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
