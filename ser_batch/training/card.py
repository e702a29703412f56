"""The model card of a bundle, written from its metrics and from nothing else."""

from typing import Any

from ser_batch.bundles import Bundle


def card_text(name: str, metrics: dict[str, Any], bundle: Bundle) -> str:
    """The card as Markdown (Mitchell et al., Model Cards for Model Reporting, 2019)."""
    corpora, speakers = metrics["corpora"], metrics["speakers"]
    rows = []
    for corpus, conditions in metrics["test"].items():
        for condition, m in conditions.items():
            rows.append(
                f"| {corpora[corpus]['title']} | {condition} | {m['clips']} | {m['uar']:.1%} "
                f"| {m['uar_speaker_sd']:.1%} | {m['accuracy']:.1%} | {m['macro_f1']:.3f} | {m['ece']:.3f} "
                f"| {m['coverage']:.0%} | {_percent(m['accuracy_when_not_abstaining'])} |"
            )
    trained = ", ".join(f"{c['title']} ({c['licence']}; {', '.join(c['labels'])})" for c in corpora.values())
    recalls = []
    for corpus, conditions in metrics["test"].items():
        for label, recall in conditions["clean"]["recall"].items():
            recalls.append(f"| {corpora[corpus]['title']} | {label} | {recall:.1%} |")
    f = bundle.features
    return f"""# {name}

A CNN-BiLSTM that reads the emotion of one utterance from {f.n_mfcc} MFCC with deltas and delta-deltas at
{f.sample_rate} Hz. Labels: {", ".join(bundle.labels)}.

## Data and licence

Trained on {trained}.

{_sentence(bundle.licence)}

Training speakers: {len(speakers["train"])} ({metrics["clips"]["train"]} clips); validation:
{len(speakers["validation"])} ({metrics["clips"]["validation"]}); test: {len(speakers["test"])}
({metrics["clips"]["test"]}). Where a corpus has no word for `calm`, its neutral clips leave open which
of the two they are, in training and in the figures below.

{_augmentation(metrics)}

## What it reaches

{metrics["protocol"]}

| corpus | heard | clips | UAR | sd over speakers | accuracy | macro-F1 | ECE | labelled | accuracy of those |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
{chr(10).join(rows)}

`clean`: at {f.sample_rate} Hz; `g711`: 300 to 3400 Hz, mu-law; `gsm`: 300 to 3400 Hz, GSM 06.10; `noise=10dB`: pink
noise 10 dB below the speech. `labelled`: clips on which the model does not abstain (confidence of at least
{bundle.calibration.abstain_below:.2f}). The model may answer any of its labels;
one that a corpus lacks counts as wrong.

Recall by label, `clean`:

| corpus | label | recall |
| --- | --- | ---: |
{chr(10).join(recalls)}

Test speakers: {", ".join(speakers["test"])}.

## Limits

The speakers of these corpora act, in few sentences and few languages. What people do on the telephone is
weaker, mixed, and shaped by age, language and line: expect less than the figures above, and compare
averages of many calls rather than single segments. One emotion per segment is the model's view, not a fact
about a person.

## Use

Intended: trends and ranking over many calls, so that people choose better which ones to listen to.
Out of scope: decisions about a person, lie detection, medical or psychological findings, and inferring the
emotions of employees, which is prohibited in the European Union (Regulation 2024/1689, Art. 5(1)(f)).
Callers must be told (Art. 50(3)).

Made by `ser train`, version {metrics["ser_version"]}; configuration, data fingerprints, versions and the
whole history are in `metrics.json`.
"""


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"


def _augmentation(metrics: dict[str, Any]) -> str:
    noise = metrics["noise"]
    recorded = f" and {noise['files']} recordings of noise ({noise['folder']})" if noise else ""
    return (
        "Heard in training through random speed, pitch, reverberation, noise (coloured noise made on the way"
        f"{recorded}), band limits, gain, and G.711 mu-law, A-law or GSM 06.10."
    )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."
