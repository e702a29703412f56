"""From one recording to its speech regions and segments, in any process.

    fetch -> blocks -> resample -> VAD -> crosstalk -> regions -> speakers -> segments

The result is plain values. The waveforms of the channels to be scored are kept in the
job's `Waveforms`, as float32 samples at the model's sample rate.
"""

import time
from array import array
from collections.abc import Iterable

import numpy as np
from threadpoolctl import threadpool_limits

from ser_batch.audio.decoders import Decoder, RawOptions, Waveform
from ser_batch.audio.opening import NO_SAMPLES, open_audio
from ser_batch.audio.resampling import Resampler
from ser_batch.config.options import VadConfig
from ser_batch.errors import AudioError, FailureKind, UnreadableError
from ser_batch.sources.source import Recording, Stamp
from ser_batch.speech.crosstalk import Crosstalk
from ser_batch.speech.crosstalk_path import RATE as CROSSTALK_RATE
from ser_batch.speech.decoded import (
    Decoded,
    Failed,
    Growing,
    Job,
    Outcome,
    Task,
    Unchanged,
)
from ser_batch.speech.diarization import Diarizer
from ser_batch.speech.regions import frame_levels_db, level_curve, speech_regions
from ser_batch.speech.speakers import (
    Heard,
    by_channel,
    channel_roles,
    tell_apart,
)
from ser_batch.speech.vad import FRAME_SAMPLES, SAMPLE_RATE, Vad

RECENT_S = 10.0
"""A recently modified file may still be growing, and gets this long to change again."""
SAME_SIGNAL = 1e-6
"""Channels whose difference is 60 dB below their level carry the same signal.

It is a mono call stored as stereo.
"""


def decode(task: Task, job: Job, vad: Vad, diarizer: Diarizer | None = None) -> Outcome:
    """Decode a recording once, find each speaker's speech, and cut it into segments.

    The voices within a single channel are told apart if there is a diarizer.

    Raises:
        WorkspaceError: the waveforms cannot be written.
    """
    recording, content_hash = task.recording, None
    outcome: Outcome
    try:
        _wait_if_recent(task.stamp)
        content_hash = job.source.content_hash(recording)
        if content_hash == task.known_hash:
            return Unchanged(recording, task.stamp)
        stamp = job.source.stamp(recording)
        if stamp is None:
            raise FileNotFoundError
        # A recording is the work of one core: the others have recordings of their own.
        with threadpool_limits(1, "blas"):
            outcome = _decode(recording, stamp, content_hash, job, vad, diarizer)
    except OSError as error:
        outcome = _failed(error, task, content_hash)
    # Whatever the outcome, a file that changed meanwhile is not complete yet.
    now = job.source.stamp(recording)
    return Growing(recording) if now and task.stamp and now != task.stamp else outcome


def _wait_if_recent(stamp: Stamp | None) -> None:
    if stamp and 0 <= (age_s := time.time() - stamp.modified_at.timestamp()) < RECENT_S:
        time.sleep(RECENT_S - age_s)


def _failed(error: OSError, task: Task, content_hash: str | None) -> Failed:
    """Return the failure for an error.

    If the file system cannot read the recording, the recording itself may be sound:
    the failure gets no stamp, so that the next run tries it again.
    """
    if isinstance(error, AudioError):
        stamp = None if isinstance(error, UnreadableError) else task.stamp
        # With a hash, the next run would find the file unchanged.
        known = content_hash if stamp else None
        kind, message, detail = error.kind, error.message, error.detail
        return Failed(task.recording, stamp, known, kind, message, detail)
    if isinstance(error, FileNotFoundError):
        message = (
            "the file is gone, or is a broken link: it is tried again when it is back"
        )
    elif isinstance(error, PermissionError):
        message = "permission denied: let this user read it, and run again"
    else:
        message = f"cannot be read: {error.strerror}; check the disk, and run again"
    kind = FailureKind.UNREADABLE
    return Failed(task.recording, None, None, kind, message)


def _decode(
    recording: Recording,
    stamp: Stamp,
    content_hash: str,
    job: Job,
    vad: Vad,
    diarizer: Diarizer | None,
) -> Decoded:
    config = job.config
    recording_id = recording.recording_id
    job.waveforms.prepare(recording_id)
    raw = RawOptions(config.audio.raw_sample_rate, config.audio.raw_channels)
    with job.source.fetch(recording) as path, open_audio(path, raw) as audio:
        n_channels = 1 if config.audio.mix else audio.channels
        _, kept, _ = channel_roles(config, n_channels)
        # If all channels turn out to be the same, the first stands for all.
        _, (kept_alone, *_), _ = channel_roles(config, 1)
        kept[0] = kept[0] or kept_alone or (diarizer is not None and not any(kept))
        analysers = [
            _ChannelAnalyser(vad, job, recording_id, channel if keeps else None)
            for channel, keeps in enumerate(kept)
        ]
        duration_s, same, probabilities = _read_through(audio, analysers, job)
        channels = [
            Heard(p, own.levels, speech_regions(p, config.vad), duration_s)
            for own, p in zip(analysers, probabilities, strict=True)
        ]
        notes = []
        if same:
            channels = channels[:1]
            notes.append(f"all {audio.channels} channels are the same; treated as one")
        if diarizer is not None and len(channels) == 1:
            if not kept[0]:
                # All channels are the same, and another one was kept.
                job.waveforms.move(recording_id, kept.index(True), 0)
            found = tell_apart(channels[0], job, recording_id, diarizer)
        else:
            found = by_channel(channels, config)
        return Decoded(
            recording,
            stamp,
            content_hash,
            audio.codec,
            audio.sample_rate,
            audio.channels,
            duration_s,
            found.speakers,
            [*found.notes, *notes, *audio.notes],
            [level_curve(channel.levels_db) for channel in channels],
            found.confidence,
        )


def _read_through(
    audio: Decoder, analysers: "list[_ChannelAnalyser]", job: Job
) -> tuple[float, bool, list[np.ndarray]]:
    """Pass each channel to its analyser, and their frames through crosstalk removal.

    Returns:
        The length in seconds, whether all channels carry the same signal, and the
        speech probabilities of each channel's frames.

    Raises:
        AudioError: the recording contains no samples.
    """
    n_channels = len(analysers)
    for_vad = Resampler(audio.sample_rate, SAMPLE_RATE, n_channels)
    for_model = Resampler(audio.sample_rate, job.sample_rate, n_channels)
    frames = _Frames(n_channels, job.config.vad)
    for_crosstalk = None
    if frames.crosstalk and job.sample_rate != CROSSTALK_RATE:
        for_crosstalk = Resampler(audio.sample_rate, CROSSTALK_RATE, n_channels)
    length, energy, difference = 0, 0.0, 0.0

    def share(wide: Waveform, narrow: Waveform, telephone: Waveform) -> None:
        found = [
            analyser.push(*samples)
            for analyser, *samples in zip(analysers, wide, narrow, strict=True)
        ]
        frames.add(telephone, found)

    for block in audio:
        if job.config.audio.mix:
            block = block.mean(axis=0, keepdims=True)
        length += block.shape[1]
        first, *rest = block
        energy += float(np.square(first).sum())
        differences = (float(np.square(other - first).sum()) for other in rest)
        difference += max(differences, default=0.0)
        narrow = for_model.push(block)
        telephone = for_crosstalk.push(block) if for_crosstalk else narrow
        share(for_vad.push(block), narrow, telephone)
    narrow = for_model.finish()
    share(for_vad.finish(), narrow, for_crosstalk.finish() if for_crosstalk else narrow)
    if not length:
        raise AudioError(NO_SAMPLES, FailureKind.EMPTY)
    frames.add(narrow[:, :0], [analyser.finish() for analyser in analysers])
    same = n_channels > 1 and difference < SAME_SIGNAL * energy
    return length / audio.sample_rate, same, frames.finish()


class _Frames:
    """The speech probabilities of each channel's frames, without crosstalk."""

    def __init__(self, n_channels: int, config: VadConfig) -> None:
        self.crosstalk = None
        if config.crosstalk and n_channels > 1:
            self.crosstalk = Crosstalk(n_channels, config.offset)
        # Arrays that grow in place, so that hours of frames are never copied at once.
        self._probabilities = [array("f") for _ in range(n_channels)]

    def add(self, samples: Waveform, found: list[np.ndarray]) -> None:
        self._keep(self.crosstalk.push(samples, found) if self.crosstalk else found)

    def finish(self) -> list[np.ndarray]:
        if self.crosstalk:
            self._keep(self.crosstalk.finish())
        return [np.frombuffer(own, np.float32) for own in self._probabilities]

    def _keep(self, found: Iterable[np.ndarray]) -> None:
        for own, new in zip(self._probabilities, found, strict=True):
            own.frombytes(new.astype(np.float32).tobytes())


class _ChannelAnalyser:
    """The analysis of one channel.

    Gives the speech probability and the level of each frame, and keeps the waveform if
    the channel is to be scored.
    """

    def __init__(
        self, vad: Vad, job: Job, recording_id: str, scored_as: int | None
    ) -> None:
        self._stream = vad.stream()
        self._waveforms, self._recording_id = job.waveforms, recording_id
        self._scored_as = scored_as
        self._levels = array("f")
        self._rest = np.zeros(0, np.float32)

    def push(self, wide: np.ndarray, narrow: np.ndarray) -> np.ndarray:
        """Return the probabilities of the frames that a block completes.

        `wide` and `narrow` are the same interval at the sample rates of the VAD and of
        the model.
        """
        found = self._stream.push(wide)
        wide = np.concatenate([self._rest, wide])
        whole = len(wide) // FRAME_SAMPLES * FRAME_SAMPLES
        self._add_levels(wide[:whole].reshape(-1, FRAME_SAMPLES))
        self._rest = wide[whole:]
        if self._scored_as is not None:
            self._waveforms.append(self._recording_id, self._scored_as, narrow)
        return found

    def finish(self) -> np.ndarray:
        """Return the probabilities of the remaining frames."""
        if len(self._rest):
            last = np.pad(self._rest, (0, FRAME_SAMPLES - len(self._rest)))
            self._add_levels(last[None])
        return self._stream.finish()

    @property
    def levels(self) -> np.ndarray:
        """The level of each frame in dB, complete after `finish`."""
        return np.frombuffer(self._levels, np.float32)

    def _add_levels(self, frames: np.ndarray) -> None:
        self._levels.frombytes(frame_levels_db(frames).tobytes())
