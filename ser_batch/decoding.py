"""Stage one: a recording becomes its speech regions and segments.

What comes out is plain values, from a function that can run in any process; the waveforms of the
channels that are to be scored wait in a working directory, as float32 samples at the model's rate, one
file for each channel.
"""

import hashlib
import os
import shutil
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from ser_batch.audio import RawOptions, Resampler, Waveform, open_audio
from ser_batch.config import Config
from ser_batch.errors import AudioError, SerError
from ser_batch.recordings import Recording
from ser_batch.regions import Regions, frame_levels_db, speech_regions, without_crosstalk
from ser_batch.segments import segment_regions
from ser_batch.timeline import Segment
from ser_batch.vad import FRAME_S, FRAME_SAMPLES, SAMPLE_RATE, Vad

YOUNG_S = 2.0
"""A file that changed this recently may still be growing: it is looked at twice."""


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
        status = os.stat(file)
        return cls(status.st_size, datetime.fromtimestamp(status.st_mtime_ns // 1000 / 1e6, UTC))


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


def decode(recording: Recording, known_hash: str | None, job: Job, vad: Vad) -> Outcome:
    """Decodes a recording once, finds the speech of each channel, and divides it into segments.

    `known_hash` is the content hash of rows that are already there.
    """
    stamp, content_hash = None, None
    try:
        stamp = _settled(recording.file)
        if stamp is None:
            return Growing(recording)
        content_hash = hash_file(recording.file)
        if content_hash == known_hash:
            return Unchanged(recording)
        decoded = _decode(recording, stamp, content_hash, job, vad)
        if Stamp.of(recording.file) != stamp:
            return Growing(recording)
        return decoded
    except AudioError as error:
        return Failed(recording, stamp, content_hash, str(error))
    except FileNotFoundError:
        return Failed(recording, stamp, content_hash, "the file is gone, or a link that leads nowhere")
    except PermissionError:
        return Failed(recording, stamp, content_hash, "may not be read: give this user the right to read it")


def _settled(file: str) -> Stamp | None:
    """The file's stamp, or None if it changes while one looks at it."""
    stamp = Stamp.of(file)
    age_s = time.time() - stamp.modified_at.timestamp()
    if 0 <= age_s < YOUNG_S:
        time.sleep(YOUNG_S - age_s)
        return stamp if Stamp.of(file) == stamp else None
    return stamp


def hash_file(file: str) -> str:
    """BLAKE2b of a file's bytes, 32 hexadecimal digits.

    Raises:
        AudioError: it is no regular file.
    """
    if not os.path.isfile(file):
        os.stat(file)
        raise AudioError("is no regular file")
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _decode(recording: Recording, stamp: Stamp, content_hash: str, job: Job, vad: Vad) -> Decoded:
    config = job.config
    folder = job.work / recording.recording_id
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with open_audio(recording.file, RawOptions(config.audio.raw_sample_rate, config.audio.raw_channels)) as audio:
        n_channels = 1 if config.audio.mix else audio.channels
        roles, notes = _roles(config, n_channels)
        scored = [role != "agent" or config.score.score_agents for role in roles]
        if config.score.roles and None in roles and not config.score.score_agents:
            scored = [False] * n_channels
        for_vad = Resampler(audio.sample_rate, SAMPLE_RATE, n_channels)
        for_model = Resampler(audio.sample_rate, job.sample_rate, n_channels)
        tracks = [_Track(vad) for _ in range(n_channels)]
        files = [open(folder / f"{c}.f32", "wb") if keep else None for c, keep in enumerate(scored)]  # noqa: SIM115
        try:
            length = 0

            def take(wide: Waveform, narrow: Waveform) -> None:
                for track, samples in zip(tracks, wide, strict=True):
                    track.push(samples)
                for file, samples in zip(files, narrow, strict=True):
                    if file:
                        file.write(samples.tobytes())

            for block in audio:
                if config.audio.mix:
                    block = block.mean(axis=0, keepdims=True)
                length += block.shape[1]
                take(for_vad.push(block), for_model.push(block))
            take(for_vad.finish(), for_model.finish())
        except OSError as error:
            if isinstance(error, AudioError):
                raise
            raise WorkspaceError(f"{job.work}: cannot be written: {error.strerror}") from error
        finally:
            for file in files:
                if file:
                    file.close()
        if not length:
            raise AudioError("holds no samples")
        duration_s = length / audio.sample_rate
        probabilities, levels = (np.stack(arrays) for arrays in zip(*(t.finish() for t in tracks), strict=True))
        probabilities = without_crosstalk(probabilities, levels, config.vad)
        channels = []
        for channel, role in enumerate(roles):
            regions = speech_regions(probabilities[channel], config.vad)
            segments = (
                segment_regions(regions, probabilities[channel], levels[channel], config.segments)
                if scored[channel]
                else np.zeros((0, 2), int)
            )
            channels.append(
                Channel(
                    role,
                    _in_seconds(regions, duration_s),
                    _in_seconds(segments, duration_s),
                    folder / f"{channel}.f32" if scored[channel] else None,
                )
            )
        return Decoded(
            recording, stamp, content_hash, audio.codec, audio.sample_rate, audio.channels, duration_s, channels,
            notes + audio.notes,
        )  # fmt: skip


class WorkspaceError(SerError):
    """The working directory cannot be written: the run's trouble, not the recording's."""


class _Track:
    """The VAD's way along one channel: a probability and a level for each frame."""

    def __init__(self, vad: Vad) -> None:
        self._stream = vad.stream()
        self._probabilities: list[np.ndarray] = []
        self._levels: list[np.ndarray] = []
        self._rest = np.zeros(0, np.float32)

    def push(self, samples: np.ndarray) -> None:
        self._probabilities.append(self._stream.push(samples))
        samples = np.concatenate([self._rest, samples])
        whole = len(samples) // FRAME_SAMPLES * FRAME_SAMPLES
        self._levels.append(frame_levels_db(samples[:whole].reshape(-1, FRAME_SAMPLES)))
        self._rest = samples[whole:]

    def finish(self) -> tuple[np.ndarray, np.ndarray]:
        self._probabilities.append(self._stream.finish())
        if len(self._rest):
            last = np.pad(self._rest, (0, FRAME_SAMPLES - len(self._rest)))
            self._levels.append(frame_levels_db(last[None]))
        return np.concatenate(self._probabilities), np.concatenate(self._levels)


def _roles(config: Config, n_channels: int) -> tuple[list[str | None], list[str]]:
    """The role of each channel, and a note where the roles that were named do not fit."""
    named = config.score.roles
    if not named:
        return [None] * n_channels, []
    if len(named) == n_channels:
        return list(named), []
    note = f"{n_channels} channels, but {len(named)} roles: nobody can tell who speaks where"
    return [None] * n_channels, [note if config.score.score_agents else note + ", so nothing is scored"]


def _in_seconds(regions: Regions, duration_s: float) -> list[Segment]:
    return [
        Segment(start * FRAME_S, min(end * FRAME_S, duration_s))
        for start, end in regions.tolist()
        if start * FRAME_S < duration_s
    ]
