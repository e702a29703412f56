"""Corpora in, a bundle out: read, split, fit, calibrate, test once, write. Read `train_bundle` first."""

import platform
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ser_batch import __version__
from ser_batch.bundles import Bundle, load_bundle, save_bundle
from ser_batch.calibration import Calibration, fit_calibration
from ser_batch.errors import UsageError
from ser_batch.features import Features
from ser_batch.inference import resolve_device
from ser_batch.model import CnnBiLstm
from ser_batch.plain import to_plain
from ser_batch.training.card import card_text
from ser_batch.training.conditions import heard
from ser_batch.training.corpora import Clip
from ser_batch.training.cost import mflop_per_s
from ser_batch.training.data import Batch
from ser_batch.training.fit import Fitted, Monitor, fit_network, predict_logits, save_state
from ser_batch.training.material import Material, prepare
from ser_batch.training.metrics import Predictions, figures, uar
from ser_batch.training.metrics import confusion as confusion_matrix
from ser_batch.training.plots import draw_training
from ser_batch.training.recipe import Recipe
from ser_batch.training.split import Split, check_labels, speaker_folds, split_randomly, split_speakers

COVERAGE = 0.8
"""The share of held-out clips on which the model does not abstain."""
TEST_CONDITIONS = ("clean", "g711", "gsm", "telephone", "noise=10dB")
CALIBRATED_ON = ("clean", "telephone")
FINE_TUNING_RATE = 0.2
"""Of the recipe's learning rate, where a training starts from a bundle."""


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
class _Outcome:
    """What one training gave: its network, its history, and logits of held-out clips by part and condition."""

    run: Run
    fitted: Fitted
    logits: dict[str, dict[str, Tensor]]


def train_bundle(options: TrainOptions, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Trains a model, writes its bundle to `options.out`, and returns its metrics.

    A training that was stopped goes on where it was when it is started again in the same way.

    Raises:
        CorpusError: a corpus is not there, or leaves no speakers to train or test on.
        UsageError: `out` holds the state of another training, or cannot be written.
        BundleError: there is no such bundle to start from.
    """
    device = resolve_device(options.device)
    options, initial = _started_from_bundle(options)
    recipe = options.recipe
    bar = partial(tqdm, desc="reading", unit="clip", disable=options.quiet, leave=False)
    material = prepare(
        options.corpora, recipe.features.sample_rate, recipe.data.trim_silence, bar, options.noise,
        options.labels, options.label_map,
    )  # fmt: skip
    runs = _runs(options, material)
    for note in material.notes:
        say(f"note: {note}")
    work = options.out / ".training"
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{options.out}: cannot be written: {error.strerror}") from error
    outcomes = [_carry_out(run, options, material, device, work, initial, say) for run in runs]
    last = outcomes[-1]
    tested = outcomes[:-1] if options.folds else outcomes
    calibration = _calibrated([(o, "test" if options.folds else "validation") for o in tested], material)
    corpora = material.corpora
    licence = "; ".join(f"{corpus.title}: {corpus.licence}" for corpus in corpora)
    if any("NC" in corpus.licence or "research" in corpus.licence for corpus in corpora):
        licence = f"for research and other non-commercial use, as the corpora it was trained on ({licence})"
    bundle = Bundle(options.out.name, material.labels, recipe.features, recipe.network, calibration, licence, {})
    metrics = {
        "ser_version": __version__,
        "recipe": options.recipe_name,
        "protocol": _protocol(options),
        "split": "folds" if options.folds else options.split,
        "speakers": last.run.split.speakers(),
        "folds": {o.run.split.name: o.run.split.speakers() for o in tested} if options.folds else {},
        "clips": {name: len(getattr(last.run.split, name)) for name in ("train", "validation", "test")},
        "corpora": {c.name: {"title": c.title, "licence": c.licence, "labels": c.labels} for c in corpora},
        "notes": material.notes,
        "data_sha256": material.fingerprints([clip for c in corpora for clip in c.clips]),
        "noise": {"folder": options.noise.name, "files": len(material.noises)} if options.noise else None,
        "config": to_plain(recipe),
        "seeds": sorted({run.seed for run in runs}),
        "versions": _versions(),
        "device": str(device),
        "labels": material.labels,
        "parameters": sum(p.numel() for p in last.fitted.network.parameters()),
        "mflop_per_s": round(mflop_per_s(last.fitted.network, recipe.features.frame_rate), 1),
        "history": {o.run.name: o.fitted.history for o in outcomes},
        "seconds": _seconds(outcomes),
        "calibration": to_plain(calibration),
        "test": _test_figures(tested, options, material, calibration),
    }
    save_bundle(options.out, bundle, last.fitted.network, metrics, card_text(options.out.name, metrics, bundle))
    draw_training(options.out, metrics)
    shutil.rmtree(work)
    return metrics


def _started_from_bundle(options: TrainOptions) -> tuple[TrainOptions, dict[str, Tensor] | None]:
    """The options with the features and the network of the bundle that is started from, and its weights."""
    if options.initial is None:
        return options, None
    bundle = load_bundle(options.initial)
    fit = replace(options.recipe.fit, learning_rate=FINE_TUNING_RATE * options.recipe.fit.learning_rate)
    recipe = replace(options.recipe, features=bundle.features, network=bundle.network, fit=fit)
    same = options.labels is None or options.labels == bundle.labels
    weights = {name: t for name, t in bundle.weights.items() if same or ".output." not in name}
    return replace(options, recipe=recipe), weights


def _runs(options: TrainOptions, material: Material) -> list[Run]:
    """All trainings in order; with folds, the last one is on everyone."""
    config, seeds = options.recipe.data, range(options.seed, options.seed + options.n_seeds)
    if options.split == "random":
        splits = [split_randomly(material.corpora, config, seed) for seed in seeds]
        runs = [Run(split, seed) for split, seed in zip(splits, seeds, strict=True)][:1]
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
    return _runs(options, material)[0]


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
        "initial": options.initial or "",
        "labels": material.labels,
        **material.fingerprints(clips),
    }
    validation = material.of(split.validation)
    truth, right = material.truth(split.validation)
    waves = [utterance.speech for utterance in validation]

    def validate(features: Features, network: CnnBiLstm) -> dict[str, float]:
        if not validation:
            return {}
        predicted = predict_logits(features, network, waves).argmax(-1).numpy()
        predicted = np.where(right[np.arange(len(truth)), predicted], truth, predicted)
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


def _carry_out(
    run: Run,
    options: TrainOptions,
    material: Material,
    device: torch.device,
    work: Path,
    initial: dict[str, Tensor] | None,
    say: Callable[[str], None],
) -> _Outcome:
    """Trains and tests one run; if it was finished before, what it gave is read."""
    fitted = fit_run(run, options, material, device, work, initial, say)
    split, logits_file = run.split, work / f"{run.stem}-logits.pt"
    if logits_file.exists():
        logits = torch.load(logits_file, weights_only=True)
    else:
        logits = {
            part: _held_out_logits(fitted, getattr(split, part), conditions, material, run.seed)
            for part, conditions in (("validation", CALIBRATED_ON), ("test", TEST_CONDITIONS))
        }
        save_state(logits_file, logits)
    for condition in ("clean", "clean, context"):
        if condition in logits["test"]:
            _, predictions = _predictions(_Outcome(run, fitted, logits), "test", condition, Calibration(), material)
            reached = figures([predictions], material.labels)["uar"]
            say(f"{run.name}, {condition}: UAR {reached:.1%} on its test clips")
    return _Outcome(run, fitted, logits)


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


def _calibrated(held_out: Sequence[tuple[_Outcome, str]], material: Material) -> Calibration:
    """One calibration for all conditions in `CALIBRATED_ON`, from clips that the networks did not train on."""
    logits, right = [], []
    for outcome, part in held_out:
        rights = torch.from_numpy(material.truth(getattr(outcome.run.split, part))[1])
        for condition, values in outcome.logits[part].items():
            if condition.partition(",")[0] in CALIBRATED_ON:
                logits.append(values)
                right.append(rights)
    if not logits:
        return Calibration()
    return fit_calibration(torch.cat(logits), torch.cat(right), COVERAGE)


def _test_figures(
    tested: Sequence[_Outcome], options: TrainOptions, material: Material, calibration: Calibration
) -> dict[str, dict[str, Any]]:
    """Figures by corpus and condition. The model may answer any of its labels, as it may in use.

    With folds, each fold's probabilities are calibrated on the other folds' clips alone.
    """
    groups: dict[tuple[str, str], list[Predictions]] = {}
    for outcome in tested:
        if options.folds:
            others = [(o, "test") for o in tested if o.run.split.name != outcome.run.split.name]
            calibration = _calibrated(others, material)
        for condition in outcome.logits["test"]:
            names, predictions = _predictions(outcome, "test", condition, calibration, material)
            for corpus in sorted(set(names)):
                own = names == corpus
                part = Predictions(
                    predictions.run, predictions.truth[own], predictions.right[own], predictions.probabilities[own],
                    [s for s, is_own in zip(predictions.speakers, own, strict=True) if is_own], predictions.kept[own],
                )  # fmt: skip
                groups.setdefault((corpus, condition), []).append(part)
    results: dict[str, dict[str, Any]] = {}
    for (corpus, condition), parts in groups.items():
        results.setdefault(corpus, {})[condition] = figures(parts, material.labels)
    return results


def _predictions(
    outcome: _Outcome, part: str, condition: str, calibration: Calibration, material: Material
) -> tuple[np.ndarray, Predictions]:
    """The corpus of each clip, and what the run says of it."""
    clips = getattr(outcome.run.split, part)
    truth, right = material.truth(clips)
    probabilities = calibration.probabilities(outcome.logits[part][condition]).numpy()
    kept = probabilities.max(axis=1) >= calibration.abstain_below
    speakers = [clip.speaker for clip in clips]
    predictions = Predictions(outcome.run.name, truth, right, probabilities, speakers, kept)
    return np.array([clip.corpus for clip in clips]), predictions


def _protocol(options: TrainOptions) -> str:
    trimmed = " Clips are cut to their speech, as analysis does it." if options.recipe.data.trim_silence else ""
    if options.split == "random":
        seen = (
            "The epoch was chosen on the very clips that the figures are of."
            if not options.recipe.data.test_share
            else "The test clips were looked at once."
        )
        return (
            "Clips divided at random: every speaker stands on all sides, so these figures say nothing about people "
            f"whom the model has not heard. {seen}{trimmed}"
        )
    if options.folds:
        selection = (
            "The number of epochs is fixed; nothing was selected on a validation set"
            if options.recipe.fit.keep == "last"
            else "The epoch was chosen on speakers taken out of the training folds"
        )
        return (
            f"Speaker-independent: every speaker is tested once for each of {options.n_seeds} seeds, by a network that "
            f"never heard them. {selection}; each fold is calibrated on the other folds. Figures are means over folds "
            "and seeds, ECE and matrices are pooled over them. The bundle itself is trained on everyone, and "
            f"calibrated on all folds.{trimmed}"
        )
    return (
        "Speaker-independent: nobody is in two of train, validation and test. Epoch and calibration were chosen on the "
        f"validation speakers; the test speakers were looked at once, by the program that wrote this.{trimmed}"
    )


def _versions() -> dict[str, str]:
    names = ("torch", "torchaudio", "numpy", "scipy", "soxr", "soundfile", "silero-vad")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def _seconds(outcomes: Sequence[_Outcome]) -> dict[str, float]:
    """Where the time of all trainings went."""
    rows = [row for outcome in outcomes for row in outcome.fitted.history]
    kinds = ("data_s", "features_s", "network_s", "validation_s")
    return {kind.removesuffix("_s"): round(sum(row[kind] for row in rows), 1) for kind in kinds}


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
