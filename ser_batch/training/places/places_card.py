"""The model card of a profiled bundle, generated from its metrics alone."""

from collections.abc import Mapping
from typing import Any

from ser_batch.emotion.profiled_bundle import ProfiledBundle

RELIABILITY = "reliability.png"


def places_card_text(metrics: Mapping[str, Any], bundle: ProfiledBundle) -> str:
    """Return the card as Markdown (Mitchell et al., Model Cards, 2019)."""
    shape, members = bundle.network, bundle.network.members
    kind = f"{members} networks with averaged outputs" if members > 1 else "A network"
    made = metrics.get("made_by") or (
        f"Made by `ser train --recipe {metrics['recipe']}`, version "
        f"{metrics['ser_version']}."
    )
    return f"""# {bundle.name}

{kind} for the emotion of one utterance at 8000 Hz: a CNN-BiLSTM on 40 MFCC, pitch,
voicing and energy. Labels: {", ".join(bundle.labels)}. It also estimates arousal.
{metrics["parameters"]:,} parameters, {metrics["mflop_per_s"]:.0f} MFLOP per second of
speech (convolutions {", ".join(map(str, shape.channels))}; LSTM {shape.lstm_width}).

Features and pooled vectors are normalised by a *profile*: statistics of the place that
recordings come from, without any labels. `ser analyze` computes it from a sample of the
first run; a single file is normalised by the statistics of the training data.

## Data and licence

{_corpora(metrics)}

{bundle.licence[:1].upper()}{bundle.licence[1:]}.

Where a corpus has only one of the labels neutral and calm, its clips may be either of
the two. Clips whose labels are levels (low, medium, high) train arousal only.

## Results on unseen corpora

{_figures(metrics)}

## Limits

The speakers of these corpora act out a few sentences in a few languages. Emotional
speech on the telephone is weaker, mixed, and shaped by age, language and line: expect
less than the figures above, and compare averages of many calls rather than single
segments. Ranking calls by anger or arousal transfers better than any single label. Test
it on labelled segments of your own (`ser evaluate {bundle.name} csv=FILE`).
`out_of_domain` distinguishes music, noise and unusual lines from speech like that of
the training data; it does not distinguish correct labels from wrong ones. One emotion
per segment is the model's view, not a fact about a person.

## Use

Intended use: trends and rankings over many calls, to help people choose which ones to
listen to. Out of scope: decisions about a person, lie detection, medical or
psychological findings, and inferring the emotions of employees, which is prohibited in
the European Union (Regulation 2024/1689, Art. 5(1)(f)). Callers must be informed (Art.
50(3)).

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
        return "Not tested on unseen corpora."
    rows = [
        "| held-out corpus | condition, place | clips | UAR | anger AUC | arousal AUC "
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

![Accuracy by confidence on each held-out corpus]({RELIABILITY})

Confidences are calibrated on the held-out corpora; the figures of each corpus use a
calibration on the others. The meaning of a confidence differs between corpora, as the
plot shows."""


def protocol_text(left_out: Mapping[str, Any]) -> str:
    """Describe the protocol behind the figures of held-out corpora."""
    if not left_out:
        return "Trained on all corpora; none was held out for testing."
    if "protocol" in left_out:
        return str(left_out["protocol"])
    groups = "; ".join(", ".join(group) for group in left_out["groups"])
    return (
        "The recipe, trained without each of these groups of corpora in turn "
        f"({groups}), seed {left_out['seed']}. Four labels (calm is scored as neutral; "
        "chance is 25 %), one answer per clip. Balanced place: the profile is computed "
        "from the corpus as it is; neutral place: from clips of which 85 % are "
        "neutral. Arousal is the network's own output. Telephone: 300 to 3400 Hz, "
        "mu-law, white noise at 11 to 19 dB SNR. Functionals: a logistic regression on "
        "means, deviations and percentiles of the same features."
    )


def _auc(figures: Mapping[str, Any], name: str) -> str:
    return f"{figures[name]:.3f}" if name in figures else "–"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"
