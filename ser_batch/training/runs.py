"""The trainings that the options ask for: who is in which, and what each one gives."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ser_batch.bundles import load_bundle
from ser_batch.calibration import Calibration
from ser_batch.errors import UsageError
from ser_batch.features import Features
from ser_batch.model import CnnBiLstm
from ser_batch.training.conditions import heard
from ser_batch.training.corpora import Clip
from ser_batch.training.data import Batch
from ser_batch.training.fit import Fitted, Monitor, fit_network, save_state
from ser_batch.training.material import Material, prepare
from ser_batch.training.metrics import Predictions, answered, figures, uar
from ser_batch.training.metrics import confusion as confusion_matrix
from ser_batch.training.predict import predict_logits
from ser_batch.training.recipe import Recipe
from ser_batch.training.split import Split, check_labels, speaker_folds, split_randomly, split_speakers

TEST_CONDITIONS = ("clean", "g711", "gsm", "telephone", "noise=10dB")
CALIBRATED_ON = ("clean", "telephone")


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """What is trained, on what, and where."""

    corpora: tuple[str, ...]
    """Each as `NAME=PATH`."""
    out: Path
    recipe_name: str
    recipe: Recipe
    split: Literal["speakers", "random"] = "speakers"
    folds: bool = False
    """Test on every fold in turn, then train the bundle on everyone."""
    test_fold: int = 1
    """Without folds."""
    seed: int = 0
    n_seeds: int = 1
    """With folds: so many trainings of each fold."""
    noise: Path | None = None
    labels: tuple[str, ...] | None = None
    label_map: Mapping[str, str] = field(default_factory=dict)
    initial: str | None = None
    """A bundle whose features, network and weights are started from."""
    device: str = "auto"
    workers: int = 1
    tensorboard: Path | None = None
    quiet: bool = False
    tuned: dict[str, Any] | None = None
    """What a search chose on the validation speakers, if there was one."""


@dataclass(frozen=True, slots=True)
class Run:
    """One training: its split and its seed."""

    split: Split
    seed: int

    @property
    def name(self) -> str:
        return f"{self.split.name}, seed {self.seed}"

    @property
    def stem(self) -> str:
        """The name as a file's."""
        return self.name.replace(" ", "-").replace(",", "")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one training gave: its network, its history, and logits of held-out clips by part and condition."""

    run: Run
    fitted: Fitted
    logits: dict[str, dict[str, Tensor]]


def material_for(options: TrainOptions) -> Material:
    """The corpora that the options name, decoded for their recipe."""
    recipe = options.recipe
    bar = partial(tqdm, desc="reading", unit="clip", disable=options.quiet, leave=False)
    return prepare(
        options.corpora, recipe.features.sample_rate, recipe.data.trim_silence, bar, options.noise,
        options.labels, options.label_map,
    )  # fmt: skip


def all_runs(options: TrainOptions, material: Material) -> list[Run]:
    """All trainings in order; with folds, the last one is on everyone."""
    config, seeds = options.recipe.data, range(options.seed, options.seed + options.n_seeds)
    if options.split == "random":
        runs = [Run(split_randomly(material.corpora, config, options.seed), options.seed)]
    else:
        folds = speaker_folds(material.corpora, options.seed)
        # Where a fixed number of epochs is kept, nobody needs to select one of them.
        select = options.recipe.fit.keep != "last"
        if options.folds:
            runs = [
                Run(split_speakers(material.corpora, fold, config, select, seed, f"fold {n}"), seed)
                for seed in seeds
                for n, fold in enumerate(folds, 1)
            ]
            runs.append(
                Run(split_speakers(material.corpora, set(), config, select, options.seed, "everyone"), options.seed)
            )
        else:
            if not 1 <= options.test_fold <= len(folds):
                raise UsageError(f"there are folds 1 to {len(folds)} here, and no fold {options.test_fold}")
            fold = folds[options.test_fold - 1]
            name = f"fold {options.test_fold}"
            runs = [Run(split_speakers(material.corpora, fold, config, True, options.seed, name), options.seed)]
    for run in runs:
        material.notes.extend(n for n in check_labels(run.split, material.labels) if n not in material.notes)
    return runs


def first_run(options: TrainOptions, material: Material) -> Run:
    """The first training that the options ask for."""
    return all_runs(options, material)[0]


def fit_run(
    run: Run,
    options: TrainOptions,
    material: Material,
    device: torch.device,
    work: Path,
    initial: dict[str, Tensor] | None,
    say: Callable[[str], None],
) -> Fitted:
    """Trains one run; its state lies in `work`."""
    recipe, split = options.recipe, run.split
    clips = [*split.train, *split.validation]
    identity = {
        "recipe": recipe,
        "seed": run.seed,
        "split": split.speakers() if options.split == "speakers" else [clip.name for clip in split.train],
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
        predicted = answered(truth, right, predict_logits(features, network, waves).argmax(-1).numpy())
        matrix = confusion_matrix(truth, predicted, len(material.labels))
        return {"validation_accuracy": float(np.mean(predicted == truth)), "validation_uar": uar(matrix)}

    with _logged(options, run.name) as log:

        def on_epoch(row: dict[str, float]) -> None:
            text = f"{run.name}, epoch {row['epoch'] + 1}: loss {row['loss']:.3f}"
            if validation:
                text += f", validation accuracy {row['validation_accuracy']:.1%}, UAR {row['validation_uar']:.1%}"
            say(text)
            log(row)

        def bar(batches: Iterable[Batch], n: int) -> Iterable[Batch]:
            return tqdm(batches, total=n, leave=False, disable=options.quiet, unit="batch")

        return fit_network(
            recipe, material.calls(split.train, recipe), validate, len(material.labels), run.seed, device,
            options.workers, work / f"{run.stem}.pt", identity, Monitor(bar, on_epoch), initial,
        )  # fmt: skip


def carry_out(
    run: Run,
    options: TrainOptions,
    material: Material,
    device: torch.device,
    work: Path,
    initial: dict[str, Tensor] | None,
    say: Callable[[str], None],
) -> Outcome:
    """Trains and tests one run; if it was finished before, what it gave is read."""
    fitted = fit_run(run, options, material, device, work, initial, say)
    split, logits_file = run.split, work / f"{run.stem}-logits.pt"
    # What is kept belongs to these weights and these clips, and to nothing else.
    weights = hashlib.sha256(b"".join(t.cpu().numpy().tobytes() for t in fitted.network.state_dict().values()))
    identity = weights.hexdigest() + material.fingerprints([*split.validation, *split.test])["clips"]
    kept = torch.load(logits_file, weights_only=True) if logits_file.exists() else {}
    if kept.get("identity") != identity:
        logits = {
            part: _held_out_logits(fitted, getattr(split, part), conditions, material, run.seed)
            for part, conditions in (("validation", CALIBRATED_ON), ("test", TEST_CONDITIONS))
        }
        kept = {"identity": identity, "logits": logits}
        save_state(logits_file, kept)
    logits = kept["logits"]
    for condition in ("clean", "clean, context"):
        if condition in logits["test"]:
            _, predictions = predictions_of(Outcome(run, fitted, logits), "test", condition, Calibration(), material)
            reached = figures([predictions], material.labels)["uar"]
            say(f"{run.name}, {condition}: UAR {reached:.1%} on its test clips")
    return Outcome(run, fitted, logits)


def _held_out_logits(
    fitted: Fitted, clips: Sequence[Clip], conditions: Sequence[str], material: Material, seed: int
) -> dict[str, Tensor]:
    """By condition; with ", context" behind it where the others of the speaker's clips are the context."""
    logits = {}
    waves = [utterance.speech for utterance in material.of(clips)]
    speakers = [clip.speaker for clip in clips]
    for condition in conditions if clips else ():
        changed = heard(waves, fitted.features.config.sample_rate, condition, seed)
        logits[condition] = predict_logits(fitted.features, fitted.network, changed)
        if fitted.features.config.context_s:
            logits[f"{condition}, context"] = predict_logits(fitted.features, fitted.network, changed, speakers)
    return logits


def predictions_of(
    outcome: Outcome, part: str, condition: str, calibration: Calibration, material: Material
) -> tuple[np.ndarray, Predictions]:
    """The corpus of each clip, and what the run says of it."""
    clips = getattr(outcome.run.split, part)
    truth, right = material.truth(clips)
    probabilities = calibration.probabilities(outcome.logits[part][condition]).numpy()
    kept = probabilities.max(axis=1) >= calibration.abstain_below
    speakers = [clip.speaker for clip in clips]
    predictions = Predictions(outcome.run.name, truth, right, probabilities, speakers, kept)
    return np.array([clip.corpus for clip in clips]), predictions


@contextmanager
def _logged(options: TrainOptions, name: str) -> Iterator[Callable[[dict[str, float]], None]]:
    """Takes each epoch's row to TensorBoard, if asked to."""
    if options.tensorboard is None:
        yield lambda row: None
        return
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(options.tensorboard / name)) as writer:

        def log(row: dict[str, float]) -> None:
            for key, value in row.items():
                writer.add_scalar(key, value, int(row["epoch"]))

        yield log
