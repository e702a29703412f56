"""Decoding: every format gives the call that went in, on the same clock."""

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
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_batch.audio.decoders import RawOptions
from ser_batch.audio.opening import open_audio, read_mono
from ser_batch.audio.resampling import Resampler
from ser_batch.errors import AudioError
from ser_batch.sources.formats import RAW_EXTENSIONS, has_signature, named_as_audio

SOUNDFILE = {
    "pcm8.wav": ("WAV", "PCM_U8"), "pcm16.wav": ("WAV", "PCM_16"), "pcm24.wav": ("WAV", "PCM_24"),
    "pcm32.wav": ("WAV", "PCM_32"), "float.wav": ("WAV", "FLOAT"), "double.wav": ("WAV", "DOUBLE"),
    "ulaw.wav": ("WAV", "ULAW"), "alaw.wav": ("WAV", "ALAW"), "gsm.wav": ("WAV", "GSM610"),
    "ima.wav": ("WAV", "IMA_ADPCM"), "ms.wav": ("WAV", "MS_ADPCM"), "x.flac": ("FLAC", "PCM_16"),
    "x.mp3": ("MP3", "MPEG_LAYER_III"), "opus.ogg": ("OGG", "OPUS"), "vorbis.ogg": ("OGG", "VORBIS"),
    "x.w64": ("W64", "PCM_16"), "x.rf64": ("RF64", "PCM_16"), "x.aiff": ("AIFF", "PCM_16"), "x.au": ("AU", "ULAW"),
    "x.ul": ("RAW", "ULAW"), "x.al": ("RAW", "ALAW"), "x.gsm": ("RAW", "GSM610"), "x.vox": ("RAW", "VOX_ADPCM"),
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
MONO_ONLY = {"gsm.wav", "x.gsm", "x.vox", "x.ul", "x.al", "x.sln", "x.amr", "x.g722", "x.g723_1", "g726.wav"} | {
    "x.g726",
    "x.g726-16",
}


RAW_NAMES = ("x.ul", "x.al", "x.gsm", "x.vox", "x.sln")


def encode(path: Path, waveform: np.ndarray) -> Path:
    """Writes (channels, samples) at 8 kHz in the format that the file's name stands for."""
    if path.name in SOUNDFILE:
        container, subtype = SOUNDFILE[path.name]
        with soundfile.SoundFile(path, "w", 8000, len(waveform), subtype, format=container) as file:
            # libsndfile's Vorbis crashes on minutes at once, and its VOX takes no odd number of samples.
            for block in np.array_split(waveform.T, 1 + waveform.shape[1] // 400_000):
                file.write(block[: len(block) // 2 * 2] if subtype == "VOX_ADPCM" else block)
        return path
    container, codec, rate, options = FFMPEG[path.name]
    waveform = soxr.resample(waveform.T, 8000, rate).T if rate != 8000 else waveform
    with av.open(str(path), "w", format=container) as file:
        stream = file.add_stream(codec, rate=rate, options=options, layout="stereo" if len(waveform) == 2 else "mono")
        pcm = (np.clip(waveform, -1, 1) * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(pcm.T.reshape(1, -1).copy(), "s16", stream.layout.name)
        frame.rate = rate
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            file.mux(packet)
    return path


def decode(path: Path, raw: RawOptions = RawOptions()) -> tuple[np.ndarray, int, list[str]]:
    with open_audio(path, raw) as audio:
        blocks = list(audio)
        return np.concatenate(blocks, axis=1), audio.sample_rate, audio.notes


def lag_s(heard: np.ndarray, sent: np.ndarray, rate: int) -> float:
    """By how much one waveform is behind another, by cross-correlation."""
    n = 1 << (len(heard) + len(sent) - 1).bit_length()
    correlation = np.fft.irfft(np.fft.rfft(heard, n) * np.conj(np.fft.rfft(sent, n)), n)
    peak = int(np.argmax(correlation))
    return (peak - n if peak > n // 2 else peak) / rate


@pytest.mark.parametrize("name", [*SOUNDFILE, *FFMPEG])
def test_every_format_of_call_recorders_gives_the_call_that_went_in(name, tmp_path, call):
    sent = call[:, : 8000 * 12]
    sent = sent[1:] if name in MONO_ONLY else sent
    heard, rate, notes = decode(encode(tmp_path / name, sent))
    assert len(heard) == len(sent)
    assert heard.dtype == np.float32
    # AAC in ADTS and WMA pad and delay by up to 130 ms.
    assert heard.shape[1] / rate == pytest.approx(sent.shape[1] / 8000, abs=0.2)
    for channel in range(len(sent)):
        back = soxr.resample(heard[channel], rate, 8000) if rate != 8000 else heard[channel]
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
    assert all(named_as_audio(f"CALL{extension.upper()}") for extension in RAW_EXTENSIONS)
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
def test_the_last_samples_are_the_same_where_a_block_ends_just_before_them(tmp_path, call, monkeypatch, left):
    path = encode(tmp_path / "opus.ogg", call[:, : 8000 * 4 + left])
    whole, *_ = decode(path)
    for seconds in (1, 2):
        monkeypatch.setattr("ser_batch.audio.decoders.BLOCK_S", seconds)
        assert np.array_equal(decode(path)[0], whole)


@given(st.sampled_from([8000, 11025, 22050, 44100, 48000]), st.sampled_from([8000, 16000]), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_resampling_in_blocks_equals_resampling_at_once(from_rate, to_rate, seed):
    rng = np.random.default_rng(seed)
    waveform = rng.normal(0, 0.1, (2, int(rng.integers(1, 3 * from_rate)))).astype(np.float32)
    at_once = soxr.resample(waveform.T, from_rate, to_rate, "HQ").T if from_rate != to_rate else waveform
    resampler, out, at = Resampler(from_rate, to_rate, 2), [], 0
    while at < waveform.shape[1]:
        size = int(rng.integers(1, from_rate))
        out.append(resampler.push(waveform[:, at : at + size]))
        at += size
    together = np.concatenate([*out, resampler.finish()], axis=1)
    assert abs(together.shape[1] - at_once.shape[1]) <= 1
    n = min(together.shape[1], at_once.shape[1])
    np.testing.assert_allclose(together[:, :n], at_once[:, :n], atol=1e-5)


@pytest.mark.parametrize(("from_rate", "to_rate"), [(8000, 16000), (44100, 16000), (44100, 8000)])
def test_the_clock_is_exact_to_a_sample_after_ten_hours(from_rate, to_rate):
    resampler = Resampler(from_rate, to_rate, 1)
    minute = np.zeros((1, 60 * from_rate), np.float32)
    last = minute.copy()
    click = 37 * from_rate + 1234  # in the last minute
    last[0, click] = 1
    before = sum(resampler.push(minute).shape[1] for _ in range(599))
    tail = np.concatenate([resampler.push(last), resampler.finish()], axis=1)[0]
    assert before + len(tail) == 36_000 * to_rate
    heard = before + int(np.argmax(tail))
    assert abs(heard - (599 * 60 * from_rate + click) * to_rate / from_rate) <= 1


def wav_header(data_bytes: int, channels: int = 1, rate: int = 8000, format_tag: int = 1, bits: int = 16) -> bytes:
    frame = channels * bits // 8
    fmt = struct.pack("<HHIIHH", format_tag, channels, rate, rate * frame % 2**32, frame % 2**16, bits)
    body = b"WAVEfmt " + struct.pack("<I", len(fmt)) + fmt + b"data" + struct.pack("<I", data_bytes)
    return b"RIFF" + struct.pack("<I", len(body) + data_bytes) + body


def test_a_truncated_file_gives_what_is_there_and_says_so(tmp_path, call):
    path = encode(tmp_path / "pcm16.wav", call)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    waveform, _, notes = decode(path)
    assert waveform.shape[1] == pytest.approx(call.shape[1] / 2, abs=50)
    np.testing.assert_allclose(waveform, call[:, : waveform.shape[1]], atol=1e-4)
    assert any("breaks off" in note for note in notes)


SAY_THEIR_LENGTH = {*SOUNDFILE, "x.webm", "g726.wav"} - set(RAW_NAMES)


@pytest.mark.parametrize("name", [*SOUNDFILE, *FFMPEG])
def test_a_recording_that_breaks_off_keeps_what_came_before_however_it_is_read(name, tmp_path, call, monkeypatch):
    whole = encode(tmp_path / name, call[:1, : 8000 * 12] if name in MONO_ONLY else call[:, : 8000 * 12])
    waveform, rate, _ = decode(whole)
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    if name == "x.m4a":
        with pytest.raises(AudioError, match="has it been copied whole"):
            decode(whole)
        return
    lengths = []
    for block_s in (0.05, 1.0, 15.0):
        monkeypatch.setattr("ser_batch.audio.decoders.BLOCK_S", block_s)
        heard, _, notes = decode(whole)
        lengths.append(heard.shape[1])
        assert np.allclose(heard[:, : 5 * rate], waveform[:, : 5 * rate], atol=1e-4)
        assert any("breaks off" in note for note in notes) == (name in SAY_THEIR_LENGTH)
    assert len(set(lengths)) == 1
    assert 6 < lengths[0] / rate < 7.5


@pytest.mark.parametrize("name", ["opus.ogg", "vorbis.ogg", "x.flac", "x.mp3", "x.aac", "x.amr", "x.webm", "x.ul"])
def test_recordings_that_were_joined_end_to_end_are_read_to_the_end(name, tmp_path, call):
    sent = call[:1, : 8000 * 12] if name in MONO_ONLY else call[:, : 8000 * 12]
    parts = [encode(tmp_path / name, part).read_bytes() for part in (sent[:, :56_000], sent[:, 56_000:])]
    (tmp_path / name).write_bytes(b"".join(parts))
    heard, rate, _ = decode(tmp_path / name)
    assert heard.shape[1] / rate == pytest.approx(12, abs=0.5)  # padding of the codec, once more


def test_what_libsndfile_has_read_before_an_error_is_kept(tmp_path, call, monkeypatch):
    path = encode(tmp_path / "x.flac", call[:, : 8000 * 12])
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    monkeypatch.setattr("ser_batch.audio.libsndfile.SoundfileDecoder._stops_early", lambda self: False)
    heard, rate, notes = decode(path)
    assert 4 < heard.shape[1] / rate < 7.5
    assert np.allclose(heard, call[:, : heard.shape[1]], atol=1e-4)
    assert f"breaks off at {heard.shape[1] / rate:.2f} s" in notes[0]


def test_a_damaged_stretch_of_flac_is_silence_on_the_same_clock(tmp_path, call):
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
def test_a_header_that_lies_about_its_length_loses_nothing(tmp_path, claimed, call):
    pcm = (call[0] * 32767).astype("<i2").tobytes()
    path = tmp_path / "x.wav"
    path.write_bytes(wav_header(0)[:40] + struct.pack("<I", claimed) + pcm)
    waveform, _, _ = decode(path)
    assert waveform.shape[1] == pytest.approx(call.shape[1], abs=25)  # FFmpeg takes whole packets


def test_what_follows_the_samples_of_a_sound_file_is_no_audio(tmp_path, call):
    pcm = (call[0] * 32767).astype("<i2").tobytes()
    path = tmp_path / "x.wav"
    path.write_bytes(wav_header(len(pcm)) + pcm + b"LIST" + struct.pack("<I", 8000) + bytes(8000))
    assert decode(path)[0].shape[1] == call.shape[1]


def test_an_mp3_of_varying_bit_rate_is_read_to_its_end(tmp_path):
    rng = np.random.default_rng(0)
    waveform = np.concatenate([rng.normal(0, 0.3, 30 * 44100), rng.normal(0, 0.0001, 30 * 44100)])
    coded = io.BytesIO()
    soundfile.write(coded, waveform, 44100, format="MP3", bitrate_mode="VARIABLE", compression_level=0.5)
    data = coded.getvalue()
    # Without the first frame, which holds the count of frames that some recorders never write.
    start = data.index(b"\xff\xfb", data.index(b"Xing") if b"Xing" in data else data.index(b"Info"))
    path = tmp_path / "x.mp3"
    path.write_bytes(data[start:])
    heard, rate, _ = decode(path)
    assert heard.shape[1] / rate == pytest.approx(60, abs=0.2)


def test_raw_audio_that_cannot_have_so_many_channels_is_refused_with_the_reason(tmp_path):
    (tmp_path / "x.gsm").write_bytes(bytes(3300))
    with pytest.raises(AudioError, match="GSM610 of 2 channels.*raw files"):
        open_audio(tmp_path / "x.gsm", RawOptions(channels=2))


def test_samples_that_are_no_numbers_become_silence_and_are_noted(tmp_path, call):
    waveform = call.copy()
    waveform[0, 100:200], waveform[1, 300], waveform[1, 301] = np.nan, np.inf, 1e30
    path = tmp_path / "x.wav"
    soundfile.write(path, waveform.T, 8000, subtype="FLOAT")
    heard, _, notes = decode(path)
    assert np.isfinite(heard).all()
    assert (heard[0, 100:200] == 0).all()
    assert (heard[1, 300:302] == 0).all()
    np.testing.assert_array_equal(heard[0, 200:], call[0, 200:])
    assert notes == ["samples that are not finite numbers, taken as silence"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.wav", b"", "empty"),
        ("text.wav", b"Dear analyst, this is a letter, not a call.\n" * 20, "unrecognised audio"),
        ("text.mp3", b"Dear analyst, this is a letter, not a call.\n" * 20, "unrecognised audio"),
        ("header.wav", b"RIFF\x00\x00", "unrecognised audio"),
        ("zero.wav", wav_header(16000, channels=0) + bytes(16000), "no audio|0 channels"),
        ("nine.wav", wav_header(18000, channels=9) + bytes(18000), "9 channels"),
        ("slow.wav", wav_header(16000, rate=1) + bytes(16000), "sample rate of 1 Hz"),
        ("playlist.wav", b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n/etc/passwd\n", "unrecognised audio"),
        ("list.wav", b"ffconcat version 1.0\nfile /etc/passwd\n", "unrecognised audio"),
    ],
)
def test_what_is_no_call_is_refused_with_the_reason(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(AudioError, match=message):
        decode(path)


def test_a_file_that_is_not_there_is_refused_with_the_reason(tmp_path):
    with pytest.raises(AudioError, match="cannot be read.*No such file"):
        open_audio(tmp_path / "none.wav")


def test_a_video_without_sound_holds_no_audio(tmp_path):
    path = tmp_path / "x.mp4"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mpeg4", rate=10, width=16, height=16, pix_fmt="yuv420p")
        frame = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), "rgb24")
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            file.mux(packet)
    with pytest.raises(AudioError, match="holds no audio stream"):
        open_audio(path)


def test_lost_packets_leave_silence_of_their_length(tmp_path, call):
    source = io.BytesIO(encode(tmp_path / "x.webm", np.tile(call, 2)[:, : 8000 * 30]).read_bytes())
    path = tmp_path / "gap.webm"
    with av.open(source) as whole, av.open(str(path), "w", format="webm") as broken:
        stream = broken.add_stream_from_template(whole.streams.audio[0])
        for packet in whole.demux(whole.streams.audio[0]):
            if packet.dts is not None and not 10 <= packet.pts * packet.time_base < 12:
                packet.stream = stream
                broken.mux(packet)
    heard, rate, notes = decode(path)
    assert notes == ["2.00 s missing at 9.99 s, taken as silence"]
    assert heard.shape[1] / rate == pytest.approx(30, abs=0.1)
    assert np.abs(heard[:, int(10.3 * rate) : int(11.7 * rate)]).max() == 0
    back = soxr.resample(heard[0, 12 * rate :], rate, 8000)
    assert abs(lag_s(back, np.tile(call, 2)[0, 96_000:240_000], 8000)) < 0.02


def test_eight_channels_of_aac_are_eight_channels(tmp_path, call):
    with av.open(str(tmp_path / "x.m4a"), "w", format="ipod") as file:
        stream = file.add_stream("aac", rate=48000, layout="7.1")
        pcm = np.stack([call[0, :8000] * (i + 1) / 8 for i in range(8)]).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(pcm.T.reshape(1, -1)), "flt", "7.1")
        frame.rate = 48000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            file.mux(packet)
    heard, rate, _ = decode(tmp_path / "x.m4a")
    assert (len(heard), rate) == (8, 48000)
    levels = np.sqrt((heard**2).mean(axis=1))
    assert levels[7] > levels[0] > 0


def test_a_header_that_points_to_nowhere_is_refused_with_the_reason(tmp_path, call):
    whole = encode(tmp_path / "x.w64", call[:, :8000]).read_bytes()
    for at in range(0, 140, 3):  # what is neither decoded nor refused with a reason, fails here
        (tmp_path / "bad.w64").write_bytes(whole[:at] + b"\xff\xff\xff\x7f" + whole[at + 4 :])
        with suppress(AudioError):
            decode(tmp_path / "bad.w64")


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


def test_a_packet_that_cannot_be_decoded_costs_itself_alone(tmp_path, call):
    path = encode(tmp_path / "x.amr", call[1:, : 8000 * 12])
    data = bytearray(path.read_bytes())
    for number in range(200, 210):  # frames of 32 bytes behind a magic of 6: made comfort noise, which is not decoded
        data[6 + 32 * number] = 0x7C
    path.write_bytes(bytes(data))
    heard, rate, _ = decode(path)
    assert heard.shape[1] / rate > 11


def test_a_clock_that_jumps_by_years_invents_no_more_than_hours_of_silence(tmp_path, call):
    source = encode(tmp_path / "x.webm", call[:, : 8000 * 10])
    path = tmp_path / "bomb.mka"
    with av.open(str(source)) as whole, av.open(str(path), "w", format="matroska") as bomb:
        stream = bomb.add_stream_from_template(whole.streams.audio[0])
        for number, packet in enumerate(whole.demux(whole.streams.audio[0])):
            if packet.dts is not None:
                shift = int(5 * 3600 * (number // 100) / packet.time_base)
                packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                packet.stream = stream
                bomb.mux(packet)
    with open_audio(path) as audio:
        length_s = sum(block.shape[1] for block in audio) / audio.sample_rate
        assert any(note.startswith("18000.0") and "missing at" in note for note in audio.notes)
    assert 5 * 3600 < length_s < 6.1 * 3600


def test_samples_of_64_bits_are_samples(tmp_path):
    wave = (np.sin(np.arange(8000) / 5) * 2**62).astype("<i8")
    (tmp_path / "x.wav").write_bytes(wav_header(64000, format_tag=1, bits=64) + wave.tobytes())
    heard, _, _ = decode(tmp_path / "x.wav")
    assert np.abs(heard[0] - wave / 2**63).max() < 1e-6


def test_an_unknown_codec_is_a_reason_that_one_understands(tmp_path):
    path = tmp_path / "x.wav"
    path.write_bytes(wav_header(16000, format_tag=0x7777, bits=16) + bytes(16000))
    with pytest.raises(AudioError, match="unknown|no audio|cannot be read"):
        decode(path)


def muxed(path: Path, codec: str, sent: np.ndarray, start_s: float = 0, video_s: float = 0, **options: str) -> Path:
    """Audio at 48 kHz in any container, from `start_s` on its clock; with pictures if they last for any time."""
    with av.open(str(path), "w", options=options) as file:
        video = file.add_stream("mjpeg", rate=1, width=64, height=64, pix_fmt="yuvj420p") if video_s else None
        stream = file.add_stream(codec, rate=48_000, layout="mono")
        pcm = (np.clip(soxr.resample(sent[0], 8000, 48_000), -1, 1) * 32767).astype(np.int16)
        for at in range(0, len(pcm) - 960, 960):
            frame = av.AudioFrame.from_ndarray(pcm[None, at : at + 960].copy(), "s16", "mono")
            frame.rate, frame.pts, frame.time_base = 48_000, at + round(start_s * 48_000), Fraction(1, 48_000)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
        for second in range(round(video_s)):
            picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), "rgb24")
            picture.pts, picture.time_base = second, Fraction(1, 1)
            file.mux(video.encode(picture))
        if video:
            file.mux(video.encode(None))
    return path


def test_a_sound_recording_is_never_said_to_break_off(tmp_path, call):
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
    # An MP3 whose tags speak of Information, and end in forty kilobytes: FFmpeg takes them for audio of some length.
    frames = made[5].read_bytes()
    frames = frames[10 + (frames[6] << 21 | frames[7] << 14 | frames[8] << 7 | frames[9]) :]
    comment = b"COMM" + struct.pack(">IH", 30, 0) + b"\0engCall Information, Xing too."[:30].ljust(30)
    tag = b"ID3\x03\0\0" + bytes([0, 0, 0, len(comment)]) + comment
    made.append(tmp_path / "tagged.mp3")
    made[-1].write_bytes(tag + frames + b"APETAGEX" + bytes(40_000))
    for path in made:
        heard, rate, notes = decode(path)
        assert heard.shape[1] / rate == pytest.approx(6, abs=0.3), path.name
        assert not [note for note in notes if "breaks off" in note], (path.name, notes)


def test_chunks_behind_the_samples_of_a_wav_that_ffmpeg_reads_are_no_audio(tmp_path, call):
    path = encode(tmp_path / "g726.wav", call[:1, : 8000 * 6])
    path.write_bytes(path.read_bytes() + b"LIST" + struct.pack("<I", 8000) + b"INFO" + bytes(range(256)) * 31)
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
