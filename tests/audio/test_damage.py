"""Truncated and damaged recordings keep all readable audio, with correct times."""

import io
import struct
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import soxr

from ser_batch.audio.opening import open_audio
from ser_batch.errors import AudioError
from tests.support.recordings import (
    FFMPEG,
    MONO_ONLY,
    RAW_NAMES,
    SOUNDFILE,
    decode,
    encode,
    lag_s,
    wav_header,
)


def test_a_truncated_file_keeps_everything_before_the_break(tmp_path, call):
    path = encode(tmp_path / "pcm16.wav", call)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    waveform, _, notes = decode(path)
    assert waveform.shape[1] == pytest.approx(call.shape[1] / 2, abs=50)
    np.testing.assert_allclose(waveform, call[:, : waveform.shape[1]], atol=1e-4)
    assert any("truncated" in note for note in notes)


@pytest.mark.parametrize("name", [*SOUNDFILE, *FFMPEG])
def test_a_truncated_recording_keeps_the_same_samples_for_every_block_size(
    name, tmp_path, call, monkeypatch
):
    whole = encode(
        tmp_path / name,
        call[:1, : 8000 * 12] if name in MONO_ONLY else call[:, : 8000 * 12],
    )
    waveform, rate, _ = decode(whole)
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    if name == "x.m4a":
        with pytest.raises(AudioError, match="is the copy complete"):
            decode(whole)
        return
    lengths = []
    for block_s in (0.05, 1.0, 15.0):
        monkeypatch.setattr("ser_batch.audio.decoders.BLOCK_S", block_s)
        heard, _, notes = decode(whole)
        lengths.append(heard.shape[1])
        assert np.allclose(heard[:, : 5 * rate], waveform[:, : 5 * rate], atol=1e-4)
        assert any("truncated" in note for note in notes) == (name in GIVES_LENGTH)
    assert len(set(lengths)) == 1
    assert 6 < lengths[0] / rate < 7.5


def test_samples_that_libsndfile_read_before_an_error_are_kept(
    tmp_path, call, monkeypatch
):
    path = encode(tmp_path / "x.flac", call[:, : 8000 * 12])
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    monkeypatch.setattr(
        "ser_batch.audio.libsndfile.SoundfileDecoder._stops_early", lambda self: False
    )
    heard, rate, notes = decode(path)
    assert 4 < heard.shape[1] / rate < 7.5
    assert np.allclose(heard, call[:, : heard.shape[1]], atol=1e-4)
    assert f"truncated at {heard.shape[1] / rate:.2f} s" in notes[0]


def test_a_damaged_stretch_of_flac_becomes_silence_of_the_same_length(tmp_path, call):
    path = encode(tmp_path / "x.flac", call[:, : 8000 * 12])
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 300] = bytes(300)
    path.write_bytes(data)
    heard, _, notes = decode(path)
    assert heard.shape[1] == 8000 * 12
    assert any("missing at" in note for note in notes)
    kept = np.isclose(heard, call[:, : 8000 * 12], atol=1e-4)
    silent = heard == 0
    assert (kept | silent).all()
    assert kept.mean() > 0.8


@pytest.mark.parametrize("claimed", [0, 16000, 10 * 3600 * 16000, 0xFFFFFFFF])
def test_a_header_with_a_wrong_length_loses_no_audio(tmp_path, claimed, call):
    pcm = (call[0] * 32767).astype("<i2").tobytes()
    path = tmp_path / "x.wav"
    path.write_bytes(wav_header(0)[:40] + struct.pack("<I", claimed) + pcm)
    waveform, _, _ = decode(path)
    # FFmpeg reads whole packets.
    assert waveform.shape[1] == pytest.approx(call.shape[1], abs=25)


def test_non_finite_samples_become_silence_and_are_noted(tmp_path, call):
    waveform = call.copy()
    waveform[0, 100:200], waveform[1, 300], waveform[1, 301] = np.nan, np.inf, 1e30
    path = tmp_path / "x.wav"
    soundfile.write(path, waveform.T, 8000, subtype="FLOAT")
    heard, _, notes = decode(path)
    assert np.isfinite(heard).all()
    assert (heard[0, 100:200] == 0).all()
    assert (heard[1, 300:302] == 0).all()
    np.testing.assert_array_equal(heard[0, 200:], call[0, 200:])
    assert notes == ["non-finite samples replaced with silence"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.wav", b"", "empty"),
        (
            "text.wav",
            b"Dear analyst, this is a letter, not a call.\n" * 20,
            "unrecognised audio",
        ),
        (
            "text.mp3",
            b"Dear analyst, this is a letter, not a call.\n" * 20,
            "unrecognised audio",
        ),
        ("header.wav", b"RIFF\x00\x00", "unrecognised audio"),
        (
            "zero.wav",
            wav_header(16000, channels=0) + bytes(16000),
            "no audio|0 channels",
        ),
        ("nine.wav", wav_header(18000, channels=9) + bytes(18000), "9 channels"),
        ("slow.wav", wav_header(16000, rate=1) + bytes(16000), "sample rate of 1 Hz"),
        (
            "playlist.wav",
            b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n/etc/passwd\n",
            "unrecognised audio",
        ),
        ("list.wav", b"ffconcat version 1.0\nfile /etc/passwd\n", "unrecognised audio"),
    ],
)
def test_files_without_usable_audio_are_refused_with_a_reason(
    tmp_path, name, content, message
):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(AudioError, match=message):
        decode(path)


def test_a_missing_file_is_refused_with_a_reason(tmp_path):
    with pytest.raises(AudioError, match="cannot be read.*No such file"):
        open_audio(tmp_path / "none.wav")


def test_lost_packets_become_silence_of_the_same_length(tmp_path, call):
    source = io.BytesIO(
        encode(tmp_path / "x.webm", np.tile(call, 2)[:, : 8000 * 30]).read_bytes()
    )
    path = tmp_path / "gap.webm"
    with av.open(source) as whole, av.open(str(path), "w", format="webm") as broken:
        stream = broken.add_stream_from_template(whole.streams.audio[0])
        for packet in whole.demux(whole.streams.audio[0]):
            if packet.dts is not None and not 10 <= packet.pts * packet.time_base < 12:
                packet.stream = stream
                broken.mux(packet)
    heard, rate, notes = decode(path)
    assert notes == ["2.00 s missing at 9.99 s, replaced with silence"]
    assert heard.shape[1] / rate == pytest.approx(30, abs=0.1)
    assert np.abs(heard[:, int(10.3 * rate) : int(11.7 * rate)]).max() == 0
    back = soxr.resample(heard[0, 12 * rate :], rate, 8000)
    assert abs(lag_s(back, np.tile(call, 2)[0, 96_000:240_000], 8000)) < 0.02


def test_a_header_with_invalid_values_never_crashes_the_decoder(tmp_path, call):
    whole = encode(tmp_path / "x.w64", call[:, :8000]).read_bytes()
    # A file that is neither decoded nor refused with a reason fails the test.
    for at in range(0, 140, 3):
        (tmp_path / "bad.w64").write_bytes(
            whole[:at] + b"\xff\xff\xff\x7f" + whole[at + 4 :]
        )
        with suppress(AudioError):
            decode(tmp_path / "bad.w64")


def test_only_the_undecodable_packets_are_lost(tmp_path, call):
    path = encode(tmp_path / "x.amr", call[1:, : 8000 * 12])
    data = bytearray(path.read_bytes())
    # After a magic number of 6 bytes come frames of 32 bytes each. These ten become
    # comfort noise, which cannot be decoded.
    for number in range(200, 210):
        data[6 + 32 * number] = 0x7C
    path.write_bytes(bytes(data))
    heard, rate, _ = decode(path)
    assert heard.shape[1] / rate > 11


def test_jumping_timestamps_add_at_most_a_few_hours_of_silence(tmp_path, call):
    source = encode(tmp_path / "x.webm", call[:, : 8000 * 10])
    path = tmp_path / "bomb.mka"
    with (
        av.open(str(source)) as whole,
        av.open(str(path), "w", format="matroska") as bomb,
    ):
        stream = bomb.add_stream_from_template(whole.streams.audio[0])
        for number, packet in enumerate(whole.demux(whole.streams.audio[0])):
            if packet.dts is not None:
                shift = int(5 * 3600 * (number // 100) / packet.time_base)
                packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                packet.stream = stream
                bomb.mux(packet)
    with open_audio(path) as audio:
        length_s = sum(block.shape[1] for block in audio) / audio.sample_rate
        assert any(
            note.startswith("18000.0") and "missing at" in note for note in audio.notes
        )
    assert 5 * 3600 < length_s < 6.1 * 3600


def test_an_unknown_codec_is_refused_with_a_clear_reason(tmp_path):
    path = tmp_path / "x.wav"
    path.write_bytes(wav_header(16000, format_tag=0x7777, bits=16) + bytes(16000))
    with pytest.raises(AudioError, match="unknown|no audio|cannot be read"):
        decode(path)


def test_an_intact_recording_is_never_reported_as_truncated(tmp_path, call):
    sent = call[:, : 8000 * 6]
    made = [
        muxed(tmp_path / "late.webm", "libopus", sent, start_s=5),
        muxed(tmp_path / "video.mkv", "libopus", sent, video_s=12),
        muxed(tmp_path / "live.mkv", "libopus", sent, live="1"),
        muxed(tmp_path / "late.m4a", "aac", sent, start_s=5),
        muxed(tmp_path / "video.mp4", "aac", sent, video_s=12),
        muxed(tmp_path / "bare.mp3", "libmp3lame", sent, write_xing="0"),
        muxed(tmp_path / "whole.mp3", "libmp3lame", sent),
    ]
    # An MP3 with "Info" and "Xing" in its comment and a tag of forty kilobytes at the
    # end, which FFmpeg mistakes for audio.
    frames = made[5].read_bytes()
    frames = frames[
        10 + (frames[6] << 21 | frames[7] << 14 | frames[8] << 7 | frames[9]) :
    ]
    comment = (
        b"COMM"
        + struct.pack(">IH", 30, 0)
        + b"\0engCall Information, Xing too."[:30].ljust(30)
    )
    tag = b"ID3\x03\0\0" + bytes([0, 0, 0, len(comment)]) + comment
    made.append(tmp_path / "tagged.mp3")
    made[-1].write_bytes(tag + frames + b"APETAGEX" + bytes(40_000))
    for path in made:
        heard, rate, notes = decode(path)
        assert heard.shape[1] / rate == pytest.approx(6, abs=0.3), path.name
        assert not [note for note in notes if "truncated" in note], (path.name, notes)


GIVES_LENGTH = {*SOUNDFILE, "x.webm", "g726.wav"} - set(RAW_NAMES)


def muxed(
    path: Path,
    codec: str,
    sent: np.ndarray,
    start_s: float = 0,
    video_s: float = 0,
    **options: str,
) -> Path:
    """Write audio at 48 kHz to any container, beginning at `start_s` on its clock.

    With `video_s` above zero, the file also has a video stream of that length.
    """
    with av.open(str(path), "w", options=options) as file:
        video = (
            file.add_stream("mjpeg", rate=1, width=64, height=64, pix_fmt="yuvj420p")
            if video_s
            else None
        )
        stream = file.add_stream(codec, rate=48_000, layout="mono")
        pcm = (np.clip(soxr.resample(sent[0], 8000, 48_000), -1, 1) * 32767).astype(
            np.int16
        )
        for at in range(0, len(pcm) - 960, 960):
            frame = av.AudioFrame.from_ndarray(
                pcm[None, at : at + 960].copy(), "s16", "mono"
            )
            frame.rate, frame.pts, frame.time_base = (
                48_000,
                at + round(start_s * 48_000),
                Fraction(1, 48_000),
            )
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
        for second in range(round(video_s)):
            picture = av.VideoFrame.from_ndarray(
                np.zeros((64, 64, 3), np.uint8), "rgb24"
            )
            picture.pts, picture.time_base = second, Fraction(1, 1)
            file.mux(video.encode(picture))
        if video:
            file.mux(video.encode(None))
    return path
