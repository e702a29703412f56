"""A bundle on labelled corpora: what its answers are worth, by corpus and condition."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ser_batch.emotion.bundles import find_bundle, load_bundle, read_json
from ser_batch.emotion.devices import resolve_device
from ser_batch.errors import BundleError, UsageError
from ser_batch.training.corpora.clips import Clip
from ser_batch.training.data.material import prepare
from ser_batch.training.evaluation.conditions import check_condition, in_condition
from ser_batch.training.evaluation.metrics import Predictions, evaluation_figures
from ser_batch.training.evaluation.plots import draw_evaluation
from ser_batch.training.evaluation.prediction import predict_logits


def evaluate_bundle(
    name: str,
    specs: Sequence[str],
    conditions: Sequence[str] = ("clean",),
    label_map: Mapping[str, str] | None = None,
    device: str = "auto",
    progress: Callable[[Sequence[Clip]], Iterator[Clip]] = iter,
) -> dict[str, Any]:
    """All figures of a bundle on corpora given as `NAME=PATH`.

    Where the bundle normalises by a speaker's own speech, each condition comes twice: with the clip alone, and, with
    `, context` behind its name, with the speaker's other clips, without their labels, for context. `seen_speakers`
    are those that the bundle was trained or calibrated on: figures of theirs say nothing about strangers.

    Raises:
        BundleError: there is no such bundle.
        CorpusError: a corpus cannot be understood, or has a label that the bundle has not.
        UsageError: there is no such condition.
    """
    for condition in conditions:
        check_condition(condition)
    bundle = load_bundle(name)
    target = resolve_device(device)
    features, network = bundle.modules()
    features, network = features.to(target), network.to(target)
    trained = read_json(find_bundle(name) / "metrics.json")
    trim_silence = bool(
        trained.get("config", {}).get("data", {}).get("trim_silence", True)
    )
    material = prepare(
        specs,
        bundle.features.sample_rate,
        trim_silence,
        progress,
        None,
        bundle.labels,
        label_map,
        False,
    )
    speakers_of = trained.get("speakers", {})
    seen = {
        speaker
        for part in ("train", "validation", "before")
        for speaker in speakers_of.get(part, ())
    }
    test: dict[str, dict[str, Any]] = {}
    for corpus in material.corpora:
        clips, speakers = corpus.clips, [clip.speaker for clip in corpus.clips]
        truth, right = material.truth(clips)
        waves = [utterance.speech for utterance in material.of(clips)]
        test[corpus.name] = {}
        for condition in conditions:
            changed = in_condition(waves, bundle.features.sample_rate, condition)
            for suffix, context in (("", None), (", context", speakers)):
                if context is not None and not bundle.features.context_s:
                    continue
                logits = predict_logits(features, network, changed, context)
                probabilities = bundle.calibration.probabilities(logits).numpy()
                kept = probabilities.max(axis=1) >= bundle.calibration.abstain_below
                predictions = Predictions(
                    bundle.name, truth, right, probabilities, speakers, kept
                )
                test[corpus.name][condition + suffix] = evaluation_figures(
                    [predictions], bundle.labels
                )
    everyone = {speaker for corpus in material.corpora for speaker in corpus.speakers}
    return {
        "bundle": bundle.name,
        "model_id": bundle.model_id,
        "labels": list(bundle.labels),
        "protocol": f"The whole of each corpus, scored by {bundle.model_id}.",
        "seen_speakers": sorted(seen & everyone),
        "notes": material.notes,
        "data_sha256": material.fingerprints(
            [clip for corpus in material.corpora for clip in corpus.clips]
        ),
        "test": test,
    }


def write_evaluation(out: Path, evaluation: Mapping[str, Any]) -> None:
    """`evaluation.json`, and a picture for each corpus and condition.

    Raises:
        UsageError: the folder cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        text = json.dumps(evaluation, indent=2, ensure_ascii=False) + "\n"
        (out / "evaluation.json").write_text(text, encoding="utf-8")
        for corpus, conditions in evaluation["test"].items():
            for condition, result in conditions.items():
                name = f"{corpus}-{condition}".replace(", ", "-").replace("=", "")
                draw_evaluation(out, name, result, evaluation["labels"])
    except OSError as error:
        raise UsageError(f"{out}: cannot be written: {error.strerror}") from error


def read_metrics(paths: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The metrics of bundles and evaluations, by name: of shipped bundles by theirs, of those in a folder by its path,
    and of all that lie in a folder of folders.

    Raises:
        BundleError: there are none.
    """
    found: dict[str, dict[str, Any]] = {}
    for given in paths:
        folder = Path(given)
        own = (
            [folder, *sorted(p for p in folder.iterdir() if p.is_dir())]
            if folder.is_dir()
            else []
        )
        files = [
            p / name
            for p in own
            for name in ("metrics.json", "evaluation.json")
            if (p / name).is_file()
        ]
        if not files:
            try:
                files = [find_bundle(given) / "metrics.json"]
            except BundleError as error:
                raise BundleError(
                    f"{given}: neither a bundle nor a folder of bundles or evaluations is here"
                ) from error
        for file in files:
            place = file.resolve().parent
            name = (
                place.name
                if place.name not in found
                else f"{place.parent.name}/{place.name}"
            )
            found[name] = read_json(file)
    return found
