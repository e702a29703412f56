"""`ser stream` replays recordings and raw audio as calls."""

import io
import json
import os
import pty
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import ser_batch
from ser_batch.audio.opening import open_audio
from ser_batch.cli.live_display import Timeline
from ser_batch.live.encodings import Encoding, decode
from ser_batch.live.events import SegmentScored, SpeechHeard
from ser_batch.live.replay import packets_of, raw_packets
from tests.support.commands import command_line, ser
from tests.support.paths import EXAMPLES

STEREO = EXAMPLES / "billing" / "1001.wav"


def events(said: str) -> list[dict]:
    return [json.loads(line) for line in said.splitlines()]


def finals(said: str) -> list[tuple]:
    return sorted(
        (e["start_s"], e["end_s"], e["channel"], e["label"])
        for e in events(said)
        if e["event"] == "segment" and e["is_final"]
    )


def test_final_events_of_a_file_are_the_rows_of_the_batch(profiled_bundle):
    done = ser(
        "stream", STEREO, "--speed", "0", "--roles", "agent,customer", "--json",
        "--bundle", profiled_bundle,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    call = ser_batch.load(str(profiled_bundle), "cpu").analyze(
        STEREO, ["agent", "customer"]
    )
    columns = call.segments[["start_s", "end_s", "channel", "label"]]
    rows = [tuple(row) for row in columns.itertuples(index=False)]
    assert [own[:3] for own in finals(done.stdout)] == [
        (round(a, 6), round(b, 6), c) for a, b, c, _ in rows
    ]
    assert [own[3] for own in finals(done.stdout)] == [row[3] for row in rows]
    assert events(done.stdout)[-1]["event"] == "ended"


@pytest.mark.parametrize("encoding", ["mulaw", "s16"])
def test_raw_audio_from_a_pipe_gives_what_its_file_gives(
    encoding, profiled_bundle, tmp_path, monkeypatch
):
    waveform, rate = soundfile.read(STEREO, dtype="float32", always_2d=True)
    subtype = {"mulaw": "ULAW", "s16": "PCM_16"}[encoding]
    path, raw = tmp_path / "call.wav", tmp_path / "call.raw"
    soundfile.write(path, waveform, rate, subtype)
    soundfile.write(raw, waveform, rate, subtype, format="RAW")
    common = ("--roles", "agent,customer", "--json", "--bundle", profiled_bundle)
    file = ser("stream", path, "--speed", "0", *common)
    monkeypatch.setattr(
        sys, "stdin", io.TextIOWrapper(io.BytesIO(raw.read_bytes() + b"\0"))
    )
    piped = ser(
        "stream", "-", "--channels", 2, "--rate", rate, "--encoding", encoding, *common
    )
    assert piped.returncode == 0, piped.stderr
    assert finals(piped.stdout) == finals(file.stdout)
    assert finals(piped.stdout)


def test_lines_say_who_was_heard_and_what_the_model_makes_of_it(profiled_bundle):
    done = ser(
        "stream", STEREO, EXAMPLES / "billing" / "1003-broken.wav", "--speed", "0",
        "--roles", "agent,customer", "--bundle", profiled_bundle,
    )  # fmt: skip
    assert done.returncode == 3
    assert "1003-broken.wav: unrecognised audio" in done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == str(STEREO)
    assert all(" customer " in line for line in lines[1:-2])
    assert "segments scored, distress of customer 0." in lines[-2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--encoding", "opus"], "mulaw, alaw and s16"),
        (["--roles", "boss"], "score.roles"),
        (["--bundle", "nothing"], "no bundle"),
        (["--profile", "nothing.json"], "cannot be read"),
        (["--mix", "--roles", "agent,customer"], "cannot be told apart"),
    ],
)
def test_wrong_options_are_refused(options, message):
    done = ser("stream", STEREO, *options)
    assert done.returncode == 2
    assert message in done.stderr


def test_a_configuration_file_counts_as_for_the_batch(profiled_bundle, tmp_path):
    options = tmp_path / "ser.toml"
    options.write_text("[vad]\ncrosstalk = false\n[segments]\nmax_s = 2.0\n")
    common = ("--speed", "0", "--json", "--bundle", profiled_bundle)
    short = finals(ser("stream", STEREO, "--config", options, *common).stdout)
    assert max(end - start for start, end, *_ in short) <= 2.0
    assert len(short) > len(finals(ser("stream", STEREO, *common).stdout))


def test_notes_of_the_decoder_are_told_at_the_end(profiled_bundle, tmp_path):
    path = tmp_path / "short.wav"
    path.write_bytes(STEREO.read_bytes()[:-200_000])
    done = ser("stream", path, "--speed", "0", "--json", "--bundle", profiled_bundle)
    (note,) = events(done.stdout)[-1]["notes"]
    assert "truncated" in note
    soundfile.write(path, np.zeros((0, 1)), 8000)
    empty = ser("stream", path, "--bundle", profiled_bundle)
    assert empty.returncode == 3
    assert "no samples" in empty.stderr


def test_two_voices_in_one_channel_fail_alone_among_other_files(profiled_bundle):
    mono = EXAMPLES / "delivery" / "2002.wav"
    common = ("--speed", "0", "--roles", "agent,customer", "--bundle", profiled_bundle)
    alone = ser("stream", mono, *common)
    assert alone.returncode == 2
    both = ser("stream", mono, STEREO, *common)
    assert both.returncode == 3
    assert "cannot be told apart" in alone.stderr
    assert "cannot be told apart" in both.stderr
    assert "segments scored" in both.stdout


def test_a_closed_pipe_and_a_terminal_as_input_end_it_at_once(profiled_bundle):
    command = command_line(
        "stream", STEREO, "--speed", "0", "--json", "--bundle", profiled_bundle
    )
    reader, writer = os.pipe()
    os.close(reader)
    assert subprocess.run(command, stdout=writer).returncode == 141
    os.close(writer)
    own, theirs = pty.openpty()
    command = command_line("stream", "-", "--bundle", profiled_bundle)
    said = subprocess.run(command, stdin=theirs, capture_output=True, text=True)
    os.close(own)
    os.close(theirs)
    assert said.returncode == 2
    assert "standard input is a terminal" in said.stderr


def test_ctrl_c_ends_the_call_and_tells_what_was_heard(profiled_bundle):
    running = subprocess.Popen(
        command_line(
            "stream", STEREO, "--bundle", profiled_bundle, "--json", "--speed", "5"
        ),
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert running.stdout is not None
    first = running.stdout.readline()
    running.send_signal(signal.SIGINT)
    said, _ = running.communicate(timeout=60)
    assert running.returncode == 130
    assert events(first)
    assert events(said)[-1]["event"] == "ended"
    assert events(said)[-1]["duration_s"] < 57


@pytest.mark.parametrize("speed", [1.0, 4.0])
def test_packets_come_at_the_time_at_which_a_call_would_have_brought_them(
    speed, monkeypatch
):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", lambda s: now.__setitem__(0, now[0] + s))
    heard = 0
    with open_audio(STEREO) as audio:
        for packet in packets_of(audio, speed):
            heard += packet.shape[1]
            due_s = heard / audio.sample_rate / speed
            assert now[0] - 100.0 == pytest.approx(due_s, abs=1e-6)
    assert heard == soundfile.info(STEREO).frames


@given(st.binary(max_size=400), st.integers(1, 3), st.integers(1, 50))
def test_raw_audio_is_the_same_however_the_pipe_delivers_it(data, channels, size):
    class Pipe(io.BytesIO):
        def read1(self, n=-1):
            return super().read1(min(size, n))

    for encoding in Encoding:
        frame = channels * encoding.sample_bytes
        whole = data[: len(data) // frame * frame]
        expected = decode(whole, encoding).reshape(-1, channels).T
        found = list(raw_packets(Pipe(data), 8000, channels, encoding))
        joined = np.concatenate([np.zeros((channels, 0), np.float32), *found], axis=1)
        np.testing.assert_array_equal(joined, expected)


@pytest.mark.parametrize("encoding", [Encoding.MULAW, Encoding.ALAW])
def test_g711_is_decoded_as_libsndfile_does(encoding, tmp_path):
    codes = bytes(range(256))
    path = tmp_path / "all.raw"
    path.write_bytes(codes)
    kind = {Encoding.MULAW: "ULAW", Encoding.ALAW: "ALAW"}[encoding]
    expected, _ = soundfile.read(
        path, channels=1, samplerate=8000, subtype=kind, format="RAW", dtype="float32"
    )
    np.testing.assert_array_equal(decode(codes, encoding), expected)


def test_the_timeline_shows_the_last_minute_of_each_channel():
    timeline = Timeline(["agent", "customer"])
    timeline.add(SpeechHeard(0, "agent", 1.0, 2.5))
    scored = SegmentScored(
        1, "customer", 3.0, 4.5, "angry", 0.9, {"angry": 0.9}, 0.9, -20.0, {}, True
    )
    timeline.add(scored)
    assert timeline.strip(0, 5.0) == "·──···"
    assert timeline.strip(1, 5.0) == "···██·"
    assert timeline.strip(1, 63.0) == "█" + "·" * 59
    assert timeline.distress(1) == pytest.approx(0.9)
    assert timeline.distress(0) is None


def test_a_terminal_shows_the_timeline_below_the_lines(monkeypatch):
    from ser_batch.cli import live_display

    screen = Console(
        file=io.StringIO(), force_terminal=True, width=100, legacy_windows=False
    )
    monkeypatch.setattr(live_display, "Terminal", lambda **_: screen)
    with live_display.LiveDisplay(["agent", "customer"]) as display:
        display.at(5.0)
        display.show(SpeechHeard(0, "agent", 1.0, 2.5))
        assert display._live is not None
        display._live.refresh()
    assert isinstance(screen.file, io.StringIO)
    assert "agent" in screen.file.getvalue()
    assert "·──···" in screen.file.getvalue()
