"""A search for better values of a recipe, on the validation speakers: Optuna's TPE (Akiba et al., KDD 2019)."""

import math
from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial

import optuna
from optuna.storages.journal import JournalFileBackend
from tqdm import tqdm

from ser_batch.errors import UsageError
from ser_batch.inference import resolve_device
from ser_batch.plain import to_plain
from ser_batch.training.build import TrainOptions, first_run, fit_run
from ser_batch.training.material import prepare
from ser_batch.training.recipe import Recipe

RATE_RANGE = 10.0
"""The learning rate is searched from a tenth of the recipe's to ten times."""
WIDTHS = (0.5, 0.75, 1.0, 1.5)
STRENGTHS = (0.0, 1.5)
"""Of augmentation: what the probabilities of the recipe are multiplied by."""


def tuned(options: TrainOptions, n_trials: int, say: Callable[[str], None]) -> TrainOptions:
    """The options with the recipe that was best on the validation speakers; the test speakers are not looked at.

    Trials are kept in `OUT/tuning.log`: a search that was stopped goes on where it was. The score is the
    validation UAR of the epoch that the recipe keeps.

    Raises:
        UsageError: a random split, or one without validation speakers.
    """
    if options.split == "random":
        raise UsageError("--tune needs speakers of its own to validate on: leave --split random out")
    recipe = options.recipe
    # With folds, the search sees the first fold's training speakers alone.
    options = replace(options, folds=False, n_seeds=1)
    bar = partial(tqdm, desc="reading", unit="clip", disable=options.quiet, leave=False)
    material = prepare(
        options.corpora, recipe.features.sample_rate, recipe.data.trim_silence, bar, options.noise,
        options.labels, options.label_map,
    )  # fmt: skip
    device = resolve_device(options.device)
    run = first_run(options, material)
    if not run.split.validation:
        raise UsageError("--tune needs validation speakers, and none are left: give a corpus of more speakers")
    options.out.mkdir(parents=True, exist_ok=True)

    def score(trial: optuna.Trial) -> float:
        candidate = replace(options, recipe=suggested(recipe, trial))
        work = options.out / ".tuning" / f"{trial.number}"
        work.mkdir(parents=True, exist_ok=True)
        fitted = fit_run(run, candidate, material, device, work, None, lambda text: None)
        history = fitted.history
        best = max(row["validation_uar"] for row in history)
        uar = history[-1]["validation_uar"] if recipe.fit.keep == "last" else best
        say(f"trial {trial.number + 1}: validation UAR {uar:.1%}, {_shown(trial)}")
        return uar

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = optuna.storages.JournalStorage(JournalFileBackend(str(options.out / "tuning.log")))
    study = optuna.create_study(
        study_name=options.recipe_name, direction="maximize", storage=storage, load_if_exists=True,
        sampler=optuna.samplers.TPESampler(seed=options.seed),
    )  # fmt: skip
    if not study.trials:
        # The recipe as it is comes first: nothing worse is ever chosen.
        study.enqueue_trial({"rate": 1.0, "dropout": recipe.network.dropout, "width": 1.0, "augmentation": 1.0})
    done = sum(trial.state.is_finished() for trial in study.trials)
    study.optimize(score, n_trials=max(0, n_trials - done))
    best = study.best_trial
    say(f"best of {len(study.trials)} trials: validation UAR {best.value:.1%}, {_shown(best)}")
    return replace(options, recipe=suggested(recipe, optuna.trial.FixedTrial(best.params)))


def suggested(recipe: Recipe, trial: optuna.trial.BaseTrial) -> Recipe:
    """The recipe with the values that a trial suggests: rate, dropout, widths, strength of augmentation."""
    rate = trial.suggest_float("rate", 1 / RATE_RANGE, RATE_RANGE, log=True)
    dropout = trial.suggest_float("dropout", 0.0, 0.7)
    width = trial.suggest_categorical("width", WIDTHS)
    strength = trial.suggest_float("augmentation", *STRENGTHS)
    network = replace(
        recipe.network,
        dropout=dropout,
        lstm_width=8 * math.ceil(width * recipe.network.lstm_width / 8),
        convolutions=tuple(
            replace(c, channels=8 * math.ceil(width * c.channels / 8)) for c in recipe.network.convolutions
        ),
    )
    p = {f.name: getattr(recipe.augmentation, f.name) for f in fields(recipe.augmentation) if f.name.endswith("_p")}
    changed = {name: min(1.0, strength * value) for name, value in p.items() if name != "clean_p"}
    return replace(
        recipe,
        network=network,
        augmentation=replace(recipe.augmentation, **changed),
        fit=replace(recipe.fit, learning_rate=rate * recipe.fit.learning_rate),
    )


def _shown(trial: optuna.trial.BaseTrial) -> str:
    return ", ".join(f"{name} {value:.3g}" for name, value in to_plain(trial.params).items())
