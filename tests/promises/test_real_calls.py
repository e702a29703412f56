"""Real recordings: speech is found where people speak, whatever the codec."""

import os
import threading
from pathlib import Path

import numpy as np
import pytest
import soxr

from ser_batch.audio.opening import open_audio
from ser_batch.config.options import Config
from ser_batch.intervals import Interval, overlap_s, total_s
from ser_batch.pipeline import run
from ser_batch.sources.source import Recording
from ser_batch.speech.decoded import Decoded, Task
from ser_batch.speech.decoding import decode
from ser_batch.speech.silero import SileroVad
from ser_batch.speech.vad import FRAME_S
from tests.support.decoding import job_in
from tests.support.recordings import FFMPEG, MONO_ONLY, SOUNDFILE, encode, lag_s
from tests.support.tables import tables

pytestmark = pytest.mark.corpus


def decoded(path: Path, work: Path) -> Decoded:
    outcome = decode(
        Task(Recording(str(path.parent), path.name), None), job_in(work), SileroVad()
    )
    assert isinstance(outcome, Decoded), outcome
    return outcome


def active(
    segments: list[Interval],
    shift_s: float = 0.0,
    step_s: float = 0.01,
    until_s: float = 125.0,
) -> np.ndarray:
    """Return whether each time step is inside a segment."""
    on = np.zeros(int(until_s / step_s), bool)
    for segment in segments:
        on[
            max(0, round((segment.start_s - shift_s) / step_s)) : max(
                0, round((segment.end_s - shift_s) / step_s)
            )
        ] = True
    return on


def test_detected_speech_matches_the_reference(data, tmp_path):
    call = decoded(data / "vad" / "conversation_2_speakers.flac", tmp_path)
    turns = []
    for line in (
        (data / "vad" / "conversation_2_speakers.rttm").read_text().splitlines()
    ):
        start_s, length_s = (float(field) for field in line.split()[3:5])
        turns.append(Interval(start_s, start_s + length_s))
    found, reference = active(call.speakers[0].speech), active(turns)
    assert (found & reference).sum() / reference.sum() > 0.97
    assert (found & ~reference).sum() / reference.sum() < 0.05


def test_two_channels_are_kept_apart(data, tmp_path):
    call = decoded(data / "calls" / "auto_repairs_40_stereo.wav", tmp_path)
    agent, customer = (own.speech for own in call.speakers)
    assert call.duration_s == pytest.approx(245.38)
    assert total_s(agent) > 30
    assert total_s(customer) > 30
    # People take turns: less than a tenth of the talk is simultaneous.
    assert overlap_s([agent, customer]) < 0.1 * total_s([*agent, *customer])


@pytest.mark.slow
def test_every_format_of_one_call_gives_the_same_speech_and_segments(data, tmp_path):
    with open_audio(data / "calls" / "auto_repairs_40_stereo.wav") as audio:
        whole = np.concatenate(list(audio), axis=1)[:, : 8000 * 60]
    references = {
        n: decoded(old(encode_as(tmp_path / f"{n}.wav", whole[-n:])), tmp_path / "work")
        for n in (1, 2)
    }
    edges, near = 0, 0
    for name in [*SOUNDFILE, *FFMPEG]:
        sent = whole[1:] if name in MONO_ONLY else whole
        path = old(encode(tmp_path / name, sent))
        with open_audio(path) as audio:
            heard, rate = np.concatenate(list(audio), axis=1)[0], audio.sample_rate
        delay_s = lag_s(
            soxr.resample(heard, rate, 8000) if rate != 8000 else heard, sent[0], 8000
        )
        call = decoded(path, tmp_path / "work")
        for reference, channel in zip(
            references[len(sent)].speakers, call.speakers, strict=True
        ):
            same = active(reference.speech) == active(channel.speech, delay_s)
            assert same.mean() > 0.98, name
            there = (
                np.array([(s.start_s, s.end_s) for s in channel.segments]).reshape(-1)
                - delay_s
            )
            for segment in reference.segments:
                for edge_s in (segment.start_s, segment.end_s):
                    edges += 1
                    near += np.abs(there - edge_s).min() <= 2.01 * FRAME_S
    assert near / edges > 0.97


def encode_as(path: Path, waveform: np.ndarray) -> Path:
    return encode(path.with_name("pcm16.wav"), waveform).rename(path)


def old(path: Path) -> Path:
    os.utime(path, (1e9, 1e9))
    return path


def test_the_shipped_model_scores_real_calls_end_to_end(data, tmp_path):
    progress = run([str(data / "calls")], tmp_path / "out", Config(), threading.Event())
    assert (progress.done, progress.failed) == (3, 0)
    rows = tables(tmp_path / "out")["segments"]
    assert len(rows) > 60
    # Staged calls contain several emotions, and the model sometimes abstains.
    assert len({row["label"] for row in rows}) >= 3
