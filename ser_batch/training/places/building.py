"""Many corpora in, a bundle that is told its place out. Read `train_on_places` first."""

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ser_batch.config.structuring import to_plain
from ser_batch.emotion.bundles import load_bundle, read_json, save_bundle
from ser_batch.emotion.calibration import Calibration
from ser_batch.emotion.place import Statistics
from ser_batch.emotion.profiled_bundle import OWN_MEAN, OWN_VARIANCE, ProfiledBundle
from ser_batch.emotion.profiled_network import megaflops_per_s
from ser_batch.training.corpora.clips import Corpus
from ser_batch.training.corpora.labels import aroused_shares
from ser_batch.training.evaluation.plots import draw_reliability
from ser_batch.training.fit.building import training_versions
from ser_batch.training.places.fitting import Fitted
from ser_batch.training.places.leaving_out import RENDERED, distance_from_training
from ser_batch.training.places.places_card import (
    RELIABILITY,
    places_card_text,
    protocol_text,
)
from ser_batch.training.places.preparing import (
    PlacesOptions,
    Prepared,
    fitted,
    prepare,
    work_folder,
)
from ser_batch.training.places.trying import LEFT_OUT
from ser_batch.version import __version__

USUAL_SEGMENTS = 300
"""Of each corpus, for what distances from training are usual."""


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
    prepared = prepare(options, say)
    work, recipe = work_folder(options.out), options.recipe
    everything = np.arange(len(prepared.segments.clip))
    members = []
    for number in range(recipe.network.members):
        name = f"everyone, seed {options.seed + number}"
        members.append(
            fitted(prepared, everything, options, options.seed + number, work, name)
        )
        say(f"{name}: loss {members[-1].losses[-1]:.3f}")
    left_out = _left_out(options.out)
    calibration = Calibration(
        **left_out.get("calibration", {}), answers=left_out.get("answers", {})
    )
    bundle = _bundle(options, prepared, members, calibration)
    usual = _usual_distance(members, prepared)
    bundle = replace(bundle, calibration=replace(calibration, usual_distance=usual))
    metrics = _metrics(options, prepared, members, left_out, bundle)
    metrics["seconds"] = round(time.monotonic() - began, 1)
    save_bundle(options.out, bundle, metrics, places_card_text(metrics, bundle))
    if left_out:
        draw_reliability(options.out / RELIABILITY, left_out)
    shutil.rmtree(work, ignore_errors=True)
    return metrics | {"model_id": load_bundle(str(options.out)).model_id}


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
        options.out.name, prepared.labels, options.recipe.network,
        aroused_shares(prepared.labels), calibration,
        licence_of(prepared.corpora), weights,
    )  # fmt: skip


def licence_of(corpora: Sequence[Corpus]) -> str:
    """Return what the licences of corpora leave of a bundle that was trained on them."""
    licences = [corpus.licence for corpus in corpora]
    if any("NC" in licence or "research" in licence for licence in licences):
        return (
            "for research and other non-commercial use, as the corpora it was trained "
            "on; its card names them and their licences"
        )
    return "; ".join(dict.fromkeys(licences))


def _usual_distance(
    members: Sequence[Fitted], prepared: Prepared
) -> tuple[float, float]:
    found = []
    rng = np.random.default_rng(0)
    for corpus in prepared.corpora:
        rows = prepared.of([corpus.name])
        rows = rng.permutation(rows)[:USUAL_SEGMENTS]
        for rendering in RENDERED.values():
            distances = [
                distance_from_training(member, prepared.bank, rows, rendering)
                for member in members
            ]
            found.append(np.mean(distances, axis=0))
    every = np.concatenate(found)
    return float(np.median(every)), float(np.quantile(every, 0.99))


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
        "protocol": protocol_text(left_out),
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
