"""The two libraries that open recordings, behind one face: blocks of waveform, front to back.

What is wrong with the audio on the way is mended, on the same clock, and noted.
"""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from os import PathLike, fsencode
from typing import IO, Any, Protocol, Self, cast

import av
import av.container
import numpy as np
import soundfile
from jaxtyping import Float32

from ser_batch.errors import AudioError
from ser_batch.formats import RawFormat

Waveform = Float32[np.ndarray, "channels samples"]

BLOCK_S = 15.0
MAX_BLOCK = 2_000_000
MAX_SAMPLE = 2.0**16
"""Nothing that a recorder writes lies beyond this, even integers that were stored as floats."""
GAP_S = 0.05
"""Container timestamps that jump by more than this tell of lost audio."""
END_S = 1.0
"""Containers round their length, and codecs pad it: less than this is no loss at the end."""
MAX_GAP_S = 6 * 3600.0
"""So much silence is put in the place of lost audio, and no more: a damaged clock could ask for years."""

_UNKNOWN_LENGTH = 0x7FFF_0000
"""Recorders that never learn the length write something like this or more."""

_CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,mp3,aac,amr,asf,matroska,webm,ogg,wav,w64,aiff,au,caf,flac,g722,g723_1,g726,"
    "gsm,mpeg,mpegts,avi,flv,loas,xwma"
)
"""FFmpeg formats that hold audio and nothing else: no playlist, which could name other files."""


_NO_LAST_PAGE = "Last page lacks an end-of-stream bit"
"""What libsndfile's log says of an Ogg that breaks off."""

_MATROSKA = b"\x1a\x45\xdf\xa3"
_MATROSKA_DURATION = (b"\x44\x89\x84", b"\x44\x89\x88")
"""The element Duration, as a float of 4 or of 8 bytes; what is recorded live has none."""
_SAY_THEIR_LENGTH = (b"RIFF", b"RIFX", b"RF64", b"riff", b"FORM", b".snd", b"caff", b"fLaC", b"\x30\x26\xb2\x75")
"""What opens containers whose header holds the length of the audio: WAV and its kin, AIFF, AU, CAF, FLAC, WMA. FFmpeg
guesses that of others from the size of the file."""


@dataclass(frozen=True, slots=True)
class RawOptions:
    """What to assume of files without a header: `sample_rate` in Hz (None: what the format's
    extension stands for) and the number of interleaved `channels`."""

    sample_rate: int | None = None
    channels: int = 1


class Decoder(Protocol):
    """An open recording. Iterating gives blocks of waveform, each about `BLOCK_S` long."""

    codec: str
    sample_rate: int
    channels: int
    notes: list[str]
    """What was wrong with the audio and how it was mended; filled while the blocks are read."""

    def __iter__(self) -> Iterator[Waveform]: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *exc_info: object) -> None: ...


class NotWhole(Exception):
    """libsndfile would stop before the audio does; FFmpeg goes on to the end of the file."""


class _Closing:
    """Owns what a decoder has opened."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.notes: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()


class SoundfileDecoder(_Closing):
    """What libsndfile reads: WAV of all kinds, FLAC, OGG, MP3, AIFF, AU, and raw PCM, GSM and VOX."""

    def __init__(
        self, path: str | PathLike[str], headerless: RawFormat | None = None, raw: RawOptions = RawOptions()
    ) -> None:
        super().__init__()
        if headerless:
            try:
                self._file = soundfile.SoundFile(
                    fsencode(path),
                    format="RAW",
                    subtype=headerless.subtype,
                    endian="LITTLE" if headerless.subtype == "PCM_16" else "FILE",
                    samplerate=raw.sample_rate or headerless.sample_rate,
                    channels=raw.channels,
                )
            except soundfile.LibsndfileError as error:
                shape = f"{raw.channels} channels at {raw.sample_rate or headerless.sample_rate} Hz"
                raise AudioError(
                    f"cannot be {headerless.subtype} of {shape}: check the options for raw files"
                ) from error
        else:
            self._file = soundfile.SoundFile(fsencode(path))
        self._stack.enter_context(self._file)
        self.codec = f"{self._file.format}/{self._file.subtype}".lower()
        if not headerless and self._stops_early():
            self._stack.close()
            raise NotWhole
        self.sample_rate: int = self._file.samplerate
        self.channels: int = self._file.channels

    def _stops_early(self) -> bool:
        """Whether more audio may follow than libsndfile is going to read.

        Of MP3 it reads as much as it guesses from the first frames, and of FLAC what lies before the first damage.
        Of WAV it believes the header, also where a recorder died before it wrote the length: then what follows the
        data are no chunks. Of Ogg it reads the first of several streams in a row.
        """
        if "mpeg" in self.codec or "flac" in self.codec or not self._file.frames:
            return True
        log = self._file.extra_info
        return "Exiting parser" in log or ("Junk after the last page" in log and _NO_LAST_PAGE not in log)

    def __iter__(self) -> Iterator[Waveform]:
        size, position = _block_samples(self.sample_rate, self.channels), 0
        broken = False
        while not broken:
            buffer = np.empty((size, self.channels), np.float32)
            try:
                block = self._file.read(out=buffer)
            except soundfile.LibsndfileError as error:
                # What came before the error has been read, and the position tells how much that is, if anything does.
                block, broken = buffer[: max(0, self._file.tell() - position)], True
                at = f"{(position + len(block)) / self.sample_rate:.2f} s"
                self.notes.append(f"audio breaks off at {at}: {error.error_string}")
            if not len(block):
                break
            position += len(block)
            yield _repaired(block.T, self.notes)
        if broken:
            return
        self.notes += _broken_off(position / self.sample_rate, self._promised() / self.sample_rate, GAP_S)
        if _NO_LAST_PAGE in self._file.extra_info:
            self.notes.append(f"audio breaks off at {position / self.sample_rate:.2f} s: the last page is missing")

    def _promised(self) -> int:
        """Frames that the header promises."""
        # libsndfile corrects the header of a file that is too short, and says so in its log alone.
        cut = re.search(
            r"^ *(?:data|riff|SSND|Data Size) *: (\d+) \(should be (\d+)\)", self._file.extra_info, re.MULTILINE
        )
        if cut and int(cut[1]) < _UNKNOWN_LENGTH:
            return round(self._file.frames * int(cut[1]) / max(1, int(cut[2])))
        stated = re.search(r"does not match value from 'ds64' chunk of (\d+)", self._file.extra_info)
        return int(stated[1]) if stated else self._file.frames


class AvDecoder(_Closing):
    """What FFmpeg reads: AAC, AMR, WMA, WebM, G.72x, and WAV with the codecs that libsndfile lacks.

    The clock follows the timestamps of the container: packets that are lost or damaged leave silence
    of the same length.
    """

    def __init__(
        self, path: str | PathLike[str], headerless: RawFormat | None = None, believe_length: bool = True
    ) -> None:
        super().__init__()
        self._position = self._decoded = 0
        self._origin_s = 0.0
        # A file object, so that no name can be taken for a URL or a pattern.
        file: IO[bytes] = self._stack.enter_context(open(path, "rb"))  # noqa: SIM115
        options = {"format_whitelist": _CONTAINERS, "protocol_whitelist": ""}
        with open(path, "rb") as stream:
            head = stream.read(4096)
            tags = 10 + (head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]) if head.startswith(b"ID3") else 0
            stream.seek(tags)
            first_frame = stream.read(64)
        self._says_its_length = (
            head.startswith(_SAY_THEIR_LENGTH)
            or head[4:8] == b"ftyp"
            or (b"Xing" in first_frame or b"Info" in first_frame)
            or (head.startswith(_MATROSKA) and any(mark in head for mark in _MATROSKA_DURATION))
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
            raise AudioError("holds no audio stream: there is nothing to hear in it") from None
        except (av.FFmpegError, ValueError, OSError) as error:  # OSError: a header that points to nowhere
            self._stack.close()
            if head[4:8] == b"ftyp":
                raise AudioError(
                    "its index is missing or damaged (an MP4 or M4A has it at its end): has it been copied whole?"
                ) from error
            raise AudioError(
                "is no audio in any format that we know, or its header is damaged: "
                "if a player plays it, convert it to WAV"
            ) from error
        context = self._stream.codec_context
        if context is None:
            self._stack.close()
            raise AudioError("its codec is unknown: convert it to WAV")
        self.codec = f"{self._container.format.name.split(',')[0]}/{context.name}"
        if context.name == "flac":
            context.options = {"err_detect": "crccheck+explode"}  # a damaged frame would be a burst of noise
        # The first frame knows better than the header: AAC may say half its rate and one of its channels.
        self._waiting = self._frames()
        first = next(self._waiting, None)
        self.sample_rate: int = first.sample_rate if first else context.sample_rate
        self.channels: int = first.layout.nb_channels if first else context.channels
        if first:
            self._waiting = chain([first], self._waiting)

    def __iter__(self) -> Iterator[Waveform]:
        size = _block_samples(self.sample_rate, self.channels)
        waiting: list[np.ndarray] = []
        length = 0
        for piece in self._pieces():
            waiting.append(piece)
            length += piece.shape[1]
            if length >= size:
                yield _repaired(np.concatenate(waiting, axis=1), self.notes)
                waiting, length = [], 0
        if waiting:
            yield _repaired(np.concatenate(waiting, axis=1), self.notes)
        self.notes += _broken_off(self._position / self.sample_rate, self._promised_s(), END_S)

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
                self.notes.append(f"audio after {self._position / rate:.2f} s is left out: it changes to {shape}")
                return
            if frame.time is not None:
                if origin_s is None:
                    origin_s = self._origin_s = frame.time
                gap = round((frame.time - origin_s) * rate) - self._position
                if GAP_S * rate < gap <= MAX_GAP_S * rate - invented:
                    invented += gap
                    at = f"{self._position / rate:.2f} s"
                    self.notes.append(f"{gap / rate:.2f} s missing at {at}, taken as silence")
                    self._position += gap
                    yield from _silence(self.channels, gap, _block_samples(rate, self.channels))
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
                self.notes.append(f"audio breaks off after {self._decoded} samples: {error.strerror}")
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


def _broken_off(position_s: float, promised_s: float, tolerance_s: float) -> list[str]:
    """A note where audio ends before the header says."""
    if promised_s - position_s <= tolerance_s:
        return []
    return [f"audio breaks off at {position_s:.2f} s: the header promises {promised_s:.2f} s"]


def _block_samples(sample_rate: int, channels: int) -> int:
    """Samples of a block: `BLOCK_S`, or less where rate and channels would make it large."""
    return min(int(BLOCK_S * sample_rate), MAX_BLOCK // channels)


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
        raise AudioError(f"its samples are in a format that cannot be read ({frame.format.name}): convert it to WAV")
    if frame.format.is_planar:
        data = np.stack([np.frombuffer(memoryview(plane), dtype, frame.samples) for plane in frame.planes[:channels]])
    else:
        data = np.frombuffer(memoryview(frame.planes[0]), dtype, frame.samples * channels).reshape(-1, channels).T
    if data.dtype == np.uint8:
        return (data.astype(np.float32) - 128) / 128
    if np.issubdtype(data.dtype, np.integer):
        return data.astype(np.float32) / -float(np.iinfo(data.dtype.name).min)
    with np.errstate(over="ignore"):  # what is beyond float32 becomes infinite, and that becomes silence
        return data.astype(np.float32)


def _repaired(block: np.ndarray, notes: list[str]) -> Waveform:
    """The block as it is, but for samples that are no sound (NaN, infinite, absurd): they become silence."""
    # min and max are NaN or beyond the limit exactly where a sample is: cheaper than a mask for good audio.
    if block.size and not (block.min() >= -MAX_SAMPLE and block.max() <= MAX_SAMPLE):
        bad = ~(np.abs(block) <= MAX_SAMPLE)
        note = "samples that are not finite numbers, taken as silence"
        if note not in notes:
            notes.append(note)
        block = np.where(bad, np.float32(0), block)
    return np.ascontiguousarray(block)
