"""The recipe tried on corpora that it has not heard. Read `leave_corpora_out` first."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ser_batch.config.structuring import to_plain
from ser_batch.emotion.frontend import SAMPLE_RATE
from ser_batch.errors import CorpusError, UsageError
from ser_batch.training.places.fitting import Fitted
from ser_batch.training.places.leaving_out import (
    FOUR,
    RENDERED,
    LeftOut,
    baseline,
    four_label_figures,
    functionals,
    network_outputs,
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
"""The share of clips of unheard corpora on which the model does not abstain."""


def leave_corpora_out(
    options: PlacesOptions,
    groups: Sequence[Sequence[str]],
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Train without each group of corpora in turn, and try the network on them.

    Args:
        options: as for `train_on_places`; figures go to `left_out.json` in `out`.
        groups: names of corpora; none: each corpus with enough labels in turn.

    Returns:
        By corpus left out: figures of four labels, clean and by telephone, in a balanced
        place and a mostly neutral one; those of a regression on functionals; means.

    Raises:
        CorpusError: a corpus is not there, cannot be understood, or has no such labels.
        UsageError: `out` cannot be written, or a group names no corpus.
    """
    prepared = prepare(options, say)
    names = [corpus.name for corpus in prepared.corpora]
    groups = groups or [[n] for n in names if _has_four_labels(prepared, n)]
    for name in (name for group in groups for name in group):
        if name not in names:
            raise UsageError(
                f"--leave-corpus-out: there is no corpus {name} here, but "
                f"{', '.join(names)}",
                option="--leave-corpus-out",
            )
        if not _has_four_labels(prepared, name):
            raise CorpusError(
                f"{name} has fewer than two of the labels {', '.join(FOUR)}: it cannot "
                "be tested on"
            )
    work, corpora = work_folder(options.out), {}
    confidence: list[np.ndarray] = []
    for group in groups:
        use = prepared.of(group, inside=False)
        if not len(use):
            raise CorpusError("leave at least one corpus to train on")
        title = f"without {' and '.join(group)}, seed {options.seed}"
        network = fitted(prepared, use, options, options.seed, work, title)
        model = _baseline(prepared, use)
        for name in group:
            corpora[name], sure = _tried(prepared, network, model, name)
            confidence.append(sure)
            say(f"{name}: {_sentence(corpora[name])}")
    result = {
        "ser_version": __version__,
        "recipe": options.recipe_name,
        "config": to_plain(options.recipe),
        "seed": options.seed,
        "trained_on": names,
        "groups": [list(group) for group in groups],
        "segments": prepared.segments.fingerprint,
        "abstain_below": round(
            float(np.quantile(np.concatenate(confidence), 1 - COVERAGE)), 3
        ),
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


def _tried(
    prepared: Prepared, fitted: Fitted, model: Any, name: str
) -> tuple[dict[str, Any], np.ndarray]:
    left_out = _as_folder(prepared, name)
    n = len(prepared.labels)
    figures: dict[str, Any] = {}
    confidence = np.zeros(0)
    for condition, rendering in RENDERED.items():
        described = functionals(prepared.bank, left_out.rows, rendering)
        for place in ("balanced", "neutral"):
            rng = np.random.default_rng(0)
            sample = left_out.place(rng, place == "neutral")
            outputs = network_outputs(
                fitted, prepared.bank, left_out, rendering, sample
            )
            said = left_out.by_clip(outputs)
            regressed = np.zeros((len(left_out.rows), n))
            regressed[:, model.classes_] = model.predict_proba(
                standardised(described, described[sample])
            )
            figures[f"{condition}, {place}"] = {
                "network": four_label_figures(
                    said[:, :n], said[:, n], left_out.label, prepared.labels
                ),
                "functionals": four_label_figures(
                    left_out.by_clip(regressed), None, left_out.label, prepared.labels
                ),
            }
            confidence = np.concatenate([confidence, said[:, :n].max(1)])
    return figures, confidence


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
                # Where several labels may be right, the first: neutral before calm.
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
                for figure in figures
                if figure != "clips"
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
