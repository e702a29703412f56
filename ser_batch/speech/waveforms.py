"""Storage for the waveforms of channels between decoding and scoring."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from jaxtyping import Float32

from ser_batch.errors import SerError

Samples = Float32[np.ndarray, " samples"]


class WorkspaceError(SerError):
    """Waveforms cannot be written: a problem of the run, not of the recording."""


class Waveforms(Protocol):
    """Samples at the model's sample rate, by recording and channel.

    `LocalWaveforms` keeps them in files, for scoring on the machine that decodes. An
    instance is sent to decoding processes, so it must pickle.
    """

    def prepare(self, recording_id: str) -> None:
        """Prepare for the samples of a recording, and remove any that it already has.

        Raises:
            WorkspaceError: nothing can be written.
        """
        ...

    def append(self, recording_id: str, channel: int, samples: Samples) -> None:
        """Append samples to a channel.

        Raises:
            WorkspaceError: nothing can be written.
        """
        ...

    def read(self, recording_id: str, channel: int, start: int, n: int) -> Samples:
        """Return `n` samples from `start` on, with silence beyond the end."""
        ...

    def move(self, recording_id: str, channel: int, to: int) -> None:
        """Make the samples of one channel those of another."""
        ...

    def remove(self, recording_id: str) -> None:
        """Remove the samples of a recording, if there are any."""
        ...


@dataclass(frozen=True, slots=True)
class LocalWaveforms:
    """One file of float32 samples per channel, in one folder per recording."""

    folder: Path

    def prepare(self, recording_id: str) -> None:
        """Make an empty folder for a recording."""
        own = self.folder / recording_id
        try:
            shutil.rmtree(own, ignore_errors=True)
            own.mkdir(parents=True)
        except OSError as error:
            raise self._unwritable(error) from error

    def append(self, recording_id: str, channel: int, samples: Samples) -> None:
        """Append samples to the file of a channel."""
        try:
            with self._file(recording_id, channel).open("ab") as file:
                file.write(samples.tobytes())
        except OSError as error:
            raise self._unwritable(error) from error

    def read(self, recording_id: str, channel: int, start: int, n: int) -> Samples:
        """Return `n` samples, padded where resampling ended a sample early."""
        file = self._file(recording_id, channel)
        samples = np.fromfile(file, np.float32, n, offset=4 * start)
        return np.pad(samples, (0, n - len(samples)))

    def move(self, recording_id: str, channel: int, to: int) -> None:
        """Rename the file of a channel to that of another."""
        self._file(recording_id, channel).replace(self._file(recording_id, to))

    def remove(self, recording_id: str) -> None:
        """Remove the folder of a recording."""
        shutil.rmtree(self.folder / recording_id, ignore_errors=True)

    def _file(self, recording_id: str, channel: int) -> Path:
        return self.folder / recording_id / f"{channel}.f32"

    def _unwritable(self, error: OSError) -> WorkspaceError:
        message = f"{self.folder}: cannot be written: {error.strerror}"
        return WorkspaceError(message, path=self.folder)
