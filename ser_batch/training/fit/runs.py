"""Execution of training runs, and their predictions for held-out clips."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ser_batch.emotion.bundles import load_bundle
from ser_batch.emotion.calibration import Calibration
from ser_batch.emotion.features import Features
from ser_batch.emotion.network import CnnBiLstm
from ser_batch.training.corpora.clips import Clip
from ser_batch.training.data.batches import ClipBatch
from ser_batch.training.data.material import Material
from ser_batch.training.evaluation.conditions import in_condition
from ser_batch.training.evaluation.metrics import (
    Predictions,
    answered,
    evaluation_figures,
    uar,
)
from ser_batch.training.evaluation.metrics import confusion as confusion_matrix
from ser_batch.training.evaluation.prediction import predict_logits
from ser_batch.training.fit.fitting import (
    FitJob,
    Fitted,
    Monitor,
    fit_network,
    save_state,
)
from ser_batch.training.fit.options import Run, TrainOptions

TEST_CONDITIONS = ("clean", "g711", "gsm", "telephone", "noise=10dB")
CALIBRATED_ON = ("clean", "telephone")


@dataclass(frozen=True, slots=True)
class TrainedRun:
    """The result of one training run.

    `logits` are those of held-out clips, by part and condition.
    """

    run: Run
    fitted: Fitted
    logits: dict[str, dict[str, Tensor]]


def fit_run(
    run: Run,
    options: TrainOptions,
    material: Material,
    device: torch.device,
    work: Path,
    initial: dict[str, Tensor] | None,
    say: Callable[[str], None],
) -> Fitted:
    """Train one run, with its checkpoint in `work`."""
    recipe, split = options.recipe, run.split
    clips = [*split.train, *split.validation]
    identity = {
        "recipe": recipe,
        "seed": run.seed,
        "split": split.speakers()
        if options.split == "speakers"
        else [clip.name for clip in split.train],
        "initial": load_bundle(options.initial).model_id if options.initial else "",
        "labels": material.labels,
        **material.fingerprints(clips),
    }
    validation = material.of(split.validation)
    truth, right = material.truth(split.validation)
    waves = [utterance.speech for utterance in validation]

    def validate(features: Features, network: CnnBiLstm) -> dict[str, float]:
        if not validation:
            return {}
        predicted = answered(
            truth, right, predict_logits(features, network, waves).argmax(-1).numpy()
        )
        matrix = confusion_matrix(truth, predicted, len(material.labels))
        return {
            "validation_accuracy": float(np.mean(predicted == truth)),
            "validation_uar": uar(matrix),
        }

    with _logged(options, run.name) as log:

        def on_epoch(row: dict[str, float]) -> None:
            text = f"{run.name}, epoch {row['epoch'] + 1}: loss {row['loss']:.3f}"
            if validation:
                text += (
                    f", validation accuracy {row['validation_accuracy']:.1%}, "
                    f"UAR {row['validation_uar']:.1%}"
                )
            say(text)
            log(row)

        def bar(batches: Iterable[ClipBatch], n: int) -> Iterable[ClipBatch]:
            return tqdm(
                batches, total=n, leave=False, disable=options.quiet, unit="batch"
            )

        job = FitJob(
            recipe=recipe,
            n_labels=len(material.labels),
            seed=run.seed,
            device=device,
            workers=options.workers,
            checkpoint=work / f"{run.stem}.pt",
            identity=identity,
            initial=initial,
        )
        sample_rate = recipe.features.sample_rate
        train = material.calls(split.train, recipe.augmentation, sample_rate)
        return fit_network(job, train, validate, Monitor(bar, on_epoch))


def train_and_test(
    run: Run,
    options: TrainOptions,
    material: Material,
    device: torch.device,
    work: Path,
    initial: dict[str, Tensor] | None,
    say: Callable[[str], None],
) -> TrainedRun:
    """Train and test one run; if it was finished before, load its results."""
    fitted = fit_run(run, options, material, device, work, initial, say)
    split, logits_file = run.split, work / f"{run.stem}-logits.pt"
    # Saved logits are valid only for the same weights and the same clips.
    weights = hashlib.sha256(
        b"".join(
            t.cpu().numpy().tobytes() for t in fitted.network.state_dict().values()
        )
    )
    identity = (
        weights.hexdigest()
        + material.fingerprints([*split.validation, *split.test])["clips"]
    )
    kept = torch.load(logits_file, weights_only=True) if logits_file.exists() else {}
    if kept.get("identity") != identity:
        logits = {
            part: _held_out_logits(
                fitted, getattr(split, part), conditions, material, run.seed
            )
            for part, conditions in (
                ("validation", CALIBRATED_ON),
                ("test", TEST_CONDITIONS),
            )
        }
        kept = {"identity": identity, "logits": logits}
        save_state(logits_file, kept)
    logits = kept["logits"]
    for condition in ("clean", "clean, context"):
        if condition in logits["test"]:
            _, predictions = predictions_of(
                TrainedRun(run, fitted, logits),
                "test",
                condition,
                Calibration(),
                material,
            )
            reached = evaluation_figures([predictions], material.labels)["uar"]
            say(f"{run.name}, {condition}: UAR {reached:.1%} on its test clips")
    return TrainedRun(run, fitted, logits)


def _held_out_logits(
    fitted: Fitted,
    clips: Sequence[Clip],
    conditions: Sequence[str],
    material: Material,
    seed: int,
) -> dict[str, Tensor]:
    """Return logits by condition, with the suffix ", context" where context is used."""
    logits = {}
    waves = [utterance.speech for utterance in material.of(clips)]
    speakers = [clip.speaker for clip in clips]
    for condition in conditions if clips else ():
        changed = in_condition(
            waves, fitted.features.config.sample_rate, condition, seed
        )
        logits[condition] = predict_logits(fitted.features, fitted.network, changed)
        if fitted.features.config.context_s:
            logits[f"{condition}, context"] = predict_logits(
                fitted.features, fitted.network, changed, speakers
            )
    return logits


def predictions_of(
    outcome: TrainedRun,
    part: str,
    condition: str,
    calibration: Calibration,
    material: Material,
) -> tuple[np.ndarray, Predictions]:
    """Return the corpus of each clip, and the predictions of the run."""
    clips = getattr(outcome.run.split, part)
    truth, right = material.truth(clips)
    probabilities = calibration.probabilities(outcome.logits[part][condition]).numpy()
    kept = probabilities.max(axis=1) >= calibration.abstain_below
    speakers = [clip.speaker for clip in clips]
    predictions = Predictions(
        outcome.run.name, truth, right, probabilities, speakers, kept
    )
    return np.array([clip.corpus for clip in clips]), predictions


@contextmanager
def _logged(
    options: TrainOptions, name: str
) -> Iterator[Callable[[dict[str, float]], None]]:
    """Provide a function that logs the row of an epoch to TensorBoard, if requested."""
    if options.tensorboard is None:
        yield lambda row: None
        return
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(options.tensorboard / name)) as writer:

        def log(row: dict[str, float]) -> None:
            for key, value in row.items():
                writer.add_scalar(key, value, int(row["epoch"]))

        yield log
