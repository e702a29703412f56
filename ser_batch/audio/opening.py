"""Choose the library that opens a recording, and reject what cannot be a call.

soundfile opens what it can. PyAV, which bundles FFmpeg, opens the rest, and files that
soundfile would not read to the end.
"""

from os import PathLike, fspath
from pathlib import Path

import numpy as np
import soundfile
from jaxtyping import Float32

from ser_batch.audio.decoders import Decoder, RawOptions
from ser_batch.audio.ffmpeg import AvDecoder
from ser_batch.audio.libsndfile import SoundfileDecoder, StopsEarly
from ser_batch.audio.resampling import Resampler
from ser_batch.errors import AudioError, FailureKind, UnreadableError
from ser_batch.sources.formats import HEAD_BYTES, raw_format

MAX_CHANNELS = 8
MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 2_000, 768_000
NO_SAMPLES = "contains no samples: is the copy complete?"


def open_audio(path: str | PathLike[str], raw: RawOptions = RawOptions()) -> Decoder:
    """Open a recording for one pass over its waveform; use it as a context manager.

    Args:
        path: the file.
        raw: what to assume if the file has no header.

    Raises:
        AudioError: the file cannot be read, is empty, is not audio, or has a number of
            channels or a sample rate that no call has.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        raise UnreadableError(
            f"cannot be read: {error.strerror}; check its path and permissions"
        ) from error
    if not head:
        raise AudioError(
            "the file is empty (0 bytes): copy it again", FailureKind.EMPTY
        )
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
        except StopsEarly:
            decoder = AvDecoder(path, trust_length=False)
    _check_shape(decoder)
    return decoder


def _check_shape(decoder: Decoder) -> None:
    problem = None
    if not decoder.channels or not decoder.sample_rate:
        problem = f"not audio: {decoder.channels} channels at {decoder.sample_rate} Hz"
    elif decoder.channels > MAX_CHANNELS:
        problem = f"{decoder.channels} channels; 1 to {MAX_CHANNELS} are supported"
    elif not MIN_SAMPLE_RATE <= decoder.sample_rate <= MAX_SAMPLE_RATE:
        problem = (
            f"sample rate of {decoder.sample_rate} Hz; {MIN_SAMPLE_RATE} to "
            f"{MAX_SAMPLE_RATE} Hz are supported: is the header damaged?"
        )
    if problem:
        decoder.__exit__(None, None, None)
        raise AudioError(problem, FailureKind.UNSUPPORTED)


def read_mono(
    path: str | Path, sample_rate: int, raw: RawOptions = RawOptions()
) -> Float32[np.ndarray, " samples"]:
    """Return a whole short file as one channel at `sample_rate` Hz.

    Multiple channels are averaged.

    Raises:
        AudioError: as in `open_audio`, or the file contains no samples.
    """
    with open_audio(path, raw) as audio:
        resampler = Resampler(audio.sample_rate, sample_rate, 1)
        blocks = [resampler.push(b.mean(axis=0, keepdims=True)) for b in audio]
        waveform = np.concatenate([*blocks, resampler.finish()], axis=1)[0]
    if not waveform.size:
        raise AudioError(NO_SAMPLES, FailureKind.EMPTY)
    return waveform
