"""Everything together: the voice model with its card."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.numpy import save

from ser_batch.errors import CorpusError
from ser_batch.speech.voices import FORMAT, VoiceModel
from ser_batch.training.corpora.clips import Corpus
from ser_batch.training.voices.calibrating import calibrated
from ser_batch.training.voices.card import voice_card
from ser_batch.training.voices.clips import Clips, read_clips
from ser_batch.training.voices.fitting import fit_network, with_axes
from ser_batch.training.voices.lines import Lines
from ser_batch.training.voices.overlaps import with_overlap
from ser_batch.version import __version__

READERS = "readers/"


def build(
    corpora: Sequence[Corpus],
    readers: Path | None,
    held_out: frozenset[str],
    calibrated_on: frozenset[str],
    steps: int,
    seed: int,
    out: Path,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> VoiceModel:
    """Train a voice model, calibrate it, and write it to `out`.

    Readers with several sentences are held out too: they are for tests.

    Args:
        corpora: emotion corpora: the same voice in many moods.
        readers: a folder of sentences by many readers.
        held_out: speakers, as CORPUS/SPEAKER, that take no part.
        calibrated_on: speakers to calibrate on, which are not trained on either.
        steps: the number of batches.
        seed: of all random draws.
        out: the folder of the model.
        on_step: called after every step with its number and loss.

    Raises:
        CorpusError: a speaker that is named is not in the corpora.
    """
    clips = read_clips(corpora, readers, out / ".training")
    sentences = Counter(clips.speakers)
    several = {s for s, n in sentences.items() if s.startswith(READERS) and n > 1}
    left_out = held_out | calibrated_on | several
    if unknown := (held_out | calibrated_on) - set(sentences):
        names = ", ".join(sorted(unknown))
        raise CorpusError(f"no such speakers: {names}; give CORPUS/SPEAKER")
    learned = clips.of(lambda speaker: speaker not in left_out)
    network = fit_network(Lines(learned.at_tempi(), seed), steps, seed, on_step)
    model = with_overlap(with_axes(network, learned), learned, seed)
    model, figures = calibrated(model, clips.of(calibrated_on.__contains__), seed)
    titles = {corpus.title: corpus.licence for corpus in corpora}
    _write(model, out, {
        "ser_version": __version__,
        "torch": torch.__version__,
        "corpora": titles | ({"LibriSpeech": "CC BY 4.0"} if readers else {}),
        "speakers": len(set(learned.speakers)),
        "clips": _fingerprint(learned),
        "held_out": sorted(held_out | several),
        "calibrated_on": sorted(calibrated_on),
        "steps": steps,
        "seed": seed,
        "calibration": figures,
    })  # fmt: skip
    return model


def _fingerprint(clips: Clips) -> str:
    digest = hashlib.sha256()
    for waveform, speaker in zip(clips.waveforms, clips.speakers, strict=True):
        digest.update(speaker.encode() + waveform.tobytes())
    return digest.hexdigest()[:16]


def _write(model: VoiceModel, out: Path, training: dict[str, Any]) -> None:
    data = save(model.weights)
    out.mkdir(parents=True, exist_ok=True)
    (out / "voices.safetensors").write_bytes(data)
    values = {
        "format": FORMAT,
        "sha256": hashlib.sha256(data).hexdigest(),
        "confidence": model.confidence,
        "separation": model.separation,
        "overlap_above": model.overlap_above,
        "training": training,
    }
    text = json.dumps(values, indent=2, ensure_ascii=False) + "\n"
    (out / "voices.json").write_text(text, encoding="utf-8")
    shape = {
        "width": model.weights["in"].shape[1],
        "parameters": sum(own.size for own in model.weights.values()),
        "axes": model.weights["axes"].shape[1],
    }
    (out / "README.md").write_text(voice_card(training, shape), encoding="utf-8")
