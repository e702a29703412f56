"""Which files are audio and which library opens them: by content, then by extension.

Call recorders write containers with a signature (WAV, MP3, M4A ...), and headerless
streams that only their extension distinguishes (`.ul`, `.vox`, `.g722` ...).
"""

import os
from dataclasses import dataclass
from pathlib import PurePath

HEAD_BYTES = 16

_MAGIC: tuple[tuple[int, bytes], ...] = (
    (0, b"RIFF"), (0, b"RIFX"), (0, b"RF64"), (0, b"riff"), (0, b"FORM"), (0, b".snd"),
    (0, b"caff"), (0, b"fLaC"), (0, b"OggS"), (0, b"ID3"), (4, b"ftyp"), (0, b"#!AMR"),
    (0, b"\x1a\x45\xdf\xa3"), (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"),
)  # fmt: skip
"""(offset, bytes) at the start of a container; the last two are Matroska/WebM and
ASF/WMA."""

CONTAINER_EXTENSIONS = frozenset(
    (
        ".wav .wave .w64 .rf64 .aif .aiff .aifc .au .snd .caf .flac .mp3 .mp2 .ogg "
        ".oga .opus .spx .m4a .m4b .mp4 .mov .aac .amr .awb .3gp .3gpp .wma .asf "
        ".webm .mka .mkv"
    ).split()
)


@dataclass(frozen=True, slots=True)
class RawFormat:
    """How to read a headerless stream.

    With a `subtype`, libsndfile's name of the sample format, soundfile reads the file.
    Otherwise `demuxer` and `options` are passed to FFmpeg, and the codec determines
    rate and channels. `sample_rate` (Hz) is the usual default of call recorders.
    """

    subtype: str | None = None
    demuxer: str | None = None
    options: tuple[tuple[str, str], ...] = ()
    sample_rate: int = 8000


_MU_LAW, _A_LAW = RawFormat(subtype="ULAW"), RawFormat(subtype="ALAW")
_G723 = RawFormat(demuxer="g723_1")
_G722 = RawFormat(demuxer="g722")


def _g726(bits: int) -> RawFormat:
    return RawFormat(demuxer="g726", options=(("code_size", str(bits)),))


RAW_EXTENSIONS: dict[str, RawFormat] = {
    **dict.fromkeys((".ul", ".ulaw", ".mulaw", ".mu", ".pcmu"), _MU_LAW),
    **dict.fromkeys((".al", ".alaw", ".pcma"), _A_LAW),
    ".gsm": RawFormat(subtype="GSM610"),
    ".vox": RawFormat(subtype="VOX_ADPCM"),
    **dict.fromkeys((".sln", ".raw", ".pcm"), RawFormat(subtype="PCM_16")),
    ".sln16": RawFormat(subtype="PCM_16", sample_rate=16000),
    ".g722": _G722,
    **dict.fromkeys((".g723", ".g723_1"), _G723),
    ".g726": _g726(4),
    **{f".g726-{kbit}": _g726(kbit // 8) for kbit in (16, 24, 32, 40)},
}
"""Formats by extension. `.g726` is read as 32 kbit/s; the others name their rate."""


def has_signature(head: bytes) -> bool:
    """Whether the first `HEAD_BYTES` of a file are those of a known container."""
    return any(head[at : at + len(magic)] == magic for at, magic in _MAGIC)


def raw_format(name: str, head: bytes) -> RawFormat | None:
    """Return how to read a headerless file, or None if it is not one.

    A container's signature in the content takes precedence over the extension.
    """
    return (
        None
        if has_signature(head)
        else RAW_EXTENSIONS.get(PurePath(name).suffix.lower())
    )


def named_as_audio(name: str) -> bool:
    """Whether the extension is one of an audio file."""
    suffix = os.path.splitext(name)[1].lower()
    return suffix in CONTAINER_EXTENSIONS or suffix in RAW_EXTENSIONS
