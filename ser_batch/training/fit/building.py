"""Training a bundle from corpora: read, split, fit, calibrate, test once, write.

Start reading at `train_bundle`.
"""

import platform
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

from ser_batch.config.structuring import to_plain
from ser_batch.emotion.bundle_files import find_bundle, read_json
from ser_batch.emotion.bundles import Bundle, load_bundle, save_bundle
from ser_batch.emotion.calibration import Calibration, fit_calibration
from ser_batch.emotion.devices import resolve_device
from ser_batch.errors import UsageError
from ser_batch.training.data.material import Material
from ser_batch.training.evaluation.card import card_text
from ser_batch.training.evaluation.cost import mflop_per_s
from ser_batch.training.evaluation.metrics import Predictions, evaluation_figures
from ser_batch.training.evaluation.plots import draw_training
from ser_batch.training.fit.fitting import KINDS
from ser_batch.training.fit.options import TrainOptions, all_runs, material_for
from ser_batch.training.fit.protocol import protocol_text
from ser_batch.training.fit.runs import (
    CALIBRATED_ON,
    TrainedRun,
    predictions_of,
    train_and_test,
)
from ser_batch.training.recipe import Recipe
from ser_batch.version import __version__

COVERAGE = 0.8
"""Share of held-out clips on which the model does not abstain."""
CONTEXT_CLIPS = 16
"""Clips per call when fine-tuning a bundle with context and the recipe has no
context."""
FINE_TUNING_RATE = 0.2
"""Factor on the recipe's learning rate when fine-tuning a bundle."""


def train_bundle(
    options: TrainOptions, say: Callable[[str], None] = print
) -> dict[str, Any]:
    """Train a model, write its bundle to `options.out`, and return its metrics.

    An interrupted training run resumes when it is started again with the same options.

    Raises:
        CorpusError: a corpus is missing, or leaves no speakers to train or test on.
        UsageError: `out` contains the state of another training run, or cannot be
            written.
        BundleError: the bundle to fine-tune does not exist.
    """
    device = resolve_device(options.device)
    base = _base(options.initial) if options.initial else None
    if base is not None:
        options = replace(options, recipe=_started_from(base, options.recipe))
    recipe = options.recipe
    material = material_for(options)
    initial = None if base is None else _weights_for(base, material.labels)
    runs = all_runs(options, material)
    before = _speakers_before(options)
    known = sorted(before & {clip.speaker for run in runs for clip in run.split.test})
    if known:
        material.notes.append(
            f"{options.initial} was trained on {len(known)} of the test speakers "
            f"(first: {known[0]}), so the figures do not apply to unseen speakers"
        )
    for note in material.notes:
        say(f"note: {note}")
    work = options.out / ".training"
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{options.out}: cannot be written: {error.strerror}"
        ) from error
    outcomes = [
        train_and_test(run, options, material, device, work, initial, say)
        for run in runs
    ]
    last = outcomes[-1]
    tested = outcomes[:-1] if options.folds else outcomes
    calibration = _calibrated(
        [(o, "test" if options.folds else "validation") for o in tested], material
    )
    corpora = material.corpora
    licences = [f"{corpus.title}: {corpus.licence}" for corpus in corpora]
    licence = "; ".join(
        licences if base is None else [*licences, f"{base.name}: {base.licence}"]
    )
    if "NC" in licence or "research" in licence:
        licence = (
            "for research and other non-commercial use, as the corpora it was trained "
            f"on ({licence})"
        )
    bundle = Bundle(
        options.out.name,
        material.labels,
        recipe.features,
        recipe.network,
        calibration,
        licence,
        last.fitted.network.state_dict(),
    )
    metrics = {
        "ser_version": __version__,
        "recipe": options.recipe_name,
        "protocol": protocol_text(options, last),
        "started_from": None if base is None else base.model_id,
        "tuned": options.tuned,
        "label_map": dict(options.label_map),
        "split": "folds" if options.folds else options.split,
        "speakers": last.run.split.speakers()
        | ({"before": sorted(before)} if before else {}),
        "folds": {o.run.split.name: o.run.split.speakers() for o in tested}
        if options.folds
        else {},
        "clips": {
            name: len(getattr(last.run.split, name))
            for name in ("train", "validation", "test")
        },
        "corpora": {
            c.name: {"title": c.title, "licence": c.licence, "labels": c.labels}
            for c in corpora
        },
        "notes": material.notes,
        "data_sha256": material.fingerprints(
            [clip for c in corpora for clip in c.clips]
        ),
        "noise": {"folder": options.noise.name, "files": len(material.noises)}
        if options.noise
        else None,
        "config": to_plain(recipe),
        "seeds": sorted({run.seed for run in runs}),
        "versions": training_versions(),
        "device": str(device),
        "labels": material.labels,
        "parameters": sum(p.numel() for p in last.fitted.network.parameters()),
        "mflop_per_s": round(
            mflop_per_s(last.fitted.network, recipe.features.frame_rate), 1
        ),
        "history": {o.run.name: o.fitted.history for o in outcomes},
        "seconds": _seconds(outcomes),
        "calibration": to_plain(calibration),
        "test": _test_figures(tested, options, material, calibration),
    }
    save_bundle(
        options.out, bundle, metrics, card_text(options.out.name, metrics, bundle)
    )
    try:
        draw_training(options.out, metrics)
    except OSError as error:
        say(f"note: {options.out}: the plots cannot be written: {error.strerror}")
    shutil.rmtree(work, ignore_errors=True)
    return metrics


def _base(name: str) -> Bundle:
    bundle = load_bundle(name)
    if isinstance(bundle, Bundle):
        return bundle
    raise UsageError(
        f"cannot fine-tune {name}: its network does not use the features of the "
        "recipes; train from scratch, without --init",
        option="--init",
    )


def _started_from(base: Bundle, recipe: Recipe) -> Recipe:
    """Return the recipe with a bundle's features and network, and a lower rate."""
    fit = replace(recipe.fit, learning_rate=FINE_TUNING_RATE * recipe.fit.learning_rate)
    data = recipe.data
    if base.features.context_s and data.clips_per_call == 1:
        data = replace(data, clips_per_call=CONTEXT_CLIPS)
    return replace(
        recipe, features=base.features, network=base.network, fit=fit, data=data
    )


def _weights_for(base: Bundle, labels: tuple[str, ...]) -> dict[str, Tensor]:
    """Return a bundle's weights; without the output layer if the labels differ."""
    return {
        name: t
        for name, t in base.weights.items()
        if labels == base.labels or ".output." not in name
    }


def _speakers_before(options: TrainOptions) -> set[str]:
    """Return the speakers that the bundle to fine-tune was trained on."""
    if not options.initial:
        return set()
    parts = read_json(find_bundle(options.initial) / "metrics.json").get("speakers", {})
    return {
        speaker
        for name in ("train", "validation", "before")
        for speaker in parts.get(name, ())
    }


def _calibrated(
    held_out: Sequence[tuple[TrainedRun, str]], material: Material
) -> Calibration:
    """Fit one calibration to held-out clips in all conditions in `CALIBRATED_ON`."""
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
    tested: Sequence[TrainedRun],
    options: TrainOptions,
    material: Material,
    calibration: Calibration,
) -> dict[str, dict[str, Any]]:
    """Return the test figures by corpus and condition.

    The model may predict any of its labels, as it may in use. With folds, each fold is
    calibrated on the clips of the other folds only.
    """
    groups: dict[tuple[str, str], list[Predictions]] = {}
    for outcome in tested:
        if options.folds:
            others = [
                (o, "test")
                for o in tested
                if o.run.split.name != outcome.run.split.name
            ]
            calibration = _calibrated(others, material)
        for condition in outcome.logits["test"]:
            names, predictions = predictions_of(
                outcome, "test", condition, calibration, material
            )
            for corpus in sorted(set(names)):
                own = names == corpus
                part = Predictions(
                    predictions.run, predictions.truth[own], predictions.right[own],
                    predictions.probabilities[own],
                    [
                        s
                        for s, is_own in zip(predictions.speakers, own, strict=True)
                        if is_own
                    ],
                    predictions.kept[own],
                )  # fmt: skip
                groups.setdefault((corpus, condition), []).append(part)
    results: dict[str, dict[str, Any]] = {}
    for (corpus, condition), parts in groups.items():
        results.setdefault(corpus, {})[condition] = evaluation_figures(
            parts, material.labels
        )
    return results


def training_versions() -> dict[str, str]:
    """Return the versions of Python and the packages that affect training."""
    names = ("torch", "torchaudio", "numpy", "scipy", "soxr", "soundfile", "silero-vad")
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in names},
    }


def _seconds(outcomes: Sequence[TrainedRun]) -> dict[str, float]:
    """Return the total time of all training runs, by kind of work [s]."""
    rows = [row for outcome in outcomes for row in outcome.fitted.history]
    return {
        kind.removesuffix("_s"): round(sum(row[kind] for row in rows), 1)
        for kind in KINDS
    }
