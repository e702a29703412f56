"""Recordings that FFmpeg opens, through PyAV: MP3, FLAC, AAC, AMR, WMA, WebM, G.72x, and what libsndfile would not read
to its end."""

from collections.abc import Iterator
from itertools import chain
from os import PathLike
from typing import IO, Any, cast

import av
import av.container
import numpy as np

from ser_batch.audio.decoders import (
    GAP_S,
    Closing,
    Waveform,
    block_samples,
    broken_off,
    repaired,
)
from ser_batch.errors import AudioError, FailureKind, UnreadableError
from ser_batch.sources.formats import RawFormat

END_S = 1.0
"""Containers round their length, and codecs pad it: less than this is no loss at the end."""
MAX_GAP_S = 6 * 3600.0
"""So much silence is put in the place of lost audio, and no more: a damaged clock could ask for years."""

_CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,mp3,aac,amr,asf,matroska,webm,ogg,wav,w64,aiff,au,caf,flac,g722,g723_1,g726,"
    "gsm,mpeg,mpegts,avi,flv,loas,xwma"
)
"""FFmpeg formats that hold audio and nothing else: no playlist, which could name other files."""

_MATROSKA = b"\x1a\x45\xdf\xa3"
_MATROSKA_DURATION = (b"\x44\x89\x84", b"\x44\x89\x88")
"""The element Duration, as a float of 4 or of 8 bytes; what is recorded live has none."""
_SAY_THEIR_LENGTH = (
    b"RIFF",
    b"RIFX",
    b"RF64",
    b"riff",
    b"FORM",
    b".snd",
    b"caff",
    b"fLaC",
    b"\x30\x26\xb2\x75",
)
"""What opens containers whose header holds the length of the audio: WAV and its kin, AIFF, AU, CAF, FLAC, WMA. FFmpeg
guesses that of others from the size of the file."""


class AvDecoder(Closing):
    """What FFmpeg reads: AAC, AMR, WMA, WebM, G.72x, and WAV with the codecs that libsndfile lacks.

    The clock follows the timestamps of the container: packets that are lost or damaged leave silence
    of the same length.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        headerless: RawFormat | None = None,
        believe_length: bool = True,
    ) -> None:
        super().__init__()
        self._position = self._decoded = 0
        self._origin_s = 0.0
        # A file object, so that no name can be taken for a URL or a pattern.
        file: IO[bytes] = self._stack.enter_context(open(path, "rb"))  # noqa: SIM115
        options = {"format_whitelist": _CONTAINERS, "protocol_whitelist": ""}
        with open(path, "rb") as stream:
            head = stream.read(4096)
            tags = (
                10 + (head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9])
                if head.startswith(b"ID3")
                else 0
            )
            stream.seek(tags)
            first_frame = stream.read(64)
        self._says_its_length = (
            head.startswith(_SAY_THEIR_LENGTH)
            or head[4:8] == b"ftyp"
            or (b"Xing" in first_frame or b"Info" in first_frame)
            or (
                head.startswith(_MATROSKA)
                and any(mark in head for mark in _MATROSKA_DURATION)
            )
        )
        if not believe_length and head.startswith(b"RIFF"):
            options["ignore_length"] = "1"
        if headerless:
            options |= dict(headerless.options)
        try:
            self._container = cast(
                av.container.InputContainer,
                av.open(
                    file,
                    format=headerless.demuxer if headerless else None,
                    options=options,
                    metadata_errors="replace",  # tags need not be UTF-8
                ),
            )
            self._stack.callback(self._container.close)
            self._stream = self._container.streams.audio[0]
        except IndexError:
            self._stack.close()
            raise AudioError("holds no audio stream", FailureKind.NOT_AUDIO) from None
        except (
            av.FFmpegError,
            ValueError,
            OSError,
        ) as error:  # OSError: a header that points to nowhere
            self._stack.close()
            if head[4:8] == b"ftyp":
                raise AudioError(
                    "its index is missing or damaged (an MP4 or M4A has it at its end): "
                    "has it been copied whole?"
                ) from error
            raise AudioError(
                "unrecognised audio format, or a damaged header: if a player plays it, "
                "convert it to WAV",
                FailureKind.NOT_AUDIO,
            ) from error
        context = self._stream.codec_context
        if context is None:
            self._stack.close()
            raise AudioError(
                "unknown codec: convert it to WAV", FailureKind.UNSUPPORTED
            )
        self.codec = f"{self._container.format.name.split(',')[0]}/{context.name}"
        if context.name == "flac":
            context.options = {
                "err_detect": "crccheck+explode"
            }  # a damaged frame would be a burst of noise
        # The first frame knows better than the header: AAC may say half its rate and one of its channels.
        self._waiting = self._frames()
        first = next(self._waiting, None)
        self.sample_rate: int = first.sample_rate if first else context.sample_rate
        self.channels: int = first.layout.nb_channels if first else context.channels
        if first:
            self._waiting = chain([first], self._waiting)

    def __iter__(self) -> Iterator[Waveform]:
        size = block_samples(self.sample_rate, self.channels)
        waiting: list[np.ndarray] = []
        length = 0
        for piece in self._pieces():
            waiting.append(piece)
            length += piece.shape[1]
            if length >= size:
                yield repaired(np.concatenate(waiting, axis=1), self.notes)
                waiting, length = [], 0
        if waiting:
            yield repaired(np.concatenate(waiting, axis=1), self.notes)
        self.notes += broken_off(
            self._position / self.sample_rate, self._promised_s(), END_S
        )

    def _promised_s(self) -> float:
        """The length that the header promises, in seconds; 0 where FFmpeg would guess, or speaks of other streams."""
        if not self._says_its_length:
            return 0.0
        if self._stream.duration and self._stream.time_base:
            return float(self._stream.duration * self._stream.time_base)
        if len(self._container.streams) > 1:
            return 0.0
        # This one counts from zero, and not from the first sample.
        return (self._container.duration or 0) / av.time_base - self._origin_s

    def _pieces(self) -> Iterator[np.ndarray]:
        """Decoded frames in order, with silence where the container's clock says that audio is missing."""
        rate, origin_s, invented = self.sample_rate, None, 0
        for frame in self._waiting:
            if (frame.sample_rate, frame.layout.nb_channels) != (rate, self.channels):
                shape = f"{frame.sample_rate} Hz, {frame.layout.nb_channels} channels"
                self.notes.append(
                    f"audio after {self._position / rate:.2f} s is left out: it changes to {shape}"
                )
                return
            if frame.time is not None:
                if origin_s is None:
                    origin_s = self._origin_s = frame.time
                gap = round((frame.time - origin_s) * rate) - self._position
                if GAP_S * rate < gap <= MAX_GAP_S * rate - invented:
                    invented += gap
                    at = f"{self._position / rate:.2f} s"
                    self.notes.append(
                        f"{gap / rate:.2f} s missing at {at}, taken as silence"
                    )
                    self._position += gap
                    yield from _silence(
                        self.channels, gap, block_samples(rate, self.channels)
                    )
            piece = _as_float(frame, self.channels)
            self._position += piece.shape[1]
            yield piece

    def _frames(self) -> Iterator[av.AudioFrame]:
        damaged = 0
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                break
            except (av.FFmpegError, OSError) as error:
                if not isinstance(error, av.FFmpegError):  # it comes from the disk
                    raise UnreadableError(
                        f"cannot be read to its end: {error.strerror}; check the disk"
                    ) from error
                self.notes.append(
                    f"audio breaks off after {self._decoded} samples: {error.strerror}"
                )
                break
            try:
                frames = packet.decode()
            except av.FFmpegError:
                damaged += 1  # it costs itself alone: the clock of the next one leaves silence in its place
                continue
            for frame in frames:
                self._decoded += frame.samples
                yield frame
        if damaged:
            self.notes.append(f"{damaged} damaged packets")


def _silence(channels: int, length: int, block: int) -> Iterator[np.ndarray]:
    for start in range(0, length, block):
        yield np.zeros((channels, min(block, length - start)), np.float32)


_SAMPLE_TYPES = {
    "u8": np.uint8,
    "s16": np.int16,
    "s32": np.int32,
    "s64": np.int64,
    "flt": np.float32,
    "dbl": np.float64,
}
"""FFmpeg's sample formats; a `p` behind the name says planar."""


def _as_float(frame: av.AudioFrame, channels: int) -> np.ndarray:
    """The samples of one frame, whatever their format, as (channels, samples) in -1 to 1."""
    # Not frame.to_ndarray(): of eight planar channels it reads a ninth, which lies in nobody's memory.
    dtype: Any = _SAMPLE_TYPES.get(frame.format.name.removesuffix("p"))
    if dtype is None:
        raise AudioError(
            f"its samples are in a format that cannot be read ({frame.format.name}): "
            "convert it to WAV",
            FailureKind.UNSUPPORTED,
        )
    if frame.format.is_planar:
        data = np.stack(
            [
                np.frombuffer(memoryview(plane), dtype, frame.samples)
                for plane in frame.planes[:channels]
            ]
        )
    else:
        data = (
            np.frombuffer(memoryview(frame.planes[0]), dtype, frame.samples * channels)
            .reshape(-1, channels)
            .T
        )
    if data.dtype == np.uint8:
        return (data.astype(np.float32) - 128) / 128
    if np.issubdtype(data.dtype, np.integer):
        return data.astype(np.float32) / -float(np.iinfo(data.dtype.name).min)
    with np.errstate(
        over="ignore"
    ):  # what is beyond float32 becomes infinite, and that becomes silence
        return data.astype(np.float32)
