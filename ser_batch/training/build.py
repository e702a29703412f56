"""Corpora in, a bundle out: read, split by speaker, fit, calibrate, test once, write."""

import dataclasses
import hashlib
import platform
from collections.abc import Callable, Iterable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from ser_batch import __version__
from ser_batch.bundles import Bundle, save_bundle
from ser_batch.calibration import Calibration, fit_calibration
from ser_batch.features import Mfcc
from ser_batch.inference import resolve_device
from ser_batch.model import CnnBiLstm
from ser_batch.training.augmentation import CODECS, Telephone, add_noise, band_limit, coloured_noise, through_codec
from ser_batch.training.card import card_text
from ser_batch.training.corpora import LABELS, Corpus, read_corpora
from ser_batch.training.data import (
    Utterance,
    Utterances,
    fingerprint,
    load_noises,
    load_utterances,
    loader,
    ordered_batches,
)
from ser_batch.training.fit import TrainConfig, fit_network, predict_logits
from ser_batch.training.metrics import figures
from ser_batch.training.split import split_speakers

COVERAGE = 0.8
"""The share of validation clips on which the model does not abstain."""


def train_bundle(
    specs: list[str],
    out: Path,
    config: TrainConfig,
    noise: Path | None = None,
    device: str = "auto",
    workers: int = 1,
    quiet: bool = False,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Trains a model on corpora given as `NAME=DIR`, writes its bundle to `out`, and returns its metrics.

    A training that was stopped goes on where it was when it is started again in the same way.

    Raises:
        CorpusError: a corpus is not there, not complete, or leaves no speakers to test on.
        UsageError: `out` holds a checkpoint of another training.
    """
    corpora = read_corpora(specs)
    split = split_speakers(corpora, config.test_fold, config.seed)
    target = resolve_device(device)
    sample_rate = config.features.sample_rate
    noises = load_noises(noise, sample_rate)
    parts: dict[str, list[Utterance]] = {}
    for name in ("train", "validation", "test"):
        parts[name] = load_utterances(
            getattr(split, name), sample_rate, partial(tqdm, desc=f"reading {name}", disable=quiet)
        )
    corpus_labels = {corpus.name: corpus.labels for corpus in corpora}
    telephone = Telephone(config.augmentation, sample_rate, noises)
    sets = {name: Utterances(utterances, LABELS, corpus_labels, telephone) for name, utterances in parts.items()}
    data = {name: fingerprint(utterances) for name, utterances in parts.items()}
    data["noise"] = hashlib.sha256(b"".join(wave.tobytes() for wave in noises)).hexdigest()
    out.mkdir(parents=True, exist_ok=True)
    checkpoint = out / "checkpoint.pt"

    def on_epoch(row: dict[str, float]) -> None:
        say(
            f"epoch {row['epoch'] + 1}: loss {row['loss']:.3f}, validation UAR {row['validation_uar_clean']:.3f} "
            f"as recorded, {row['validation_uar_telephone']:.3f} by telephone"
        )

    def bar(batches: Iterable, n: int) -> Iterable:
        return tqdm(batches, total=n, leave=False, disable=quiet, unit="batch")

    features, network, history = fit_network(
        config, sets["train"], sets["validation"], len(LABELS), target, workers, checkpoint, data, bar, on_epoch
    )
    calibration = _calibrate(features, network, sets["validation"], config, target)
    licence = "; ".join(f"{corpus.title}: {corpus.licence}" for corpus in corpora)
    bundle = Bundle(
        out.name,
        LABELS,
        config.features,
        network.config,
        calibration,
        f"for research and other non-commercial use, as the corpora it was trained on ({licence})"
        if "NC" in licence
        else licence,
        {},
    )
    metrics = {
        "ser_version": __version__,
        "protocol": "Speaker-independent: nobody is in two of train, validation and test. Clips are cut to their "
        "speech, as analysis does it. Epoch and calibration were chosen on the validation speakers; the test "
        "speakers were looked at once, by the program that wrote this file.",
        "speakers": split.speakers(),
        "clips": {name: len(utterances) for name, utterances in parts.items()},
        "corpora": {c.name: {"title": c.title, "licence": c.licence, "labels": c.labels} for c in corpora},
        "data_sha256": data,
        "noise": {"folder": noise.name, "files": len(noises)} if noise else None,
        "config": dataclasses.asdict(config),
        "versions": {
            "python": platform.python_version(),
            **{
                name: version(name)
                for name in ("torch", "torchaudio", "numpy", "scipy", "soxr", "soundfile", "silero-vad")
            },
        },
        "device": str(target),
        "history": history,
        "calibration": {"temperature": calibration.temperature, "abstain_below": calibration.abstain_below},
        "test": _test(features, network, calibration, corpora, parts["test"], config, target),
    }
    save_bundle(out, bundle, network, metrics, card_text(out.name, metrics, bundle))
    checkpoint.unlink()
    return metrics


def _calibrate(
    features: Mfcc, network: CnnBiLstm, validation: Utterances, config: TrainConfig, device: torch.device
) -> Calibration:
    """Calibrates on the validation speakers, as recorded and by telephone."""
    orders = [ordered_batches(len(validation.utterances), config.batch_size, seed) for seed in (None, config.seed)]
    logits = [predict_logits(features, network, loader(validation, order, 0), device) for order in orders]
    right = torch.from_numpy(validation.truth()[1])
    return fit_calibration(torch.cat(logits), torch.cat([right, right]), COVERAGE)


CONDITIONS: dict[str, Callable[[np.ndarray, int, np.random.Generator], np.ndarray]] = {
    "clean": lambda wave, _rate, _rng: wave,
    "g711": lambda wave, rate, _rng: through_codec(band_limit(wave, rate, 300, 3400), rate, CODECS[0]),
    "gsm": lambda wave, rate, _rng: through_codec(band_limit(wave, rate, 300, 3400), rate, CODECS[2]),
    "noise=10dB": lambda wave, _rate, rng: add_noise(wave, coloured_noise(len(wave), 1.0, rng), 10.0),
}
"""How the test clips are heard: at the model's rate; over a fixed line; over a mobile; in pink noise."""


def _test(
    features: Mfcc,
    network: CnnBiLstm,
    calibration: Calibration,
    corpora: list[Corpus],
    utterances: list[Utterance],
    config: TrainConfig,
    device: torch.device,
) -> dict[str, dict[str, Any]]:
    """Figures by corpus and condition. The model may answer any of its labels, as it may in use."""
    results: dict[str, dict[str, Any]] = {}
    for corpus in corpora:
        own = [utterance for utterance in utterances if utterance.clip.corpus == corpus.name]
        if not own:
            continue
        results[corpus.name] = {}
        for condition, heard in CONDITIONS.items():
            changed = [
                dataclasses.replace(
                    u,
                    waveform=heard(u.speech, config.features.sample_rate, np.random.default_rng([config.seed, i])),
                    speech_start=0,
                    speech_end=len(u.speech),
                )
                for i, u in enumerate(own)
            ]
            test = Utterances(changed, LABELS, {corpus.name: corpus.labels}, Telephone(config.augmentation, 8000))
            batches = loader(test, ordered_batches(len(own), config.batch_size, None), 0)
            probabilities = calibration.probabilities(predict_logits(features, network, batches, device)).numpy()
            results[corpus.name][condition] = figures(
                *test.truth(), probabilities, [u.clip.speaker for u in own], LABELS, calibration.abstain_below
            )
    return results
