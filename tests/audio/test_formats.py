"""Decoding: every format gives the call that went in, on the same clock."""

import io
import struct

import av
import numpy as np
import pytest
import soundfile
import soxr

from ser_batch.audio.decoders import RawOptions
from ser_batch.audio.opening import open_audio, read_mono
from ser_batch.errors import AudioError
from ser_batch.sources.formats import RAW_EXTENSIONS, has_signature, named_as_audio
from tests.support.recordings import (
    FFMPEG,
    MONO_ONLY,
    SOUNDFILE,
    decode,
    encode,
    lag_s,
    wav_header,
)


@pytest.mark.parametrize("name", [*SOUNDFILE, *FFMPEG])
def test_every_format_of_call_recorders_gives_the_call_that_went_in(
    name, tmp_path, call
):
    sent = call[:, : 8000 * 12]
    sent = sent[1:] if name in MONO_ONLY else sent
    heard, rate, notes = decode(encode(tmp_path / name, sent))
    assert len(heard) == len(sent)
    assert heard.dtype == np.float32
    # AAC in ADTS and WMA pad and delay by up to 130 ms.
    assert heard.shape[1] / rate == pytest.approx(sent.shape[1] / 8000, abs=0.2)
    for channel in range(len(sent)):
        back = (
            soxr.resample(heard[channel], rate, 8000)
            if rate != 8000
            else heard[channel]
        )
        assert abs(lag_s(back, sent[channel], 8000)) <= 0.13
        # Speech is there, at its level, on its own channel.
        assert np.std(back) == pytest.approx(np.std(sent[channel]), rel=0.35)
    assert not notes


def test_content_counts_more_than_the_name(tmp_path, call):
    path = encode(tmp_path / "x.flac", call)
    disguised = path.rename(tmp_path / "x.ul")
    assert decode(disguised)[0].shape == call.shape


def test_raw_files_are_read_as_told(tmp_path, call):
    path = tmp_path / "x.ul"
    soundfile.write(path, call.T, 16000, format="RAW", subtype="ULAW")
    waveform, rate, _ = decode(path, RawOptions(16000, 2))
    assert (waveform.shape, rate) == (call.shape, 16000)


def test_every_raw_extension_promises_audio_and_no_signature_is_a_text():
    assert all(
        named_as_audio(f"CALL{extension.upper()}") for extension in RAW_EXTENSIONS
    )
    assert not has_signature(b"recording_id,path")
    assert not has_signature(b"\xff" * 16)


def test_blocks_are_bounded_and_in_order(tmp_path, call):
    long = np.tile(call, 3)
    path = encode(tmp_path / "pcm16.wav", long)
    with open_audio(path) as audio:
        blocks = list(audio)
    assert len(blocks) > 3
    assert max(block.shape[1] for block in blocks) <= 15 * 8000
    np.testing.assert_allclose(np.concatenate(blocks, axis=1), long, atol=1e-4)


@pytest.mark.parametrize("left", [5, 10, 14, 18])
def test_the_last_samples_are_the_same_where_a_block_ends_just_before_them(
    tmp_path, call, monkeypatch, left
):
    path = encode(tmp_path / "opus.ogg", call[:, : 8000 * 4 + left])
    whole, *_ = decode(path)
    for seconds in (1, 2):
        monkeypatch.setattr("ser_batch.audio.decoders.BLOCK_S", seconds)
        assert np.array_equal(decode(path)[0], whole)


@pytest.mark.parametrize(
    "name",
    ["opus.ogg", "vorbis.ogg", "x.flac", "x.mp3", "x.aac", "x.amr", "x.webm", "x.ul"],
)
def test_recordings_that_were_joined_end_to_end_are_read_to_the_end(
    name, tmp_path, call
):
    sent = call[:1, : 8000 * 12] if name in MONO_ONLY else call[:, : 8000 * 12]
    parts = [
        encode(tmp_path / name, part).read_bytes()
        for part in (sent[:, :56_000], sent[:, 56_000:])
    ]
    (tmp_path / name).write_bytes(b"".join(parts))
    heard, rate, _ = decode(tmp_path / name)
    assert heard.shape[1] / rate == pytest.approx(
        12, abs=0.5
    )  # padding of the codec, once more


def test_what_follows_the_samples_of_a_sound_file_is_no_audio(tmp_path, call):
    pcm = (call[0] * 32767).astype("<i2").tobytes()
    path = tmp_path / "x.wav"
    path.write_bytes(
        wav_header(len(pcm)) + pcm + b"LIST" + struct.pack("<I", 8000) + bytes(8000)
    )
    assert decode(path)[0].shape[1] == call.shape[1]


def test_an_mp3_of_varying_bit_rate_is_read_to_its_end(tmp_path):
    rng = np.random.default_rng(0)
    waveform = np.concatenate(
        [rng.normal(0, 0.3, 30 * 44100), rng.normal(0, 0.0001, 30 * 44100)]
    )
    coded = io.BytesIO()
    soundfile.write(
        coded,
        waveform,
        44100,
        format="MP3",
        bitrate_mode="VARIABLE",
        compression_level=0.5,
    )
    data = coded.getvalue()
    # Without the first frame, which holds the count of frames that some recorders never write.
    start = data.index(
        b"\xff\xfb", data.index(b"Xing") if b"Xing" in data else data.index(b"Info")
    )
    path = tmp_path / "x.mp3"
    path.write_bytes(data[start:])
    heard, rate, _ = decode(path)
    assert heard.shape[1] / rate == pytest.approx(60, abs=0.2)


def test_raw_audio_that_cannot_have_so_many_channels_is_refused_with_the_reason(
    tmp_path,
):
    (tmp_path / "x.gsm").write_bytes(bytes(3300))
    with pytest.raises(AudioError, match="GSM610 with 2 channels.*raw files"):
        open_audio(tmp_path / "x.gsm", RawOptions(channels=2))


def test_a_video_without_sound_holds_no_audio(tmp_path):
    path = tmp_path / "x.mp4"
    with av.open(str(path), "w") as file:
        stream = file.add_stream(
            "mpeg4", rate=10, width=16, height=16, pix_fmt="yuv420p"
        )
        frame = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), "rgb24")
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            file.mux(packet)
    with pytest.raises(AudioError, match="has no audio stream"):
        open_audio(path)


def test_eight_channels_of_aac_are_eight_channels(tmp_path, call):
    with av.open(str(tmp_path / "x.m4a"), "w", format="ipod") as file:
        stream = file.add_stream("aac", rate=48000, layout="7.1")
        pcm = np.stack([call[0, :8000] * (i + 1) / 8 for i in range(8)]).astype(
            np.float32
        )
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(pcm.T.reshape(1, -1)), "flt", "7.1"
        )
        frame.rate = 48000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            file.mux(packet)
    heard, rate, _ = decode(tmp_path / "x.m4a")
    assert (len(heard), rate) == (8, 48000)
    levels = np.sqrt((heard**2).mean(axis=1))
    assert levels[7] > levels[0] > 0


def test_a_clip_is_read_as_the_mean_of_its_channels(tmp_path, call):
    path = encode(tmp_path / "pcm16.wav", call)
    np.testing.assert_allclose(read_mono(path, 8000), call.mean(axis=0), atol=1e-4)
    assert len(read_mono(path, 16000)) == 2 * call.shape[1]


def test_a_clip_without_samples_is_refused(tmp_path):
    path = tmp_path / "x.wav"
    path.write_bytes(wav_header(0))
    with pytest.raises(AudioError, match="no samples"):
        read_mono(path, 8000)


def test_tags_in_any_encoding_are_no_reason_to_fail(tmp_path, call):
    path = encode(tmp_path / "x.mp3", call)
    tag = b"TAG" + "Müller".encode("latin-1").ljust(30, b"\0") + bytes(95)
    path.write_bytes(path.read_bytes() + tag)
    assert decode(path)[0].shape[1] == pytest.approx(call.shape[1], abs=4000)


def test_samples_of_64_bits_are_samples(tmp_path):
    wave = (np.sin(np.arange(8000) / 5) * 2**62).astype("<i8")
    (tmp_path / "x.wav").write_bytes(
        wav_header(64000, format_tag=1, bits=64) + wave.tobytes()
    )
    heard, _, _ = decode(tmp_path / "x.wav")
    assert np.abs(heard[0] - wave / 2**63).max() < 1e-6


def test_chunks_behind_the_samples_of_a_wav_that_ffmpeg_reads_are_no_audio(
    tmp_path, call
):
    path = encode(tmp_path / "g726.wav", call[:1, : 8000 * 6])
    path.write_bytes(
        path.read_bytes()
        + b"LIST"
        + struct.pack("<I", 8000)
        + b"INFO"
        + bytes(range(256)) * 31
    )
    heard, rate, notes = decode(path)
    assert heard.shape[1] / rate == pytest.approx(6, abs=0.02)
    assert not notes


def test_a_codec_that_libsndfile_cannot_seek_in_gives_no_noise(tmp_path, call):
    path = tmp_path / "x.aiff"
    soundfile.write(path, call[0, :16_000], 8000, format="AIFF", subtype="DWVW_16")
    try:
        heard = decode(path)[0]
    except (AudioError, ValueError):  # nothing was heard at all
        return
    assert heard.shape[1] <= 16_000
