"""Where the waveforms of channels wait between decoding and scoring."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from jaxtyping import Float32

from ser_batch.errors import SerError

Samples = Float32[np.ndarray, " samples"]


class WorkspaceError(SerError):
    """Waveforms cannot be written: the run is in trouble, not the recording."""


class Waveforms(Protocol):
    """Samples at the model's rate, by recording and channel.

    `LocalWaveforms` keeps them in files, for scoring on the machine that decodes; where
    scoring happens on another one, they go through a store that both can reach. Sent to
    decoding processes, so it must pickle.
    """

    def prepare(self, recording_id: str) -> None:
        """Make room for a recording; what was there of it is gone.

        Raises:
            WorkspaceError: nothing can be written.
        """
        ...

    def append(self, recording_id: str, channel: int, samples: Samples) -> None:
        """Add samples to the end of a channel.

        Raises:
            WorkspaceError: nothing can be written.
        """
        ...

    def read(self, recording_id: str, channel: int, start: int, n: int) -> Samples:
        """Return `n` samples from `start` on; silence stands for those beyond the end."""
        ...

    def remove(self, recording_id: str) -> None:
        """Forget a recording, if there is anything of it."""
        ...


@dataclass(frozen=True, slots=True)
class LocalWaveforms:
    """One file of float32 samples for each channel, in a folder for each recording."""

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
        """Write samples behind those that are there."""
        try:
            with self._file(recording_id, channel).open("ab") as file:
                file.write(samples.tobytes())
        except OSError as error:
            raise self._unwritable(error) from error

    def read(self, recording_id: str, channel: int, start: int, n: int) -> Samples:
        """Return `n` samples; resampling may have ended a sample early."""
        file = self._file(recording_id, channel)
        samples = np.fromfile(file, np.float32, n, offset=4 * start)
        return np.pad(samples, (0, n - len(samples)))

    def remove(self, recording_id: str) -> None:
        """Remove the folder of a recording."""
        shutil.rmtree(self.folder / recording_id, ignore_errors=True)

    def _file(self, recording_id: str, channel: int) -> Path:
        return self.folder / recording_id / f"{channel}.f32"

    def _unwritable(self, error: OSError) -> WorkspaceError:
        message = f"{self.folder}: cannot be written: {error.strerror}"
        return WorkspaceError(message, path=self.folder)
