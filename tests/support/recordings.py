"""Recordings for tests: synthetic calls in every format, with chosen headers."""

import os
import struct
import time
from pathlib import Path

import av
import numpy as np
import soundfile
import soxr

from ser_batch.audio.decoders import RawOptions
from ser_batch.audio.opening import open_audio

SOUNDFILE = {
    "pcm8.wav": ("WAV", "PCM_U8"), "pcm16.wav": ("WAV", "PCM_16"),
    "pcm24.wav": ("WAV", "PCM_24"), "pcm32.wav": ("WAV", "PCM_32"),
    "float.wav": ("WAV", "FLOAT"), "double.wav": ("WAV", "DOUBLE"),
    "ulaw.wav": ("WAV", "ULAW"), "alaw.wav": ("WAV", "ALAW"),
    "gsm.wav": ("WAV", "GSM610"), "ima.wav": ("WAV", "IMA_ADPCM"),
    "ms.wav": ("WAV", "MS_ADPCM"), "x.flac": ("FLAC", "PCM_16"),
    "x.mp3": ("MP3", "MPEG_LAYER_III"), "opus.ogg": ("OGG", "OPUS"),
    "vorbis.ogg": ("OGG", "VORBIS"), "x.w64": ("W64", "PCM_16"),
    "x.rf64": ("RF64", "PCM_16"), "x.aiff": ("AIFF", "PCM_16"),
    "x.au": ("AU", "ULAW"), "x.ul": ("RAW", "ULAW"), "x.al": ("RAW", "ALAW"),
    "x.gsm": ("RAW", "GSM610"), "x.vox": ("RAW", "VOX_ADPCM"),
    "x.sln": ("RAW", "PCM_16"),
}  # fmt: skip


# name: container, codec, sample rate, options
FFMPEG = {
    "x.m4a": ("ipod", "aac", 8000, {}),
    "x.aac": ("adts", "aac", 8000, {}),
    "x.amr": ("amr", "libopencore_amrnb", 8000, {"b": "12200"}),
    "x.wma": ("asf", "wmav2", 16000, {"b": "48000"}),
    "x.webm": ("webm", "libopus", 48000, {}),
    "x.g722": ("g722", "g722", 16000, {}),
    "x.g726": ("g726", "g726", 8000, {"code_size": "4"}),
    "x.g726-16": ("g726", "g726", 8000, {"code_size": "2"}),
    "x.g723_1": ("g723_1", "g723_1", 8000, {"b": "6300"}),
    "g726.wav": ("wav", "g726", 8000, {"code_size": "4"}),
}


MONO_ONLY = {
    "gsm.wav",
    "x.gsm",
    "x.vox",
    "x.ul",
    "x.al",
    "x.sln",
    "x.amr",
    "x.g722",
    "x.g723_1",
    "g726.wav",
} | {
    "x.g726",
    "x.g726-16",
}


RAW_NAMES = ("x.ul", "x.al", "x.gsm", "x.vox", "x.sln")


def encode(path: Path, waveform: np.ndarray) -> Path:
    """Write (channels, samples) at 8 kHz in the format given by the file's name."""
    if path.name in SOUNDFILE:
        container, subtype = SOUNDFILE[path.name]
        with soundfile.SoundFile(
            path, "w", 8000, len(waveform), subtype, format=container
        ) as file:
            # libsndfile's Vorbis crashes on minutes at once, and its VOX needs an even
            # number of samples.
            for block in np.array_split(waveform.T, 1 + waveform.shape[1] // 400_000):
                file.write(
                    block[: len(block) // 2 * 2] if subtype == "VOX_ADPCM" else block
                )
        return path
    container, codec, rate, options = FFMPEG[path.name]
    waveform = soxr.resample(waveform.T, 8000, rate).T if rate != 8000 else waveform
    with av.open(str(path), "w", format=container) as file:
        stream = file.add_stream(
            codec,
            rate=rate,
            options=options,
            layout="stereo" if len(waveform) == 2 else "mono",
        )
        pcm = (np.clip(waveform, -1, 1) * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(
            pcm.T.reshape(1, -1).copy(), "s16", stream.layout.name
        )
        frame.rate = rate
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            file.mux(packet)
    return path


def decode(
    path: Path, raw: RawOptions = RawOptions()
) -> tuple[np.ndarray, int, list[str]]:
    with open_audio(path, raw) as audio:
        blocks = list(audio)
        return np.concatenate(blocks, axis=1), audio.sample_rate, audio.notes


def lag_s(heard: np.ndarray, sent: np.ndarray, rate: int) -> float:
    """Return the delay of one waveform after another, by cross-correlation."""
    n = 1 << (len(heard) + len(sent) - 1).bit_length()
    correlation = np.fft.irfft(np.fft.rfft(heard, n) * np.conj(np.fft.rfft(sent, n)), n)
    peak = int(np.argmax(correlation))
    return (peak - n if peak > n // 2 else peak) / rate


def wav_header(
    data_bytes: int,
    channels: int = 1,
    rate: int = 8000,
    format_tag: int = 1,
    bits: int = 16,
) -> bytes:
    frame = channels * bits // 8
    fmt = struct.pack(
        "<HHIIHH", format_tag, channels, rate, rate * frame % 2**32, frame % 2**16, bits
    )
    body = (
        b"WAVEfmt "
        + struct.pack("<I", len(fmt))
        + fmt
        + b"data"
        + struct.pack("<I", data_bytes)
    )
    return b"RIFF" + struct.pack("<I", len(body) + data_bytes) + body


def backdate(folder: Path) -> Path:
    """Date everything in a folder one minute back."""
    then = time.time() - 60
    for path in [folder, *folder.rglob("*")]:
        if path.exists() and not path.is_symlink():
            os.utime(path, (then, then))
    return folder


def write_call(path: Path, waveform: np.ndarray, subtype: str = "PCM_16") -> Path:
    """Write (channels, samples) at 8 kHz, dated one minute back."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(os.fsencode(path), waveform.T, 8000, format="WAV", subtype=subtype)
    os.utime(path, (time.time() - 60,) * 2)
    return path
