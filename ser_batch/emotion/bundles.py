"""Trained models on disk: loaded with their weights, and saved."""

import dataclasses
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from ser_batch.config.structuring import from_plain, to_plain
from ser_batch.emotion import frontend
from ser_batch.emotion.bundle_files import (
    FORMAT,
    BundleFiles,
    json_bytes,
    read_bundle,
)
from ser_batch.emotion.calibration import Calibration
from ser_batch.emotion.checkpoints.bundle import CheckpointBundle
from ser_batch.emotion.features import FeatureConfig, Features
from ser_batch.emotion.network import CnnBiLstm, NetworkConfig
from ser_batch.emotion.place import N_CEPSTRA
from ser_batch.emotion.profiled_bundle import ProfiledBundle
from ser_batch.emotion.profiled_network import ProfiledNetworkConfig
from ser_batch.errors import BundleError, ConfigError
from ser_batch.storage.local import LocalStorage

FRONTEND = {
    "sample_rate": frontend.SAMPLE_RATE,
    "window": frontend.WINDOW,
    "hop": frontend.HOP,
    "fft": frontend.FFT,
    "mels": frontend.N_MELS,
    "low_hz": frontend.LOW_HZ,
    "high_hz": frontend.HIGH_HZ,
    "cepstra": N_CEPSTRA,
}
"""The front end of profiled networks; that in a bundle must be the same."""


@dataclass(frozen=True)
class Bundle:
    """A model and everything needed to use it; only it defines the order of labels."""

    name: str
    labels: tuple[str, ...]
    features: FeatureConfig
    network: NetworkConfig
    calibration: Calibration
    licence: str
    weights: dict[str, Tensor] = field(repr=False)
    model_id: str = ""
    """The name, and a fingerprint of everything that affects a probability."""

    def modules(self) -> tuple[Features, CnnBiLstm]:
        """Return the feature and network modules with the weights, for inference."""
        network = CnnBiLstm(
            self.network,
            self.features.n_static,
            1 + self.features.deltas,
            len(self.labels),
        )
        network.load_state_dict(self.weights)
        return Features(self.features).eval(), network.eval()


AnyBundle = Bundle | ProfiledBundle | CheckpointBundle


def load_bundle(name_or_path: str) -> AnyBundle:
    """Load a bundle and check its hash; that of a checkpoint, when a scorer loads it.

    Raises:
        BundleError: it is missing, incomplete or damaged, or has another format.
    """
    files = read_bundle(name_or_path)
    try:
        bundle = _bundle_from(files)
        if not isinstance(bundle, CheckpointBundle):
            bundle.modules()
    except (
        KeyError,
        TypeError,
        RuntimeError,
        ConfigError,
        ValueError,
        safetensors.SafetensorError,
    ) as error:
        message = f"{files.folder}: config.json does not describe the weights: {error}"
        raise BundleError(message, path=files.folder) from error
    return bundle


def _bundle_from(files: BundleFiles) -> AnyBundle:
    config = files.config
    common: dict[str, Any] = {
        "name": config["name"],
        "labels": files.labels,
        "calibration": _calibration(files.calibration),
        "licence": files.licence,
        "model_id": files.model_id,
    }
    if "heard_as" in config:
        return CheckpointBundle(
            folder=files.folder,
            heard_as=tuple(config["heard_as"]),
            source=config["source"],
            sha256=dict(config["sha256"]),
            **common,
        )
    common["weights"] = safetensors.torch.load(files.weights)
    if "frontend" not in config:
        features = from_plain(FeatureConfig, config["features"], "features")
        network = from_plain(NetworkConfig, config["network"], "network")
        return Bundle(features=features, network=network, **common)
    if config["frontend"] != FRONTEND:
        raise ValueError(
            f"its front end is {config['frontend']}; this version has {FRONTEND}"
        )
    shape = from_plain(ProfiledNetworkConfig, config["network"], "network")
    aroused = tuple(config["aroused"])
    if len(aroused) != len(common["labels"]):
        raise ValueError("`aroused` must have a number for each label")
    return ProfiledBundle(network=shape, aroused=aroused, **common)


def _calibration(values: dict[str, Any]) -> Calibration:
    usual = values.get("usual_distance")
    return Calibration(
        values["temperature"],
        values["abstain_below"],
        None if usual is None else (usual[0], usual[1]),
        values.get("answers", {}),
        tuple(values.get("alike", ())),
    )


def save_bundle(
    folder: Path, bundle: "Bundle | ProfiledBundle", metrics: dict[str, Any], card: str
) -> None:
    """Write all files of a bundle.

    Raises:
        BundleError: the folder cannot be written.
    """
    weights = {name: t.contiguous().cpu() for name, t in bundle.weights.items()}
    data = safetensors.torch.save(weights)
    if isinstance(bundle, Bundle):
        kind = {"features": to_plain(bundle.features)}
    else:
        kind = {"frontend": FRONTEND, "aroused": bundle.aroused}
    config = {
        "format": FORMAT,
        "name": bundle.name,
        "labels": bundle.labels,
        **kind,
        "network": to_plain(bundle.network),
        "licence": bundle.licence,
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    files = {
        "README.md": card.encode(),
        "metrics.json": json_bytes(metrics),
        "calibration.json": json_bytes(dataclasses.asdict(bundle.calibration)),
        "model.safetensors": data,
        "config.json": json_bytes(config),
    }
    _write(folder, files)


def save_checkpoint_bundle(
    bundle: CheckpointBundle, metrics: dict[str, Any], card: str
) -> None:
    """Write what describes a checkpoint, beside its weights.

    Raises:
        BundleError: the folder cannot be written.
    """
    config = {
        "format": FORMAT,
        "name": bundle.name,
        "labels": bundle.labels,
        "heard_as": bundle.heard_as,
        "source": bundle.source,
        "licence": bundle.licence,
        "sha256": bundle.sha256,
    }
    files = {
        "README.md": card.encode(),
        "metrics.json": json_bytes(metrics),
        "calibration.json": json_bytes(dataclasses.asdict(bundle.calibration)),
        "config.json": json_bytes(config),
    }
    _write(bundle.folder, files)


def _write(folder: Path, files: dict[str, bytes]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        LocalStorage(folder).put(files)
    except OSError as error:
        raise BundleError(
            f"{folder}: cannot be written: {error.strerror}; free up disk space, and "
            "try again",
            path=folder,
        ) from error
