"""Stage one: a recording becomes its speech regions and segments.

What comes out is plain values, from a function that can run in any process; the waveforms of the
channels that are to be scored wait in a working directory, as float32 samples at the model's rate, one
file for each channel.
"""

import hashlib
import os
import shutil
import time
from array import array
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from ser_batch.audio import Resampler, open_audio
from ser_batch.config import Config
from ser_batch.decoders import Decoder, RawOptions, Waveform
from ser_batch.errors import AudioError, SerError, UnreadableError
from ser_batch.recordings import Recording
from ser_batch.regions import Regions, frame_levels_db, silence_crosstalk, speech_regions
from ser_batch.segments import segment_regions
from ser_batch.timeline import Segment
from ser_batch.vad import FRAME_S, FRAME_SAMPLES, SAMPLE_RATE, Vad

YOUNG_S = 10.0
"""A file that changed this recently may still be growing: it is given this long to change again."""


ALIKE = 1e-6
"""Channels that differ by less than 60 dB below their level carry the same sound: a mono call stored as stereo."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is the same for all recordings of a run."""

    config: Config
    sample_rate: int
    """Of the model, in Hz."""
    work: Path
    """Where waveforms wait to be scored."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """A file at one instant: when any of this changes, so may its content."""

    size_bytes: int
    modified_at: datetime

    @classmethod
    def of(cls, file: str) -> "Stamp":
        """Raises OSError if the file is not there."""
        status = os.stat(file)
        # File systems hold dates that no calendar has.
        microseconds = min(max(status.st_mtime_ns // 1000, 0), _LAST_MICROSECOND)
        return cls(status.st_size, datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds))


_LAST_MICROSECOND = 253_402_300_799_000_000  # the end of the year 9999


def stamp_of(recording: Recording) -> Stamp | None:
    """The stamp of a recording's file, or None where there is none."""
    try:
        return Stamp.of(recording.file)
    except OSError:
        return None


@dataclass(frozen=True, slots=True)
class Task:
    """A recording to decode: the stamp that it was found with, and the content hash of rows that it has."""

    recording: Recording
    stamp: Stamp | None
    known_hash: str | None = None


@dataclass(frozen=True, slots=True)
class Channel:
    """One speaker's side of a recording. `waveform` is the file of its samples where it is to be scored."""

    role: str | None
    speech: list[Segment]
    segments: list[Segment] = field(default_factory=list)
    waveform: Path | None = None


@dataclass(frozen=True, slots=True)
class Decoded:
    """A recording with its speech and its segments, none of them scored yet."""

    recording: Recording
    stamp: Stamp
    content_hash: str
    codec: str
    sample_rate: int
    file_channels: int
    duration_s: float
    channels: list[Channel]
    notes: list[str]


@dataclass(frozen=True, slots=True)
class Failed:
    """A recording that cannot be analysed, and why."""

    recording: Recording
    stamp: Stamp | None
    content_hash: str | None
    error: str


@dataclass(frozen=True, slots=True)
class Unchanged:
    """A recording whose content is what it was, whatever its date says."""

    recording: Recording


@dataclass(frozen=True, slots=True)
class Growing:
    """A recording that is still being written: the next run will see to it."""

    recording: Recording


Outcome = Decoded | Failed | Unchanged | Growing


def decode(task: Task, job: Job, vad: Vad) -> Outcome:
    """Decodes a recording once, finds the speech of each channel, and divides it into segments.

    Raises:
        WorkspaceError: the working directory cannot be written.
    """
    recording, content_hash = task.recording, None
    outcome: Outcome
    try:
        if task.stamp and 0 <= (age_s := time.time() - task.stamp.modified_at.timestamp()) < YOUNG_S:
            time.sleep(YOUNG_S - age_s)
        content_hash = hash_file(recording.file)
        if content_hash == task.known_hash:
            return Unchanged(recording)
        outcome = _decode(recording, Stamp.of(recording.file), content_hash, job, vad)
    # What the file system did not give says nothing of the recording: without a stamp, the next run tries it again.
    except UnreadableError as error:
        outcome = Failed(recording, None, content_hash, str(error))
    except AudioError as error:
        outcome = Failed(recording, task.stamp, content_hash, str(error))
    except FileNotFoundError:
        gone = "the file is gone, or a link that leads nowhere: it is tried again once it is back"
        outcome = Failed(recording, None, content_hash, gone)
    except PermissionError:
        outcome = Failed(recording, None, content_hash, "may not be read: give this user the right to, and run again")
    except OSError as error:
        advice = f"cannot be read: {error.strerror}; check the disk, and run again"
        outcome = Failed(recording, None, content_hash, advice)
    # Whatever came of it: a file that changed meanwhile is not whole yet.
    now = stamp_of(recording)
    return Growing(recording) if now and task.stamp and now != task.stamp else outcome


def hash_file(file: str) -> str:
    """BLAKE2b of a file's bytes, 32 hexadecimal digits.

    Raises:
        AudioError: it is no regular file.
    """
    if not os.path.isfile(file):
        os.stat(file)
        raise AudioError("is no regular file but a pipe or a device: copy what it gives into a file")
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _decode(recording: Recording, stamp: Stamp, content_hash: str, job: Job, vad: Vad) -> Decoded:
    config = job.config
    folder = job.work / recording.recording_id
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    except OSError as error:
        raise WorkspaceError(f"{job.work}: cannot be written: {error.strerror}") from error
    with open_audio(recording.file, RawOptions(config.audio.raw_sample_rate, config.audio.raw_channels)) as audio:
        roles, scored, notes = _roles(config, 1 if config.audio.mix else audio.channels)
        files = [folder / f"{channel}.f32" if keep else None for channel, keep in enumerate(scored)]
        listeners = [_Listener(vad, file) for file in files]
        duration_s, alike = _listen(audio, listeners, job)
        if alike:
            roles, scored, notes = _roles(config, 1)
            notes.append(f"all {audio.channels} channels are the same: taken as one")
            listeners = listeners[:1]
        probabilities, levels = zip(*(listener.finish() for listener in listeners), strict=True)
        silence_crosstalk(probabilities, levels, config.vad)
        channels = []
        for role, keep, file, p, level in zip(roles, scored, files, probabilities, levels, strict=False):
            regions = speech_regions(p, config.vad)
            segments = segment_regions(regions, p, level, config.segments) if keep else regions[:0]
            spoken, divided = _in_seconds(regions, duration_s), _in_seconds(segments, duration_s)
            channels.append(Channel(role, spoken, divided, file if keep else None))
        return Decoded(
            recording, stamp, content_hash, audio.codec, audio.sample_rate, audio.channels, duration_s, channels,
            notes + audio.notes,
        )  # fmt: skip


def _listen(audio: Decoder, listeners: "list[_Listener]", job: Job) -> tuple[float, bool]:
    """Sends each channel to its listener. The length in seconds, and whether all channels are the same.

    Raises:
        AudioError: the recording holds no samples.
    """
    for_vad = Resampler(audio.sample_rate, SAMPLE_RATE, len(listeners))
    for_model = Resampler(audio.sample_rate, job.sample_rate, len(listeners))
    length, energy, difference = 0, 0.0, 0.0

    def share(wide: Waveform, narrow: Waveform) -> None:
        for listener, *samples in zip(listeners, wide, narrow, strict=True):
            listener.push(*samples)

    for block in audio:
        if job.config.audio.mix:
            block = block.mean(axis=0, keepdims=True)
        length += block.shape[1]
        energy += float(np.square(block[0]).sum())
        difference += max((float(np.square(other - block[0]).sum()) for other in block[1:]), default=0.0)
        share(for_vad.push(block), for_model.push(block))
    share(for_vad.finish(), for_model.finish())
    if not length:
        raise AudioError("holds no samples: has it been copied whole?")
    return length / audio.sample_rate, len(listeners) > 1 and difference < ALIKE * energy


class WorkspaceError(SerError):
    """The working directory cannot be written: the run's trouble, not the recording's."""


class _Listener:
    """One channel's way: through the VAD, to a probability and a level for each frame; and, where it is to
    be scored, to the file in which its waveform waits."""

    def __init__(self, vad: Vad, file: Path | None) -> None:
        self._stream = vad.stream()
        self._file = file
        # Arrays that grow in place: hours of frames, without a copy of all of them at the end.
        self._probabilities, self._levels = array("f"), array("f")
        self._rest = np.zeros(0, np.float32)

    def push(self, wide: np.ndarray, narrow: np.ndarray) -> None:
        """Takes the same stretch at the rate of the VAD and at that of the model."""
        self._probabilities.frombytes(self._stream.push(wide).tobytes())
        wide = np.concatenate([self._rest, wide])
        whole = len(wide) // FRAME_SAMPLES * FRAME_SAMPLES
        self._levels.frombytes(frame_levels_db(wide[:whole].reshape(-1, FRAME_SAMPLES)).tobytes())
        self._rest = wide[whole:]
        if self._file:
            try:
                with self._file.open("ab") as file:
                    file.write(narrow.tobytes())
            except OSError as error:
                raise WorkspaceError(f"{self._file.parent.parent}: cannot be written: {error.strerror}") from error

    def finish(self) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities and levels of all frames."""
        self._probabilities.frombytes(self._stream.finish().tobytes())
        if len(self._rest):
            last = np.pad(self._rest, (0, FRAME_SAMPLES - len(self._rest)))
            self._levels.frombytes(frame_levels_db(last[None]).tobytes())
        return np.frombuffer(self._probabilities, np.float32), np.frombuffer(self._levels, np.float32)


def _roles(config: Config, n_channels: int) -> tuple[list[str | None], list[bool], list[str]]:
    """The role of each channel, whether it is to be scored, and a note where the named roles do not fit."""
    named = config.score.roles
    if not named:
        return [None] * n_channels, [True] * n_channels, []
    if len(named) == n_channels:
        return list(named), [role != "agent" or config.score.score_agents for role in named], []
    note = f"channels: {n_channels}, roles: {len(named)}; nobody can tell who speaks where"
    everyone = config.score.score_agents
    return [None] * n_channels, [everyone] * n_channels, [note if everyone else note + ", so nothing is scored"]


def _in_seconds(regions: Regions, duration_s: float) -> list[Segment]:
    return [
        Segment(start * FRAME_S, min(end * FRAME_S, duration_s))
        for start, end in regions.tolist()
        if start * FRAME_S < duration_s
    ]
