"""From one recording to its speech regions and segments, in any process.

    fetch -> blocks -> resample -> VAD -> crosstalk -> regions -> speakers -> segments

The result is plain values. The waveforms of the channels to be scored are kept in the
job's `Waveforms`, as float32 samples at the model's sample rate.
"""

import time
from array import array
from collections.abc import Iterator

import numpy as np
from threadpoolctl import threadpool_limits

from ser_batch.audio.decoders import Decoder, RawOptions
from ser_batch.audio.opening import NO_SAMPLES, open_audio
from ser_batch.config.options import VadConfig
from ser_batch.errors import AudioError, FailureKind, UnreadableError
from ser_batch.sources.source import Recording, Stamp
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
from ser_batch.speech.listening import SAME_NOTE, Listened, Listening
from ser_batch.speech.regions import level_curve, speech_regions
from ser_batch.speech.speakers import (
    Heard,
    by_channel,
    channel_roles,
    tell_apart,
)
from ser_batch.speech.vad import Vad

RECENT_S = 10.0
"""A recently modified file may still be growing, and gets this long to change again."""


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
        listening = Listening(
            vad, config.vad, audio.sample_rate, job.sample_rate, n_channels
        )
        heard = [_Channel() for _ in range(n_channels)]
        for listened in _read_through(audio, listening, config.audio.mix):
            for channel, own in enumerate(heard):
                own.levels.frombytes(listened.levels_db[channel].tobytes())
                own.probabilities.frombytes(listened.decided[channel].tobytes())
                if kept[channel]:
                    samples = listened.narrow[channel]
                    job.waveforms.append(recording_id, channel, samples)
        duration_s = listening.duration_s
        channels = [own.heard(config.vad, duration_s) for own in heard]
        notes = []
        if listening.is_same:
            channels = channels[:1]
            notes.append(SAME_NOTE.format(audio.channels))
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
    audio: Decoder, listening: Listening, mix: bool
) -> Iterator[Listened]:
    """Listen to a whole recording.

    Raises:
        AudioError: it contains no samples.
    """
    for block in audio:
        yield listening.push(block.mean(axis=0, keepdims=True) if mix else block)
    if not listening.length:
        raise AudioError(NO_SAMPLES, FailureKind.EMPTY)
    yield listening.finish()


class _Channel:
    """The frames of one channel: their speech probabilities, and levels in dB.

    In arrays that grow in place, so that hours of frames are never copied at once.
    """

    def __init__(self) -> None:
        self.probabilities, self.levels = array("f"), array("f")

    def heard(self, config: VadConfig, duration_s: float) -> Heard:
        """Return what was heard, with its speech regions."""
        probabilities = np.frombuffer(self.probabilities, np.float32)
        levels = np.frombuffer(self.levels, np.float32)
        regions = speech_regions(probabilities, config)
        return Heard(probabilities, levels, regions, duration_s)
