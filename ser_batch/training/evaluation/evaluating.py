"""Evaluation of a bundle on labelled corpora, by corpus and condition."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from ser_batch.emotion.bundle_files import find_bundle, read_json
from ser_batch.emotion.bundles import Bundle, load_bundle
from ser_batch.emotion.devices import resolve_device
from ser_batch.emotion.loading import load_scorer
from ser_batch.emotion.scorer import Scorer
from ser_batch.errors import BundleError, UsageError
from ser_batch.training.corpora.clips import Clip
from ser_batch.training.data.material import prepare
from ser_batch.training.evaluation.conditions import check_condition, in_condition
from ser_batch.training.evaluation.metrics import Predictions, evaluation_figures
from ser_batch.training.evaluation.plots import draw_evaluation
from ser_batch.training.evaluation.prediction import predict_logits

PROFILED_CLIPS = 100
"""Number of clips that a corpus's profile is computed from, as in `ser analyze`."""
Answer = Callable[
    [Sequence[np.ndarray], Sequence[str]], dict[str, Float[np.ndarray, "clips labels"]]
]
"""Maps waveforms and their speakers to probabilities, keyed by the suffix that names
the additional input: none, `, profile` or `, context`."""


def evaluate_bundle(
    name: str,
    specs: Sequence[str],
    conditions: Sequence[str] = ("clean",),
    label_map: Mapping[str, str] | None = None,
    device: str = "auto",
    progress: Callable[[Sequence[Clip]], Iterator[Clip]] = iter,
) -> dict[str, Any]:
    """Evaluate a bundle on corpora given as `NAME=PATH`.

    If the bundle takes additional input, each condition is evaluated twice: on the clip
    alone, and with a profile of the corpus (suffix `, profile`) or with the speaker's
    other clips (suffix `, context`), but never with their labels.

    Returns:
        All figures. `seen_speakers` are those that the bundle was trained or calibrated
        on; their figures do not apply to unseen speakers.

    Raises:
        BundleError: there is no such bundle.
        CorpusError: a corpus cannot be parsed, or has a label that the bundle lacks.
        UsageError: there is no such condition, or the bundle has no labels.
    """
    for condition in conditions:
        check_condition(condition)
    bundle = load_bundle(name)
    if not bundle.labels:
        raise UsageError(
            f"bundle {name} estimates dimensions and has no labels to compare with"
        )
    if isinstance(bundle, Bundle):
        answer, sample_rate = _by_context(bundle, device), bundle.features.sample_rate
    else:
        scorer = load_scorer(name, device)
        answer, sample_rate = _by_profile(scorer), scorer.sample_rate
    trained = read_json(find_bundle(name) / "metrics.json")
    trim_silence = bool(
        trained.get("config", {}).get("data", {}).get("trim_silence", True)
    )
    material = prepare(
        specs,
        sample_rate,
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
            changed = in_condition(waves, sample_rate, condition)
            for told, probabilities in answer(changed, speakers).items():
                kept = probabilities.max(axis=1) >= bundle.calibration.abstain_below
                predictions = Predictions(
                    bundle.name, truth, right, probabilities, speakers, kept
                )
                test[corpus.name][condition + told] = evaluation_figures(
                    [predictions], bundle.labels
                )
    everyone = {speaker for corpus in material.corpora for speaker in corpus.speakers}
    return {
        "bundle": bundle.name,
        "model_id": bundle.model_id,
        "labels": list(bundle.labels),
        "protocol": f"All clips of each corpus, scored by {bundle.model_id}.",
        "seen_speakers": sorted(seen & everyone),
        "notes": material.notes,
        "data_sha256": material.fingerprints(
            [clip for corpus in material.corpora for clip in corpus.clips]
        ),
        "test": test,
    }


def _by_context(bundle: Bundle, device: str) -> Answer:
    target = resolve_device(device)
    features, network = bundle.modules()
    features, network = features.to(target), network.to(target)

    def answer(
        waves: Sequence[np.ndarray], speakers: Sequence[str]
    ) -> dict[str, np.ndarray]:
        contexts: dict[str, Sequence[str] | None] = {"": None}
        if bundle.features.context_s:
            contexts[", context"] = speakers
        return {
            told: bundle.calibration.probabilities(
                predict_logits(features, network, waves, context)
            ).numpy()
            for told, context in contexts.items()
        }

    return answer


def _by_profile(own: Scorer) -> Answer:
    def answer(
        waves: Sequence[np.ndarray], speakers: Sequence[str]
    ) -> dict[str, np.ndarray]:
        if not own.takes_profile:
            return {"": own.predict(waves)}
        draw = np.random.default_rng(0).permutation(len(waves))[:PROFILED_CLIPS]
        sample = {str(number): [waves[number]] for number in sorted(draw)}
        told = own.with_profile(own.profile_of({"": sample}))
        return {"": own.predict(waves), ", profile": told.predict(waves)}

    return answer


def write_evaluation(out: Path, evaluation: Mapping[str, Any]) -> None:
    """Write `evaluation.json`, and a plot for each corpus and condition.

    Raises:
        UsageError: the folder cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        text = json.dumps(evaluation, indent=2, ensure_ascii=False) + "\n"
        (out / "evaluation.json").write_text(text, encoding="utf-8")
        for corpus, conditions in evaluation["test"].items():
            for condition, result in conditions.items():
                name = f"{corpus}-{condition}".replace(", ", "-").replace(" ", "-")
                name = name.replace("=", "")
                draw_evaluation(out, name, result, evaluation["labels"])
    except OSError as error:
        raise UsageError(f"{out}: cannot be written: {error.strerror}") from error


def read_metrics(paths: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Read the metrics of bundles and evaluations, by name.

    Each path is the name of a shipped bundle, the folder of a bundle or an evaluation,
    or a folder of such folders.

    Raises:
        BundleError: a path has no metrics.
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
                    f"{given}: not a bundle, an evaluation, or a folder of them"
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
