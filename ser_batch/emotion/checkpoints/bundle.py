"""A bundle whose network is a checkpoint of transformers.

NAME/
  checkpoint/         config.json, preprocessor_config.json, *.safetensors, and an
                      index of these if they are several
  head.safetensors    the last layer, if it was fitted to one's own labels
  config.json         labels in order, which of the checkpoint's are which, SHA-256 of
                      all files above, where they come from
  calibration.json, metrics.json, README.md: as for other bundles
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ser_batch.emotion.calibration import Calibration
from ser_batch.errors import BundleError

CHECKPOINT, HEAD, CARD = "checkpoint", "head.safetensors", "README.md"
_BLOCK = 1 << 22


@dataclass(frozen=True)
class CheckpointBundle:
    """A checkpoint and everything needed to use it; see the module for its files."""

    name: str
    folder: Path
    labels: tuple[str, ...]
    """Empty if it estimates dimensions only."""
    heard_as: tuple[str, ...]
    """For each output of the network, the label or the dimension that it counts for."""
    calibration: Calibration
    licence: str
    source: str
    sha256: Mapping[str, str]
    """That of each file of the checkpoint, by its path in the folder."""
    model_id: str = ""

    @property
    def groups(self) -> list[list[int]]:
        """For each label, the outputs that count for it."""
        return [
            [i for i, own in enumerate(self.heard_as) if own == label]
            for label in self.labels
        ]

    def check_files(self) -> None:
        """Check that the checkpoint is the one that the bundle was made with.

        Raises:
            BundleError: they are not.
        """
        if file_hashes(self.folder) != self.sha256:
            raise BundleError(
                f"{self.folder}: the checkpoint does not match config.json (SHA-256 "
                "differs); add it again",
                path=self.folder,
            )


def file_hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file of a checkpoint in a bundle's folder.

    Raises:
        BundleError: a file cannot be read.
    """
    files = [*(folder / CHECKPOINT).glob("*"), *folder.glob(HEAD)]
    try:
        return {
            path.relative_to(folder).as_posix(): _sha256(path)
            for path in sorted(files)
            if path.name != CARD and path.is_file()
        }
    except OSError as error:
        message = f"{folder}: the checkpoint cannot be read: {error.strerror}"
        raise BundleError(message, path=folder) from error


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
