"""The model card of a bundle, generated from the bundle and its metrics alone."""

from typing import Any

from ser_batch.emotion.bundles import Bundle
from ser_batch.training.evaluation.conditions import CONDITIONS


def card_text(name: str, metrics: dict[str, Any], bundle: Bundle) -> str:
    """Return the card as Markdown (Mitchell et al., Model Cards, 2019)."""
    corpora, speakers, clips = metrics["corpora"], metrics["speakers"], metrics["clips"]
    trained = ", ".join(
        f"{c['title']} ({c['licence']}; {', '.join(c['labels'])})"
        for c in corpora.values()
    )
    f = bundle.features
    kinds = ", ".join(
        {"mfcc": f"{f.n_mfcc} MFCC", "mel": f"{f.n_mels} mel bands"}.get(kind, kind)
        for kind in f.kinds
    )
    deltas = ("", " with deltas", " with deltas and delta-deltas")[f.deltas]
    parts = [f"training ({len(speakers['train'])} speakers, {clips['train']} clips)"]
    parts += [
        f"{part} ({len(speakers[part])} speakers, {clips[part]} clips)"
        for part in ("validation", "test")
        if clips[part]
    ]
    return f"""# {name}

A neural network that recognises the emotion of one utterance from {kinds}{deltas}
at {f.sample_rate} Hz. Labels: {", ".join(bundle.labels)}.
Recipe: `{metrics["recipe"]}`. {metrics["parameters"]:,} parameters,
{metrics["mflop_per_s"]:.0f} MFLOP per second of speech.
{_context(bundle)}
## Data and licence

Trained on {trained}.

{_sentence(bundle.licence)}

The bundle's own split: {"; ".join(parts)}.
Where a corpus has no label `calm`, its neutral clips may be neutral or calm, in
training and in the figures below.

{_augmentation(metrics)}

## Results

{metrics["protocol"]}

{_figures(metrics, bundle)}

{_conditions(metrics)} `labelled`: share of clips on which the model does not abstain
(confidence of at least {bundle.calibration.abstain_below:.2f}). The model may predict
any of its labels; one that a corpus lacks is scored as wrong. 95 % intervals,
calibration, coverage, precision and the confusion matrices are in `metrics.json`.

Recall by label, {_first_condition(metrics)}:

{_recalls(metrics)}

![Confusion matrix](confusion.png)

![Loss, validation figures and learning rate by epoch](training.png)

## Limits

The speakers of these corpora act out a few sentences in a few languages. Emotional
speech on the telephone is weaker, mixed, and shaped by age, language and line: expect
less than the figures above, and compare averages of many calls rather than single
segments. On corpora, languages and acting styles that it was not trained on, a model
may be little better than chance and still as confident; the figures here do not cover
that case. Test it on labelled segments of your own
(`ser evaluate {bundle.name} csv=FILE`). One emotion per segment is the model's view,
not a fact about a person.

## Use

Intended use: trends and rankings over many calls, to help people choose which ones to
listen to. Out of scope: decisions about a person, lie detection, medical or
psychological findings, and inferring the emotions of employees, which is prohibited in
the European Union (Regulation 2024/1689, Art. 5(1)(f)). Callers must be informed (Art.
50(3)).

Made by `ser train`, version {metrics["ser_version"]}. Recipe, seeds, data fingerprints,
versions and the complete history are in `metrics.json`.
"""


def _context(bundle: Bundle) -> str:
    if not bundle.features.context_s:
        return ""
    return f"""
Features are normalised by the speaker's own speech: by the mean and standard deviation
over the first {bundle.features.context_s:g} seconds of speech in the channel of a
recording and the segment itself, or over all speech if there is less. For conditions
with `context` in their name, each test clip is normalised along with other clips of its
speaker, without their labels; for the others, on its own.
"""


def _figures(metrics: dict[str, Any], bundle: Bundle) -> str:
    rows = [
        "| corpus | condition | clips | UAR | sd | accuracy | macro-F1 | ECE "
        "| labelled | accuracy of those |",
        "| --- | --- | ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for corpus, conditions in metrics["test"].items():
        for condition, m in conditions.items():
            spread = f"{m['uar_sd']:.1%} over runs, " if "uar_sd" in m else ""
            rows.append(
                f"| {metrics['corpora'][corpus]['title']} | {condition} | {m['clips']} "
                f"| {m['uar']:.1%} | {spread}{m['uar_speaker_sd']:.1%} over speakers "
                f"| {m['accuracy']:.1%} | {m['macro_f1']:.3f} | {m['ece']:.3f} "
                f"| {m['coverage']:.0%} "
                f"| {_percent(m['accuracy_when_not_abstaining'])} |"
            )
    return "\n".join(rows) if metrics["test"] else "Not tested."


def _recalls(metrics: dict[str, Any]) -> str:
    rows = ["| corpus | label | recall |", "| --- | --- | ---: |"]
    for corpus, conditions in metrics["test"].items():
        for label, recall in next(iter(conditions.values()))["recall"].items():
            rows.append(
                f"| {metrics['corpora'][corpus]['title']} | {label} | {recall:.1%} |"
            )
    return "\n".join(rows)


def _first_condition(metrics: dict[str, Any]) -> str:
    return next(
        (f"`{next(iter(conditions))}`" for conditions in metrics["test"].values()),
        "untested",
    )


def _conditions(metrics: dict[str, Any]) -> str:
    names = {
        name.partition(",")[0]
        for conditions in metrics["test"].values()
        for name in conditions
    }
    known = [f"`{name}`: {text}" for name, text in CONDITIONS.items() if name in names]
    known += [
        f"`{name}`: {CONDITIONS['noise=XdB'].replace('X', name[6:-2])}"
        for name in sorted(names)
        if "=" in name
    ]
    return "; ".join(known) + "." if known else ""


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"


def _augmentation(metrics: dict[str, Any]) -> str:
    changes = {
        "speed": "speed", "pitch": "pitch", "reverberation": "reverberation",
        "noise": "noise", "band": "band limits", "gain": "gain",
        "codec": "G.711 mu-law, A-law or GSM 06.10",
    }  # fmt: skip
    used = [
        text
        for name, text in changes.items()
        if metrics["config"]["augmentation"][f"{name}_p"]
    ]
    if not used:
        return "Training used the clips without augmentation."
    noise, recorded = metrics["noise"], ""
    if noise and "noise" in used:
        recorded = (
            f" Noise is synthetic, or one of {noise['files']} recordings "
            f"({noise['folder']})."
        )
    return f"Training clips were augmented with random {', '.join(used)}.{recorded}"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."
