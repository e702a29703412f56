"""Every format decodes to the original call, with correct times."""

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
def test_every_call_recorder_format_decodes_to_the_original_call(name, tmp_path, call):
    sent = call[:, : 8000 * 12]
    sent = sent[1:] if name in MONO_ONLY else sent
    heard, rate, notes = decode(encode(tmp_path / name, sent))
    assert len(heard) == len(sent)
    assert heard.dtype == np.float32
    # AAC in ADTS and WMA add padding and a delay of up to 130 ms.
    assert heard.shape[1] / rate == pytest.approx(sent.shape[1] / 8000, abs=0.2)
    for channel in range(len(sent)):
        back = (
            soxr.resample(heard[channel], rate, 8000)
            if rate != 8000
            else heard[channel]
        )
        assert abs(lag_s(back, sent[channel], 8000)) <= 0.13
        # The speech keeps its level and its channel.
        assert np.std(back) == pytest.approx(np.std(sent[channel]), rel=0.35)
    assert not notes


def test_the_content_of_a_file_overrides_its_extension(tmp_path, call):
    path = encode(tmp_path / "x.flac", call)
    disguised = path.rename(tmp_path / "x.ul")
    assert decode(disguised)[0].shape == call.shape


def test_raw_files_are_read_with_the_configured_rate_and_channels(tmp_path, call):
    path = tmp_path / "x.ul"
    soundfile.write(path, call.T, 16000, format="RAW", subtype="ULAW")
    waveform, rate, _ = decode(path, RawOptions(16000, 2))
    assert (waveform.shape, rate) == (call.shape, 16000)


def test_raw_extensions_mark_audio_and_text_has_no_audio_signature():
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
def test_the_last_samples_survive_a_block_boundary_just_before_them(
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
def test_concatenated_recordings_are_read_to_the_end(name, tmp_path, call):
    sent = call[:1, : 8000 * 12] if name in MONO_ONLY else call[:, : 8000 * 12]
    parts = [
        encode(tmp_path / name, part).read_bytes()
        for part in (sent[:, :56_000], sent[:, 56_000:])
    ]
    (tmp_path / name).write_bytes(b"".join(parts))
    heard, rate, _ = decode(tmp_path / name)
    # The codec adds padding at the join as well.
    assert heard.shape[1] / rate == pytest.approx(12, abs=0.5)


def test_chunks_after_the_samples_are_not_read_as_audio(tmp_path, call):
    pcm = (call[0] * 32767).astype("<i2").tobytes()
    path = tmp_path / "x.wav"
    path.write_bytes(
        wav_header(len(pcm)) + pcm + b"LIST" + struct.pack("<I", 8000) + bytes(8000)
    )
    assert decode(path)[0].shape[1] == call.shape[1]


def test_a_variable_bit_rate_mp3_is_read_to_the_end(tmp_path):
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
    # Drop the first frame: it stores the number of frames, which some recorders omit.
    start = data.index(
        b"\xff\xfb", data.index(b"Xing") if b"Xing" in data else data.index(b"Info")
    )
    path = tmp_path / "x.mp3"
    path.write_bytes(data[start:])
    heard, rate, _ = decode(path)
    assert heard.shape[1] / rate == pytest.approx(60, abs=0.2)


def test_raw_audio_with_an_impossible_channel_count_is_refused(
    tmp_path,
):
    (tmp_path / "x.gsm").write_bytes(bytes(3300))
    with pytest.raises(AudioError, match="GSM610 with 2 channels.*raw files"):
        open_audio(tmp_path / "x.gsm", RawOptions(channels=2))


def test_a_video_without_sound_is_refused(tmp_path):
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


def test_eight_channel_aac_decodes_to_eight_channels(tmp_path, call):
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


def test_tags_in_any_encoding_are_accepted(tmp_path, call):
    path = encode(tmp_path / "x.mp3", call)
    tag = b"TAG" + "Müller".encode("latin-1").ljust(30, b"\0") + bytes(95)
    path.write_bytes(path.read_bytes() + tag)
    assert decode(path)[0].shape[1] == pytest.approx(call.shape[1], abs=4000)


def test_samples_with_64_bits_are_decoded(tmp_path):
    wave = (np.sin(np.arange(8000) / 5) * 2**62).astype("<i8")
    (tmp_path / "x.wav").write_bytes(
        wav_header(64000, format_tag=1, bits=64) + wave.tobytes()
    )
    heard, _, _ = decode(tmp_path / "x.wav")
    assert np.abs(heard[0] - wave / 2**63).max() < 1e-6


def test_ffmpeg_does_not_read_chunks_after_the_samples_as_audio(tmp_path, call):
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


def test_a_codec_that_libsndfile_cannot_seek_produces_no_noise(tmp_path, call):
    path = tmp_path / "x.aiff"
    soundfile.write(path, call[0, :16_000], 8000, format="AIFF", subtype="DWVW_16")
    try:
        heard = decode(path)[0]
    except (AudioError, ValueError):  # refusing the file is fine too
        return
    assert heard.shape[1] <= 16_000
