"""Recordings that FFmpeg opens, through PyAV.

MP3, FLAC, AAC, AMR, WMA, WebM, G.72x, and files that libsndfile would not read to the
end.
"""

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
    repaired,
    truncation_note,
)
from ser_batch.errors import AudioError, FailureKind, UnreadableError
from ser_batch.sources.formats import RawFormat

END_S = 1.0
"""Containers round their length and codecs pad it, so less than this is not a loss."""
MAX_GAP_S = 6 * 3600.0
"""The most silence inserted for lost audio: a damaged clock could ask for years."""

_CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,mp3,aac,amr,asf,matroska,webm,ogg,wav,w64,aiff,au,caf,"
    "flac,g722,g723_1,g726,gsm,mpeg,mpegts,avi,flv,loas,xwma"
)
"""FFmpeg formats that contain the audio itself.

Playlists are excluded, as they could name other files.
"""

_MATROSKA = b"\x1a\x45\xdf\xa3"
_MATROSKA_DURATION = (b"\x44\x89\x84", b"\x44\x89\x88")
"""The Duration element, a float of 4 or 8 bytes; live recordings have none."""
_GIVES_LENGTH = (
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
"""Magic bytes of containers whose header gives the length of the audio.

WAV and its variants, AIFF, AU, CAF, FLAC and WMA. For other containers, FFmpeg
estimates the length from the file size.
"""


class AvDecoder(Closing):
    """Decoder for what FFmpeg reads.

    AAC, AMR, WMA, WebM, G.72x, and WAV with codecs that libsndfile lacks. The clock
    follows the timestamps of the container: lost or damaged packets become silence of
    the same length.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        headerless: RawFormat | None = None,
        trust_length: bool = True,
    ) -> None:
        super().__init__()
        self._position = self._decoded = 0
        self._origin_s = 0.0
        # Pass a file object, so that FFmpeg cannot read the name as a URL or a pattern.
        file: IO[bytes] = self._stack.enter_context(open(path, "rb"))  # noqa: SIM115
        options = {"format_whitelist": _CONTAINERS, "protocol_whitelist": ""}
        with open(path, "rb") as stream:
            head = stream.read(4096)
            # The size of an ID3v2 tag, which is stored in 7 bits of each byte.
            tags = (
                10 + (head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9])
                if head.startswith(b"ID3")
                else 0
            )
            stream.seek(tags)
            first_frame = stream.read(64)
        self._gives_length = (
            head.startswith(_GIVES_LENGTH)
            or head[4:8] == b"ftyp"
            or (b"Xing" in first_frame or b"Info" in first_frame)
            or (
                head.startswith(_MATROSKA)
                and any(mark in head for mark in _MATROSKA_DURATION)
            )
        )
        if not trust_length and head.startswith(b"RIFF"):
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
            raise AudioError("has no audio stream", FailureKind.NOT_AUDIO) from None
        except (av.FFmpegError, ValueError, OSError) as error:
            # OSError: the header points outside the file.
            self._stack.close()
            if head[4:8] == b"ftyp":
                raise AudioError(
                    "index missing or damaged (MP4 and M4A have it at the end): is the "
                    "copy complete?"
                ) from error
            raise AudioError(
                "unrecognised audio format, or a damaged header: if a player can play "
                "it, convert it to WAV",
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
            # Otherwise, a damaged frame would decode to a burst of noise.
            context.options = {"err_detect": "crccheck+explode"}
        # The first frame is more reliable than the header: AAC headers may give half
        # the sample rate and only one of the channels.
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
        self.notes += truncation_note(
            self._position / self.sample_rate, self._promised_s(), END_S
        )

    def _promised_s(self) -> float:
        """Return the length in the header, in seconds, or 0.

        It is 0 if FFmpeg would only estimate it, or if it may be that of other streams.
        """
        if not self._gives_length:
            return 0.0
        if self._stream.duration and self._stream.time_base:
            return float(self._stream.duration * self._stream.time_base)
        if len(self._container.streams) > 1:
            return 0.0
        # The container's duration counts from zero, not from the first sample.
        return (self._container.duration or 0) / av.time_base - self._origin_s

    def _pieces(self) -> Iterator[np.ndarray]:
        """Yield decoded frames in order, with silence where the clock shows a gap."""
        rate, origin_s, invented = self.sample_rate, None, 0
        for frame in self._waiting:
            if (frame.sample_rate, frame.layout.nb_channels) != (rate, self.channels):
                shape = f"{frame.sample_rate} Hz, {frame.layout.nb_channels} channels"
                self.notes.append(
                    f"audio after {self._position / rate:.2f} s ignored: it changes to "
                    f"{shape}"
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
                        f"{gap / rate:.2f} s missing at {at}, replaced with silence"
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
                if not isinstance(error, av.FFmpegError):  # a disk error
                    raise UnreadableError(
                        f"cannot be read to the end: {error.strerror}; check the disk"
                    ) from error
                self.notes.append(
                    f"audio truncated after {self._decoded} samples: {error.strerror}"
                )
                break
            try:
                frames = packet.decode()
            except av.FFmpegError:
                # Only this packet is lost: the next timestamp leaves silence for it.
                damaged += 1
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
"""FFmpeg's sample formats; the suffix `p` means planar."""


def _as_float(frame: av.AudioFrame, channels: int) -> np.ndarray:
    """Return the samples of a frame in any format as floats from -1 to 1.

    Shape: (channels, samples).
    """
    # frame.to_ndarray() would read past eight planar channels, into invalid memory.
    dtype: Any = _SAMPLE_TYPES.get(frame.format.name.removesuffix("p"))
    if dtype is None:
        raise AudioError(
            f"unsupported sample format ({frame.format.name}): convert it to WAV",
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
    # Values beyond float32 become infinite, which `repaired` replaces with silence.
    with np.errstate(over="ignore"):
        return data.astype(np.float32)
