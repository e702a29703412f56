"""Hyperparameter search for a recipe, on the validation speakers.

The sampler is Optuna's TPE (Akiba et al., KDD 2019).
"""

import hashlib
import json
import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any

import optuna
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from ser_batch.config.structuring import to_plain
from ser_batch.emotion.devices import resolve_device
from ser_batch.errors import UsageError
from ser_batch.training.fit.fitting import DivergedError
from ser_batch.training.fit.options import TrainOptions, first_run, material_for
from ser_batch.training.fit.runs import fit_run
from ser_batch.training.recipe import Recipe

RATE_RANGE = 10.0
"""The learning rate is searched from a tenth of the recipe's to ten times that."""
WIDTHS = (0.5, 0.75, 1.0, 1.5)
"""Factors on the widths of convolutions and LSTM."""
STRENGTHS = (0.0, 1.5)
"""Range of the factor on the augmentation probabilities of the recipe."""


def tuned(
    options: TrainOptions, n_trials: int, say: Callable[[str], None]
) -> TrainOptions:
    """Return the options with the recipe that is best on the validation speakers.

    The test speakers are not used. Trials are saved in `OUT/tuning.log`, so an
    interrupted search resumes. The score is the validation UAR of the epoch that the
    recipe keeps.

    Raises:
        UsageError: the options do not allow a search, or one that is independent of the
            test speakers; there are no validation speakers; or no trial succeeded.
    """
    if options.split == "random" or options.folds or options.initial:
        raise UsageError(
            "--tune searches on the validation speakers of one split and cannot be "
            "combined with --split random, --folds or --init. To test the tuned recipe "
            "with --folds, pass the bundle's folder as --recipe"
        )
    material = material_for(options)
    device = resolve_device(options.device)
    run = first_run(options, material)
    if not run.split.validation:
        raise UsageError(
            "--tune needs validation speakers, and there are none: give a corpus with "
            "more speakers"
        )
    work = options.out / ".tuning"
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{options.out}: cannot be written: {error.strerror}"
        ) from error
    recipe = options.recipe

    def score(trial: optuna.Trial) -> float:
        candidate = replace(options, recipe=suggested(recipe, trial), tensorboard=None)
        # Named by its values, so that an interrupted trial resumes when it is repeated.
        folder = work / _digest(trial.params)
        folder.mkdir(exist_ok=True)
        try:
            history = fit_run(
                run, candidate, material, device, folder, None, lambda text: None
            ).history
        except DivergedError as error:
            say(f"trial {trial.number + 1}: {error}; {_shown(trial.params)}")
            raise optuna.TrialPruned from error
        keys = {
            "last": "epoch",
            "best_accuracy": "validation_accuracy",
            "best_uar": "validation_uar",
        }
        uar = max(history, key=lambda row: row[keys[recipe.fit.keep]])["validation_uar"]
        say(
            f"trial {trial.number + 1}: validation UAR {uar:.1%}, "
            f"{_shown(trial.params)}"
        )
        shutil.rmtree(folder)
        return uar

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = optuna.storages.JournalStorage(
        JournalFileBackend(str(options.out / "tuning.log"))
    )
    name = _digest(
        {
            "recipe": to_plain(recipe),
            "seed": options.seed,
            **material.fingerprints(run.split.train),
        }
    )
    study = optuna.create_study(
        study_name=name, direction="maximize", storage=storage, load_if_exists=True
    )
    # After a resume the seed differs, or the sampler would repeat its first draws.
    study.sampler = optuna.samplers.TPESampler(seed=options.seed + len(study.trials))
    finished = [
        trial.params
        for trial in study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED))
    ]
    n_left = max(0, n_trials - len(finished))
    # First the unchanged recipe, so that nothing worse is ever chosen; then interrupted
    # trials.
    first = {
        "rate": 1.0,
        "dropout": recipe.network.dropout,
        "width": 1.0,
        "augmentation": 1.0,
    }
    truncation_note = [
        trial.params
        for trial in study.get_trials(states=(TrialState.FAIL, TrialState.RUNNING))
    ]
    for params in [first, *truncation_note]:
        if len(params) == len(first) and params not in finished:
            study.enqueue_trial(params, skip_if_exists=False)
            finished.append(params)
    study.optimize(score, n_trials=n_left)
    n_done = len(study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED)))
    try:
        best = study.best_trial
    except ValueError as error:
        raise UsageError(
            "no trial of --tune succeeded; choose a smaller fit.learning_rate"
        ) from error
    say(
        f"best of {n_done} trials: validation UAR {best.value:.1%}, "
        f"{_shown(best.params)}"
    )
    shutil.rmtree(work, ignore_errors=True)
    chosen = {"trials": n_done, "validation_uar": best.value, **best.params}
    return replace(
        options,
        recipe=suggested(recipe, optuna.trial.FixedTrial(best.params)),
        tuned=chosen,
    )


def suggested(recipe: Recipe, trial: optuna.trial.BaseTrial) -> Recipe:
    """Return the recipe with the values suggested by a trial.

    These are learning rate, dropout, widths and strength of augmentation.
    """
    rate = trial.suggest_float("rate", 1 / RATE_RANGE, RATE_RANGE, log=True)
    dropout = trial.suggest_float("dropout", 0.0, 0.7)
    width = trial.suggest_categorical("width", WIDTHS)
    strength = trial.suggest_float("augmentation", *STRENGTHS)

    def widened(channels: int) -> int:
        return channels if width == 1.0 else 8 * math.ceil(width * channels / 8)

    convolutions = tuple(
        replace(c, channels=widened(c.channels)) for c in recipe.network.convolutions
    )
    lstm_width = widened(recipe.network.lstm_width)
    network = replace(
        recipe.network,
        dropout=dropout,
        lstm_width=lstm_width,
        convolutions=convolutions,
    )
    p = {
        f.name: getattr(recipe.augmentation, f.name)
        for f in fields(recipe.augmentation)
        if f.name.endswith("_p")
    }
    changed = {
        name: min(1.0, strength * value)
        for name, value in p.items()
        if name != "clean_p"
    }
    return replace(
        recipe,
        network=network,
        augmentation=replace(recipe.augmentation, **changed),
        fit=replace(recipe.fit, learning_rate=rate * recipe.fit.learning_rate),
    )


def _shown(params: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value:.3g}" for name, value in params.items())


def _digest(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
