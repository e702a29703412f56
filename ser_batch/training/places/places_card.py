"""The card of a bundle that is told its place, written from its metrics alone."""

from collections.abc import Mapping
from typing import Any

from ser_batch.emotion.profiled_bundle import ProfiledBundle

RELIABILITY = "reliability.png"


def places_card_text(metrics: Mapping[str, Any], bundle: ProfiledBundle) -> str:
    """Return the card as Markdown (Mitchell et al., Model Cards, 2019)."""
    shape, members = bundle.network, bundle.network.members
    kind = (
        f"{members} networks whose answers are averaged" if members > 1 else "A network"
    )
    made = metrics.get("made_by") or (
        f"Made by `ser train --recipe {metrics['recipe']}`, version "
        f"{metrics['ser_version']}."
    )
    return f"""# {bundle.name}

{kind} for the emotion of one utterance at 8000 Hz: a CNN-BiLSTM on 40 MFCC, pitch,
voicing and energy. Labels: {", ".join(bundle.labels)}; and arousal beside them.
{metrics["parameters"]:,} parameters, {metrics["mflop_per_s"]:.0f} MFLOP for a second of
speech (convolutions {", ".join(map(str, shape.channels))}; LSTM {shape.lstm_width}).

Features and pooled vectors are normalised by a *profile*: statistics of the place that
recordings come from, without any labels. `ser analyze` draws it from a sample of the
first run; a single file gets what was normal in training.

## Data and licence

{_corpora(metrics)}

{bundle.licence[:1].upper()}{bundle.licence[1:]}.

Where a corpus knows only one of neutral and calm, its clips leave open which of the two
they are. Clips whose labels are levels (low, medium, high) teach arousal alone.

## What it reaches on corpora that it has never heard

{_figures(metrics)}

## Limits

The speakers of these corpora act, in few sentences and few languages. What people do on
the telephone is weaker, mixed, and shaped by age, language and line: expect less than the
figures above, and compare averages of many calls rather than single segments. Ranking
calls by anger or arousal carries over better than any single label. Try it on labelled
segments of your own (`ser evaluate {bundle.name} csv=FILE`). `out_of_domain` tells music, noise and strange
lines from speech like that of training; it does not tell right labels from wrong ones.
One emotion per segment is the model's view, not a fact about a person.

## Use

Intended: trends and ranking over many calls, so that people choose better which ones to
listen to. Out of scope: decisions about a person, lie detection, medical or psychological
findings, and inferring the emotions of employees, which is prohibited in the European
Union (Regulation 2024/1689, Art. 5(1)(f)). Callers must be told (Art. 50(3)).

{made} Recipe, seeds, data fingerprints and versions are in `metrics.json`.
"""


def _corpora(metrics: Mapping[str, Any]) -> str:
    rows = [
        "| corpus | clips | speakers | labels | licence |",
        "| --- | ---: | ---: | --- | --- |",
    ]
    for own in metrics["corpora"].values():
        rows.append(
            f"| {own['title']} | {own['clips']} | {own['speakers']} "
            f"| {', '.join(own['labels'])} | {own['licence']} |"
        )
    return "\n".join(rows)


def _figures(metrics: Mapping[str, Any]) -> str:
    left_out = metrics["left_out"]
    if not left_out:
        return "It was not tried on any."
    rows = [
        "| corpus left out | heard, in a place | clips | UAR | anger AUC | arousal AUC "
        "| ECE | UAR of functionals |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    by_name = {**left_out["corpora"], "mean": left_out["mean"]}
    for name, conditions in by_name.items():
        for condition, models in conditions.items():
            own, reference = models["network"], models.get("functionals", {})
            rows.append(
                f"| {name} | {condition} | {own.get('clips', '')} | {own['uar']:.1%} "
                f"| {_auc(own, 'anger_auc')} | {_auc(own, 'arousal_auc')} "
                f"| {own['ece']:.3f} | {_percent(reference.get('uar'))} |"
            )
    return f"""{metrics["protocol"]}

{chr(10).join(rows)}

![Accuracy by confidence on each corpus left out]({RELIABILITY})

Confidences are calibrated on the corpora left out; each corpus' own figures come from a
calibration on the others. What a confidence means differs from corpus to corpus, as the
picture shows."""


def protocol_text(left_out: Mapping[str, Any]) -> str:
    """Return how the figures of corpora that were left out came about."""
    if not left_out:
        return "Trained on all corpora; none was left out to try it on."
    if "protocol" in left_out:
        return str(left_out["protocol"])
    groups = "; ".join(", ".join(group) for group in left_out["groups"])
    return (
        "The recipe, trained without each of these groups of corpora in turn "
        f"({groups}), seed {left_out['seed']}. Four labels (calm counts as neutral; chance 25 %), one answer "
        "for each clip. A balanced place: the profile is drawn from the corpus as it is; "
        "a neutral one: from clips of which 85 % are neutral. Arousal is the network's own "
        "output. Telephone: 300 to 3400 Hz, "
        "mu-law, white noise at 11 to 19 dB. Functionals: a logistic regression on "
        "means, deviations and percentiles of the same features."
    )


def _auc(figures: Mapping[str, Any], name: str) -> str:
    return f"{figures[name]:.3f}" if name in figures else "–"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"
