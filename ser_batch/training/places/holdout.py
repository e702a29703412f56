"""Tests of a recipe on held-out corpora. Start reading at `leave_corpora_out`."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ser_batch.config.structuring import to_plain
from ser_batch.emotion.calibration import Calibration, fit_calibration
from ser_batch.emotion.frontend import SAMPLE_RATE
from ser_batch.errors import CorpusError, UsageError
from ser_batch.training.corpora.labels import aroused_shares, neutral_or_calm
from ser_batch.training.places.bundling import write_bundle
from ser_batch.training.places.fitting import Fitted
from ser_batch.training.places.leaving_out import (
    FOUR,
    RENDERED,
    LeftOut,
    baseline,
    four_label_figures,
    functionals,
    network_answers,
    standardised,
)
from ser_batch.training.places.preparing import (
    PlacesOptions,
    Prepared,
    fitted,
    prepare,
    work_folder,
)
from ser_batch.version import __version__

LEFT_OUT = "left_out.json"
COVERAGE = 0.8
"""Share of segments of held-out corpora on which the model does not abstain."""
FITTED_SEGMENTS = 500
"""Segments per held-out corpus and condition for the calibration."""
CONDITIONS = {
    f"{condition}, {place}": (rendering, place == "neutral")
    for condition, rendering in RENDERED.items()
    for place in ("balanced", "neutral")
}


@dataclass(frozen=True)
class HeldOut:
    """The predictions of a network and a regression for a held-out corpus."""

    left_out: LeftOut
    right: Bool[Tensor, "segments labels"]
    network: dict[str, tuple[Tensor, Tensor]]
    """The label logits and the arousal of each segment, by condition."""
    functionals: dict[str, Float[np.ndarray, "segments labels"]]
    """The regression's probabilities, by condition."""

    def probabilities(self, condition: str, calibration: Calibration) -> np.ndarray:
        """Return the network's probabilities for each clip.

        Shape:
            (clips, labels).
        """
        logits, _ = self.network[condition]
        return self.left_out.by_clip(calibration.probabilities(logits).numpy())


def leave_corpora_out(
    options: PlacesOptions,
    groups: Sequence[Sequence[str]],
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Train without each group of corpora in turn, and test the network on that group.

    Args:
        options: as for `train_on_places`. The figures are written to `left_out.json` in
            `out`, and each network to a bundle `without-GROUP`, calibrated on the other
            groups.
        groups: names of the corpora in each group; if empty, each corpus with enough
            labels is a group.
        say: prints a message.

    Returns:
        Figures of four labels for each held-out corpus, clean and by telephone, in a
        balanced and a mostly neutral place, with those of a regression on functionals;
        and their means.

    Raises:
        CorpusError: a corpus is missing, cannot be parsed, or lacks such labels; or no
            corpus remains to train on.
        UsageError: `out` cannot be written, or a group names an unknown corpus.
    """
    prepared = prepare(options, say)
    names = [corpus.name for corpus in prepared.corpora]
    groups = groups or [[n] for n in names if _has_four_labels(prepared, n)]
    for name in (name for group in groups for name in group):
        if name not in names:
            raise UsageError(
                f"--leave-corpus-out: there is no corpus {name}; the corpora are "
                f"{', '.join(names)}",
                option="--leave-corpus-out",
            )
        if not _has_four_labels(prepared, name):
            raise CorpusError(
                f"{name} has fewer than two of the labels {', '.join(FOUR)}: it cannot "
                "be held out"
            )
    work, held_out, networks = work_folder(options.out), {}, []
    for group in groups:
        use = prepared.of(group, inside=False)
        if not len(use):
            raise CorpusError("no corpus left to train on: hold out fewer corpora")
        title = f"without {' and '.join(group)}, seed {options.seed}"
        network = fitted(prepared, use, options, options.seed, work, title)
        networks.append(network)
        model = _baseline(prepared, use)
        for name in group:
            held_out[name] = _held_out(prepared, network, model, name)
    calibration = _calibration(held_out.values(), prepared.labels)
    corpora = {}
    for name, own in held_out.items():
        others = [other for other in held_out.values() if other is not own]
        calibrated = _calibration(others, prepared.labels)
        corpora[name] = _figures(own, calibrated, prepared.labels)
        say(f"{name}: {_sentence(corpora[name])}")
    for group, network in zip(groups, networks, strict=True):
        _write_without(group, network, options, prepared, held_out)
    result = {
        "ser_version": __version__,
        "recipe": options.recipe_name,
        "config": to_plain(options.recipe),
        "seed": options.seed,
        "trained_on": names,
        "groups": [list(group) for group in groups],
        "segments": prepared.segments.fingerprint,
        "calibration": {
            "temperature": calibration.temperature,
            "abstain_below": calibration.abstain_below,
        },
        "answers": {
            name: _answers(own, calibration, prepared.labels)
            for name, own in held_out.items()
        },
        "corpora": corpora,
        "mean": _means(corpora),
    }
    try:
        text = json.dumps(result, indent=2) + "\n"
        (options.out / LEFT_OUT).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"{options.out}: cannot be written: {error.strerror}"
        ) from error
    return result


def _write_without(
    group: Sequence[str],
    network: Fitted,
    options: PlacesOptions,
    prepared: Prepared,
    held_out: Mapping[str, HeldOut],
) -> None:
    """Write a network as a bundle, calibrated on the corpora of the other groups."""
    others = [other for name, other in held_out.items() if name not in group]
    kept = [corpus for corpus in prepared.corpora if corpus.name not in group]
    write_bundle(
        options.out / f"without-{'+'.join(group)}", options, prepared, [network], kept,
        _calibration(others, prepared.labels), {},
    )  # fmt: skip


def _held_out(prepared: Prepared, fitted: Fitted, model: Any, name: str) -> HeldOut:
    left_out = _as_folder(prepared, name)
    aroused = torch.tensor(aroused_shares(prepared.labels))
    network, functional = {}, {}
    described = {
        rendering: functionals(prepared.bank, left_out.rows, rendering)
        for rendering in RENDERED.values()
    }
    for condition, (rendering, mostly_neutral) in CONDITIONS.items():
        sample = left_out.place(np.random.default_rng(0), mostly_neutral)
        network[condition] = network_answers(
            fitted, prepared.bank, left_out, rendering, sample, aroused
        )
        own = described[rendering]
        told = standardised(own, own[sample])
        regressed = np.zeros((len(left_out.rows), len(prepared.labels)))
        regressed[:, model.classes_] = model.predict_proba(told)
        functional[condition] = regressed
    right = prepared.data.right[torch.from_numpy(left_out.rows)]
    return HeldOut(left_out, right, network, functional)


def _calibration(held_out: Collection[HeldOut], labels: Sequence[str]) -> Calibration:
    """Fit a calibration to the predictions for corpora, with equal weight for each."""
    alike = neutral_or_calm(labels)
    if not held_out:
        return Calibration(alike=alike)
    logits, right = [], []
    for own in held_out:
        rows = np.random.default_rng(0).permutation(len(own.right))[:FITTED_SEGMENTS]
        for said, _ in own.network.values():
            logits.append(said[torch.from_numpy(rows)])
            right.append(own.right[torch.from_numpy(rows)])
    return fit_calibration(torch.cat(logits), torch.cat(right), COVERAGE, alike)


def _figures(
    held_out: HeldOut, calibration: Calibration, labels: Sequence[str]
) -> dict[str, Any]:
    left_out, figures = held_out.left_out, {}
    for condition, (_, arousal) in held_out.network.items():
        aroused = left_out.by_clip(arousal[:, None].numpy())[:, 0]
        said = held_out.probabilities(condition, calibration)
        regressed = left_out.by_clip(held_out.functionals[condition])
        figures[condition] = {
            "network": four_label_figures(said, aroused, left_out.label, labels),
            "functionals": four_label_figures(regressed, None, left_out.label, labels),
        }
    return figures


def _answers(
    held_out: HeldOut, calibration: Calibration, labels: Sequence[str]
) -> dict[str, list[float]]:
    """Return the mean probabilities over all conditions, by true label."""
    said = np.mean(
        [held_out.probabilities(c, calibration) for c in held_out.network], axis=0
    )
    truth = np.array(held_out.left_out.label)
    return {
        label: [round(float(p), 4) for p in said[truth == label].mean(0)]
        for label in labels
        if (truth == label).any()
    }


def _as_folder(prepared: Prepared, name: str) -> LeftOut:
    rows = prepared.of([name])
    clips, clip = np.unique(prepared.segments.clip[rows], return_inverse=True)
    seconds = prepared.segments.n_samples[rows] / SAMPLE_RATE
    label = [prepared.segments.clips[i].label for i in clips]
    return LeftOut(rows, clip, seconds, label)


def _baseline(prepared: Prepared, use: np.ndarray) -> Any:
    right, corpus = prepared.data.right.numpy(), prepared.data.drawable.corpus
    known, labels = [], []
    for rendering in RENDERED.values():
        for name in dict.fromkeys(corpus[use].tolist()):
            own = use[corpus[use] == name]
            own = own[right[own].any(1)]
            if len(own):
                known.append(functionals(prepared.bank, own, rendering))
                # Where several labels may be correct, the first: neutral before calm.
                labels.append(right[own].argmax(1))
    return baseline(known, labels)


def _has_four_labels(prepared: Prepared, name: str) -> bool:
    labels = next(c.labels for c in prepared.corpora if c.name == name)
    return (
        len(set(FOUR) & ({*labels} | ({"neutral"} if "calm" in labels else set()))) > 1
    )


def _means(corpora: Mapping[str, Any]) -> dict[str, Any]:
    """Return the means over corpora, by condition and model."""
    conditions = next(iter(corpora.values()))
    return {
        condition: {
            model: {
                figure: float(
                    np.mean(
                        [
                            own[condition][model][figure]
                            for own in corpora.values()
                            if figure in own[condition][model]
                        ]
                    )
                )
                for figure, value in figures.items()
                if isinstance(value, float)
            }
            for model, figures in models.items()
        }
        for condition, models in conditions.items()
    }


def _sentence(figures: Mapping[str, Any]) -> str:
    return "; ".join(
        f"{condition}: UAR {own['network']['uar']:.1%} (functionals "
        f"{own['functionals']['uar']:.1%})"
        for condition, own in figures.items()
    )
