"""A path becomes blocks of waveform: decode and resample, once, front to back, never by seeking.

soundfile opens what it can; PyAV, which carries its own FFmpeg, opens the rest, and what soundfile would
not read to its end. Waveforms are float32 arrays of shape (channels, samples) with full scale at 1.0.
"""

from os import PathLike, fspath
from pathlib import Path

import numpy as np
import soundfile
import soxr
from jaxtyping import Float32

from ser_batch.decoders import Decoder, RawOptions, Waveform
from ser_batch.errors import AudioError, UnreadableError
from ser_batch.ffmpeg import AvDecoder
from ser_batch.formats import HEAD_BYTES, raw_format
from ser_batch.libsndfile import NotWhole, SoundfileDecoder

MAX_CHANNELS = 8
MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 2_000, 768_000


def open_audio(path: str | PathLike[str], raw: RawOptions = RawOptions()) -> Decoder:
    """Opens a recording for one pass over its waveform. Use it as a context manager.

    Raises:
        AudioError: the file cannot be read, is empty, is no audio, or has a number of channels or a
            sample rate that no call has.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        raise UnreadableError(f"cannot be read: {error.strerror}; check that it exists and who may read it") from error
    if not head:
        raise AudioError("the file is empty (0 bytes): copy it again")
    headerless = raw_format(fspath(path), head)
    decoder: Decoder
    if headerless and headerless.demuxer:
        decoder = AvDecoder(path, headerless)
    elif headerless:
        decoder = SoundfileDecoder(path, headerless, raw)
    else:
        try:
            decoder = SoundfileDecoder(path)
        except soundfile.LibsndfileError:
            decoder = AvDecoder(path)
        except NotWhole:
            decoder = AvDecoder(path, believe_length=False)
    _check_shape(decoder)
    return decoder


def _check_shape(decoder: Decoder) -> None:
    problem = None
    if not decoder.channels or not decoder.sample_rate:
        problem = f"is no audio: {decoder.channels} channels at {decoder.sample_rate} Hz"
    elif decoder.channels > MAX_CHANNELS:
        problem = f"{decoder.channels} channels; 1 to {MAX_CHANNELS} can be analysed"
    elif not MIN_SAMPLE_RATE <= decoder.sample_rate <= MAX_SAMPLE_RATE:
        problem = (
            f"a sample rate of {decoder.sample_rate} Hz; "
            f"{MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE} Hz can be analysed: is the header damaged?"
        )
    if problem:
        decoder.__exit__(None, None, None)
        raise AudioError(problem)


class Resampler:
    """Blocks of waveform at one rate become blocks at another, on the same clock.

    The output of a whole recording is `round(length * to_rate / from_rate)` samples, whatever the
    blocks were. Uses soxr's high-quality setting.
    """

    def __init__(self, from_rate: int, to_rate: int, channels: int) -> None:
        self._stream = None
        if from_rate != to_rate:
            self._stream = soxr.ResampleStream(from_rate, to_rate, channels, dtype="float32", quality="HQ")
        self._channels = channels

    def push(self, block: Waveform) -> Waveform:
        """What the block completes; shape (channels, some samples)."""
        return self._resample(block, last=False)

    def finish(self) -> Waveform:
        """The rest, once all blocks are in."""
        return self._resample(np.zeros((self._channels, 0), np.float32), last=True)

    def _resample(self, block: Waveform, last: bool) -> Waveform:
        if self._stream is None:
            return block
        out = self._stream.resample_chunk(np.ascontiguousarray(block.T), last=last)
        return np.ascontiguousarray(out.reshape(-1, self._channels).T)


def read_mono(path: str | Path, sample_rate: int, raw: RawOptions = RawOptions()) -> Float32[np.ndarray, "samples"]:
    """A whole short file as one channel at `sample_rate` Hz: the mean of its channels.

    Raises:
        AudioError: as `open_audio`, or the file holds no samples.
    """
    with open_audio(path, raw) as audio:
        resampler = Resampler(audio.sample_rate, sample_rate, 1)
        blocks = [resampler.push(block.mean(axis=0, keepdims=True)) for block in audio]
        waveform = np.concatenate([*blocks, resampler.finish()], axis=1)[0]
    if not waveform.size:
        raise AudioError("holds no samples: has it been copied whole?")
    return waveform
