"""Many corpora in, a bundle that is told its place out. Read `train_on_places` first."""

import json
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from ser_batch.config.structuring import to_plain
from ser_batch.emotion.bundles import load_bundle, read_json, save_bundle
from ser_batch.emotion.calibration import Calibration
from ser_batch.emotion.devices import resolve_device
from ser_batch.emotion.frontend import SAMPLE_RATE
from ser_batch.emotion.place import Statistics
from ser_batch.emotion.profiled_bundle import OWN_MEAN, OWN_VARIANCE, ProfiledBundle
from ser_batch.emotion.profiled_network import megaflops_per_s
from ser_batch.errors import CorpusError, UsageError
from ser_batch.training.corpora.clips import Corpus
from ser_batch.training.corpora.labels import LEVELS
from ser_batch.training.corpora.readers import PUBLISHED, read_corpora
from ser_batch.training.corpora.relabelling import with_labels
from ser_batch.training.data.utterances import load_noises
from ser_batch.training.fit.building import training_versions
from ser_batch.training.places.bank import Bank, open_bank
from ser_batch.training.places.draws import Drawable
from ser_batch.training.places.fitting import Fitted, Learnable, fit
from ser_batch.training.places.leaving_out import (
    FOUR,
    RENDERED,
    LeftOut,
    baseline,
    distance_from_training,
    four_label_figures,
    functionals,
    network_outputs,
    standardised,
)
from ser_batch.training.places.places_card import places_card
from ser_batch.training.places.recipe import PlacesRecipe
from ser_batch.training.places.segments import Segments, cut_corpora
from ser_batch.version import __version__

LEFT_OUT = "left_out.json"
COVERAGE = 0.8
"""The share of clips of unheard corpora on which the model does not abstain."""
USUAL_SEGMENTS = 300
"""Of each corpus, for what distances from training are usual."""


@dataclass(frozen=True, slots=True)
class PlacesOptions:
    """What is trained, on what, and where."""

    corpora: tuple[str, ...]
    """Each as `NAME=PATH`."""
    out: Path
    recipe_name: str
    recipe: PlacesRecipe
    seed: int = 0
    noise: Path | None = None
    label_map: Mapping[str, str] = field(default_factory=dict)
    device: str = "auto"
    quiet: bool = False


@dataclass(frozen=True)
class Prepared:
    """All that is trained on: segments, their features, and what is known of them."""

    corpora: list[Corpus]
    labels: tuple[str, ...]
    segments: Segments
    bank: Bank
    data: Learnable
    notes: list[str]
    device: torch.device

    def of(self, names: Iterable[str], inside: bool = True) -> np.ndarray:
        """Return the numbers of the segments of some corpora, or of all others."""
        own = np.isin(self.data.drawable.corpus, list(names))
        return np.flatnonzero(own if inside else ~own)


def train_on_places(
    options: PlacesOptions, say: Callable[[str], None] = print
) -> dict[str, Any]:
    """Train on all corpora, write the bundle to `options.out`, and return its metrics.

    Where corpora were left out before into the same folder (`leave_corpora_out`), their
    figures go into the card, and say when the model abstains. A training that was
    stopped goes on where it was.

    Raises:
        CorpusError: a corpus is not there, or cannot be understood.
        UsageError: `out` cannot be written.
    """
    began = time.monotonic()
    prepared = _prepared(options, say)
    work, recipe = _work(options.out), options.recipe
    everything = np.arange(len(prepared.segments.clip))
    members = []
    for number in range(recipe.network.members):
        name = f"everyone, seed {options.seed + number}"
        members.append(
            _fitted(prepared, everything, options, options.seed + number, work, name)
        )
        say(f"{name}: loss {members[-1].losses[-1]:.3f}")
    left_out = _left_out(options.out)
    calibration = Calibration(1.0, left_out.get("abstain_below", 0.0), None)
    bundle = _bundle(options, prepared, members, calibration)
    usual = _usual_distance(bundle, prepared)
    bundle = replace(bundle, calibration=replace(calibration, usual_distance=usual))
    metrics = _metrics(options, prepared, members, left_out, bundle)
    metrics["seconds"] = round(time.monotonic() - began, 1)
    save_bundle(options.out, bundle, metrics, places_card(metrics, bundle))
    shutil.rmtree(work, ignore_errors=True)
    return metrics | {"model_id": load_bundle(str(options.out)).model_id}


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
    prepared = _prepared(options, say)
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
    work, corpora = _work(options.out), {}
    confidence: list[np.ndarray] = []
    for group in groups:
        use = prepared.of(group, inside=False)
        if not len(use):
            raise CorpusError("leave at least one corpus to train on")
        title = f"without {' and '.join(group)}, seed {options.seed}"
        fitted = _fitted(prepared, use, options, options.seed, work, title)
        model = _baseline(prepared, use)
        for name in group:
            corpora[name], sure = _tried(prepared, fitted, model, name)
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


def _prepared(options: PlacesOptions, say: Callable[[str], None]) -> Prepared:
    device = resolve_device(options.device)
    read = read_corpora(options.corpora)
    mapping = options.label_map
    _, labels, _ = with_labels(read, None, mapping, PUBLISHED)
    present = {clip.label for corpus in read for clip in corpus.clips}
    levels = [level for level in LEVELS if level in present]
    corpora, _, notes = with_labels(read, (*labels, *levels), mapping, PUBLISHED)
    bar = partial(tqdm, unit="clip", disable=options.quiet or None, leave=False)
    segments = cut_corpora(corpora, partial(bar, desc="reading"))
    notes = [*notes, *segments.notes]
    for note in notes:
        say(f"note: {note}")
    noises = load_noises(options.noise, SAMPLE_RATE)

    def batches(rows: Sequence[np.ndarray], name: str) -> Iterable[np.ndarray]:
        return tqdm(
            rows, desc=name, unit="batch", disable=options.quiet or None, leave=False
        )

    try:
        bank = open_bank(_work(options.out), segments, noises, batches)
    except OSError as error:
        raise UsageError(
            f"{options.out}: cannot be written: {error.strerror}; the features of all "
            "renderings need about 4 GB for each 10 hours of speech"
        ) from error
    data = _learnable(segments, labels, corpora)
    return Prepared(corpora, labels, segments, bank.on(device), data, notes, device)


def _learnable(
    segments: Segments, labels: Sequence[str], corpora: Sequence[Corpus]
) -> Learnable:
    kind = np.array([segments.clips[i].label for i in segments.clip])
    calm = np.isin(kind, ("neutral", "calm", LEVELS[1]))
    drawable = Drawable(segments.corpus, segments.speaker, segments.clip, kind, calm)
    right = torch.from_numpy(segments.right(labels, corpora))
    return Learnable(drawable, right, torch.from_numpy(segments.arousal()))


def _fitted(
    prepared: Prepared,
    use: np.ndarray,
    options: PlacesOptions,
    seed: int,
    work: Path,
    name: str,
) -> Fitted:
    stem = name.replace(" ", "-").replace(",", "")
    steps = options.recipe.fit.steps
    with tqdm(
        total=steps, desc=name, unit="step", disable=options.quiet or None, leave=False
    ) as bar:

        def on_step(step: int, loss: float) -> None:
            bar.update(step - bar.n)
            bar.set_postfix(loss=f"{loss:.3f}", refresh=False)

        return fit(
            prepared.bank, prepared.data, use, options.recipe, seed, prepared.device,
            work / f"{stem}.pt", on_step,
        )  # fmt: skip


def _bundle(
    options: PlacesOptions,
    prepared: Prepared,
    members: Sequence[Fitted],
    calibration: Calibration,
) -> ProfiledBundle:
    weights = {
        f"members.{number}.{name}": tensor.cpu()
        for number, member in enumerate(members)
        for name, tensor in member.network.state_dict().items()
    }
    usual: Statistics = members[0].usual
    weights |= {OWN_MEAN: usual.mean.cpu(), OWN_VARIANCE: usual.variance.cpu()}
    return ProfiledBundle(
        options.out.name, prepared.labels, options.recipe.network, calibration,
        licence_of(prepared.corpora), weights,
    )  # fmt: skip


def licence_of(corpora: Sequence[Corpus]) -> str:
    """Return what the licences of corpora leave of a bundle that was trained on them."""
    licences = "; ".join(f"{corpus.title}: {corpus.licence}" for corpus in corpora)
    if "NC" in licences or "research" in licences:
        return (
            "for research and other non-commercial use, as the corpora it was trained "
            f"on ({licences})"
        )
    return licences


def _usual_distance(bundle: ProfiledBundle, prepared: Prepared) -> tuple[float, float]:
    found = []
    rng = np.random.default_rng(0)
    place = bundle.own
    members = bundle.modules()
    networks = [Fitted(member, place, []) for member in members]
    for corpus in prepared.corpora:
        rows = prepared.of([corpus.name])
        rows = rng.permutation(rows)[:USUAL_SEGMENTS]
        for rendering in RENDERED.values():
            distances = [
                distance_from_training(fitted, prepared.bank, rows, rendering)
                for fitted in networks
            ]
            found.append(np.mean(distances, axis=0))
    every = np.concatenate(found)
    return float(np.median(every)), float(np.quantile(every, 0.99))


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


def _left_out(out: Path) -> dict[str, Any]:
    return read_json(out / LEFT_OUT) if (out / LEFT_OUT).is_file() else {}


def _metrics(
    options: PlacesOptions,
    prepared: Prepared,
    members: Sequence[Fitted],
    left_out: Mapping[str, Any],
    bundle: ProfiledBundle,
) -> dict[str, Any]:
    clips = prepared.segments.clips
    return {
        "ser_version": __version__,
        "recipe": options.recipe_name,
        "config": to_plain(options.recipe),
        "seeds": list(range(options.seed, options.seed + len(members))),
        "corpora": {
            c.name: {
                "title": c.title,
                "licence": c.licence,
                "labels": c.labels,
                "clips": sum(clip.corpus == c.name for clip in clips),
                "speakers": len(c.speakers),
            }
            for c in prepared.corpora
        },
        "speakers": {"train": sorted({clip.speaker for clip in clips})},
        "notes": prepared.notes,
        "data_sha256": {"clips": prepared.segments.fingerprint},
        "noise": options.noise.name if options.noise else None,
        "versions": training_versions(),
        "device": str(prepared.device),
        "labels": prepared.labels,
        "parameters": sum(
            p.numel() for member in members for p in member.network.parameters()
        ),
        "mflop_per_s": round(megaflops_per_s(options.recipe.network), 1),
        "losses": [member.losses for member in members],
        "calibration": to_plain(bundle.calibration),
        "left_out": dict(left_out),
        "test": {},
    }


def _work(out: Path) -> Path:
    work = out / ".training"
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{out}: cannot be written: {error.strerror}") from error
    return work
