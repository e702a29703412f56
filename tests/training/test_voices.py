"""Training of the voice model, on a few synthetic speakers."""

import json

import numpy as np
import pytest
import soundfile
import soxr

from ser_batch.errors import CorpusError
from ser_batch.speech.diarization import SAMPLE_RATE
from ser_batch.speech.voices import load_voices
from ser_batch.training.corpora.readers import read_corpora
from ser_batch.training.voices import overlaps
from ser_batch.training.voices.building import build
from ser_batch.training.voices.calibrating import _logistic
from ser_batch.training.voices.clips import TEMPI, Clips
from ser_batch.training.voices.conversations import converse, paired, right_share
from ser_batch.training.voices.fitting import discriminant_axes
from ser_batch.training.voices.lines import CROPS, LINES, SPEAKERS, Lines


def buzz(hz: float, seconds: float, seed: int) -> np.ndarray:
    """Return a buzz that the VAD takes for speech now and then, and some noise."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    tone = sum(np.sin(2 * np.pi * k * hz * t) / k for k in range(1, 20))
    envelope = 0.5 + 0.5 * np.sin(2 * np.pi * 3 * t + rng.uniform(0, 6))
    return (0.1 * tone * envelope + rng.normal(0, 0.002, len(t))).astype(np.float32)


def clips_of(speakers: dict[str, float], n: int = 4) -> Clips:
    """Return clips of speakers, each with a pitch of their own."""
    own = [(s, buzz(hz, 1.2, i)) for s, hz in speakers.items() for i in range(n)]
    return Clips([w.astype(np.float16) for _, w in own], [s for s, _ in own])


VOICES = {"a/low": 100.0, "a/high": 220.0, "b/low": 120.0}


def test_a_batch_depends_only_on_the_seed_and_has_no_mean_on_any_line():
    clips = clips_of(VOICES)
    (x, speakers), (again, same), (other, _) = (
        Lines(clips, seed).draw() for seed in (1, 1, 2)
    )
    assert x.shape[0] == LINES * SPEAKERS * CROPS == len(speakers)
    assert x.equal(again)
    assert speakers.equal(same)
    assert x.shape != other.shape or not x.equal(other)
    by_line = x.reshape(LINES, -1, x.shape[2]).mean(1)
    np.testing.assert_allclose(by_line.numpy(), 0, atol=1e-3)


def test_each_tempo_makes_speakers_of_its_own():
    clips = clips_of(VOICES, 2)
    changed = clips.at_tempi()
    assert len(set(changed.speakers)) == len(VOICES) * len(TEMPI)
    own = changed.waveforms[: len(TEMPI)]
    seconds = [len(w) / len(clips.waveforms[0]) for w in own]
    np.testing.assert_allclose(seconds, [1 / tempo for tempo in TEMPI], rtol=1e-3)


def test_conversations_take_turns_and_each_turn_is_where_it_is_said_to_be():
    rng = np.random.default_rng(0)
    clips = clips_of(VOICES)
    call = converse(clips.waveforms[:4], clips.waveforms[4:8], 6, rng)
    assert [who for _, _, who in call.turns] == [0, 1] * 3
    level = np.sqrt(np.square(call.samples).mean())
    for start_s, end_s, _ in call.turns:
        own = call.samples[int(start_s * SAMPLE_RATE) : int(end_s * SAMPLE_RATE)]
        assert np.sqrt(np.square(own).mean()) > 0.2 * level
    for (_, end_s, _), (start_s, _, _) in zip(call.turns, call.turns[1:], strict=False):
        gap = call.samples[
            int((end_s + 0.03) * SAMPLE_RATE) : int((start_s - 0.03) * SAMPLE_RATE)
        ]
        assert np.sqrt(np.square(gap).mean()) < 0.2 * level


def test_only_speakers_of_the_same_corpus_talk_to_each_other():
    clips = clips_of(VOICES)
    assert len(list(paired(clips, [2, 4], 0))) == 2
    assert len(list(paired(clips, [2], 0, with_themselves=True))) == 3


def test_accuracy_is_that_of_the_better_assignment():
    turns = [(0.0, 1.0, 0), (1.0, 2.0, 1)]
    right = [np.array([[0, 10]]), np.array([[10, 20]])]
    assert right_share(turns, right, 0.1) == 1
    assert right_share(turns, right[::-1], 0.1) == 1
    assert right_share(turns, [np.array([[0, 15]]), np.array([[15, 20]])], 0.1) == 0.75


def test_discriminant_axes_give_each_voice_the_same_variation():
    rng = np.random.default_rng(0)
    speakers = np.repeat(np.arange(60), 30).astype(str)
    means = np.repeat(rng.normal(0, 1, (60, 8)) * [3, 1, 1, 1, 1, 1, 1, 1], 30, axis=0)
    spread = rng.normal(0, 1, (8, 8))
    points = means + rng.normal(0, 1, (len(speakers), 8)) @ spread
    axes = discriminant_axes(points, speakers)
    projected = points @ axes
    within = np.mean(
        [np.cov(projected[speakers == s].T) for s in np.unique(speakers)], axis=0
    )
    off = within - np.diag(np.diag(within))
    assert np.abs(off).max() < 0.1
    assert np.all(np.diff(np.diag(within)) <= 0.05)
    assert within.max() < 1.1


def test_the_confidence_curve_follows_the_accuracies():
    separation = np.linspace(0, 10, 200)
    truth = 0.5 + 0.5 / (1 + np.exp(-(0.8 * separation - 3)))
    slope, offset = _logistic(separation, truth)
    assert slope == pytest.approx(0.8, abs=0.05)
    assert offset == pytest.approx(-3, abs=0.2)


@pytest.mark.slow
def test_training_writes_a_model_that_loads_and_leaves_speakers_out(
    tmp_path, call, monkeypatch
):
    monkeypatch.setattr(overlaps, "CONVERSATIONS", 3)
    # The VAD hears the voices of the example call, at several pitches.
    agent, customer = call
    for speaker, tempo in ((90, 0.8), (110, 0.9), (130, 1), (160, 1.1), (230, 1.25)):
        voice = agent if speaker < 150 else customer
        # Half of the call is enough for each to speak often.
        half = voice[: len(voice) // 2]
        changed = soxr.resample(half, SAMPLE_RATE * tempo, SAMPLE_RATE)
        for i, label in enumerate(["angry", "calm", "happy", "sad"]):
            folder = tmp_path / "corpus" / label / str(speaker)
            folder.mkdir(parents=True)
            start = i * len(changed) // 4
            wave = changed[start : start + len(changed) // 4]
            soundfile.write(folder / f"{i}.wav", wave, SAMPLE_RATE)
    (tmp_path / "readers").mkdir()
    for name in ("1-1-0001", "2-1-0001", "2-1-0002"):
        own = tmp_path / "readers" / f"{name}.flac"
        soundfile.write(own, buzz(140, 1, 5), SAMPLE_RATE)
    built = build(
        read_corpora([f"folder={tmp_path / 'corpus'}"]),
        tmp_path / "readers",
        frozenset({"corpus/90"}),
        frozenset({"corpus/110", "corpus/230"}),
        steps=2,
        seed=3,
        out=tmp_path / "voices",
    )
    loaded = load_voices(tmp_path / "voices")
    assert loaded.weights.keys() == built.weights.keys()
    for name, own in built.weights.items():
        np.testing.assert_array_equal(loaded.weights[name], own, name)
    assert loaded.overlap_above == built.overlap_above
    training = json.loads((tmp_path / "voices" / "voices.json").read_text())["training"]
    assert training["held_out"] == ["corpus/90", "readers/2"]
    assert training["speakers"] == 3
    assert (training["steps"], training["seed"]) == (2, 3)
    card = (tmp_path / "voices" / "README.md").read_text()
    assert "Held out: corpus/90, readers/2." in card
    assert "3 speakers" in card
    with pytest.raises(CorpusError, match="no such speakers: corpus/none"):
        build(
            read_corpora([f"folder={tmp_path / 'corpus'}"]), None,
            frozenset({"corpus/none"}), frozenset({"corpus/110"}), 1, 0,
            tmp_path / "other",
        )  # fmt: skip
