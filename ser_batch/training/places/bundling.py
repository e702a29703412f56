"""Bundles from fitted networks, with their metrics and model card."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ser_batch.config.structuring import to_plain
from ser_batch.emotion.bundles import save_bundle
from ser_batch.emotion.calibration import Calibration
from ser_batch.emotion.profiled_bundle import OWN_MEAN, OWN_VARIANCE, ProfiledBundle
from ser_batch.emotion.profiled_network import megaflops_per_s
from ser_batch.training.corpora.clips import Corpus
from ser_batch.training.corpora.labels import aroused_shares
from ser_batch.training.fit.building import training_versions
from ser_batch.training.places.fitting import Fitted
from ser_batch.training.places.leaving_out import RENDERED, distance_from_training
from ser_batch.training.places.places_card import places_card_text, protocol_text
from ser_batch.training.places.preparing import PlacesOptions, Prepared
from ser_batch.version import __version__

USUAL_SEGMENTS = 300
"""Segments per corpus for the usual distances from the training data."""


def write_bundle(
    folder: Path,
    options: PlacesOptions,
    prepared: Prepared,
    members: Sequence[Fitted],
    corpora: Sequence[Corpus],
    calibration: Calibration,
    left_out: Mapping[str, Any],
    **more: Any,
) -> dict[str, Any]:
    """Write networks fitted to `corpora` as a bundle, and return its metrics.

    `left_out` are the figures of such networks on held-out corpora; `more` is added to
    the metrics.

    Raises:
        BundleError: the folder cannot be written.
    """
    weights = {
        f"members.{number}.{name}": tensor.cpu()
        for number, member in enumerate(members)
        for name, tensor in member.network.state_dict().items()
    }
    usual = members[0].usual
    weights |= {OWN_MEAN: usual.mean.cpu(), OWN_VARIANCE: usual.variance.cpu()}
    distance = _usual_distance(members, prepared, corpora)
    bundle = ProfiledBundle(
        folder.name, prepared.labels, options.recipe.network,
        aroused_shares(prepared.labels),
        replace(calibration, usual_distance=distance),
        licence_of(corpora), weights,
    )  # fmt: skip
    metrics = _metrics(options, prepared, members, corpora, left_out, bundle) | more
    save_bundle(folder, bundle, metrics, places_card_text(metrics, bundle))
    return metrics


def licence_of(corpora: Sequence[Corpus]) -> str:
    """Return the licence of a bundle, from those of the corpora it was trained on."""
    licences = [corpus.licence for corpus in corpora]
    if any("NC" in licence or "research" in licence for licence in licences):
        return (
            "for research and other non-commercial use, as the corpora it was trained "
            "on; its card names them and their licences"
        )
    return "; ".join(dict.fromkeys(licences))


def _usual_distance(
    members: Sequence[Fitted], prepared: Prepared, corpora: Sequence[Corpus]
) -> tuple[float, float]:
    """Return the median and the 99th percentile of distances from the training data."""
    found = []
    rng = np.random.default_rng(0)
    for corpus in corpora:
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


def _metrics(
    options: PlacesOptions,
    prepared: Prepared,
    members: Sequence[Fitted],
    corpora: Sequence[Corpus],
    left_out: Mapping[str, Any],
    bundle: ProfiledBundle,
) -> dict[str, Any]:
    names = {corpus.name for corpus in corpora}
    clips = [clip for clip in prepared.segments.clips if clip.corpus in names]
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
            for c in corpora
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
