"""Recordings that libsndfile opens: most WAV, OGG, AIFF, AU, and raw PCM, GSM, VOX."""

import re
from collections.abc import Iterator
from os import PathLike, fsencode

import numpy as np
import soundfile

from ser_batch.audio.decoders import (
    GAP_S,
    Closing,
    RawOptions,
    Waveform,
    block_samples,
    repaired,
    truncation_note,
)
from ser_batch.errors import AudioError, FailureKind
from ser_batch.sources.formats import RawFormat

_UNKNOWN_LENGTH = 0x7FFF_0000
"""Recorders that never learn the length write about this value, or a larger one."""
_NO_LAST_PAGE = "Last page lacks an end-of-stream bit"
"""The message in libsndfile's log for a truncated Ogg file."""


class StopsEarly(Exception):
    """libsndfile would stop before the audio ends; FFmpeg reads the whole file."""


class SoundfileDecoder(Closing):
    """Decoder for what libsndfile reads to the end.

    Raises:
        StopsEarly: libsndfile may stop before the audio ends.
        soundfile.LibsndfileError: libsndfile cannot open the file.
        AudioError: the options for raw files do not fit its format.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        headerless: RawFormat | None = None,
        raw: RawOptions = RawOptions(),
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
                shape = (
                    f"{raw.channels} channels at "
                    f"{raw.sample_rate or headerless.sample_rate} Hz"
                )
                raise AudioError(
                    f"cannot be read as {headerless.subtype} with {shape}: check the "
                    "options for raw files",
                    FailureKind.UNSUPPORTED,
                ) from error
        else:
            self._file = soundfile.SoundFile(fsencode(path))
        self._stack.enter_context(self._file)
        self.codec = f"{self._file.format}/{self._file.subtype}".lower()
        if not headerless and self._stops_early():
            self._stack.close()
            raise StopsEarly
        self.sample_rate: int = self._file.samplerate
        self.channels: int = self._file.channels

    def _stops_early(self) -> bool:
        """Return whether audio may follow beyond what libsndfile will read.

        It reads only as much of an MP3 as it estimates from the first frames, and FLAC
        only up to the first damage. For WAV it trusts the header, even if the recorder
        died before it wrote the length; what follows the data is then not a chunk. Of
        several Ogg streams in a row it reads the first.
        """
        if "mpeg" in self.codec or "flac" in self.codec or not self._file.frames:
            return True
        log = self._file.extra_info
        return "Exiting parser" in log or (
            "Junk after the last page" in log and _NO_LAST_PAGE not in log
        )

    def __iter__(self) -> Iterator[Waveform]:
        size, position = block_samples(self.sample_rate, self.channels), 0
        broken = False
        while not broken:
            # libsndfile decodes the last few samples of Opus wrongly if a block
            # contains nothing else, so the last two blocks share the rest.
            left = self._file.frames - position
            n = (left + 1) // 2 if size < left < 2 * size else size
            buffer = np.empty((n, self.channels), np.float32)
            try:
                block = self._file.read(out=buffer)
            except soundfile.LibsndfileError as error:
                # The samples before the error have been read; how many, only the
                # position can show.
                block, broken = buffer[: max(0, self._file.tell() - position)], True
                at = f"{(position + len(block)) / self.sample_rate:.2f} s"
                self.notes.append(f"audio truncated at {at}: {error.error_string}")
            if not len(block):
                break
            position += len(block)
            yield repaired(block.T, self.notes)
        if broken:
            return
        self.notes += truncation_note(
            position / self.sample_rate, self._promised() / self.sample_rate, GAP_S
        )
        if _NO_LAST_PAGE in self._file.extra_info:
            self.notes.append(
                f"audio truncated at {position / self.sample_rate:.2f} s: the last "
                "page is missing"
            )

    def _promised(self) -> int:
        """Return the number of samples per channel given in the header."""
        # libsndfile corrects the length in the header of a file that is too short, and
        # reports the original only in its log.
        cut = re.search(
            r"^ *(?:data|riff|SSND|Data Size) *: (\d+) \(should be (\d+)\)",
            self._file.extra_info,
            re.MULTILINE,
        )
        if cut and int(cut[1]) < _UNKNOWN_LENGTH:
            return round(self._file.frames * int(cut[1]) / max(1, int(cut[2])))
        stated = re.search(
            r"does not match value from 'ds64' chunk of (\d+)", self._file.extra_info
        )
        return int(stated[1]) if stated else self._file.frames
