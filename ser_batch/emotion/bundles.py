"""Trained models on disk: weights, labels, features, calibration, metrics and card.

NAME/
  model.safetensors   the weights; no pickle is ever loaded
  config.json         network, features or front end, labels in order, licence, sha256
  calibration.json    temperature, abstention threshold
  metrics.json        the results, the speakers they were measured on, and everything
                      needed to train it again
  README.md           the model card, written from metrics.json
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from ser_batch.config.structuring import from_plain, to_plain
from ser_batch.emotion import frontend
from ser_batch.emotion.calibration import Calibration
from ser_batch.emotion.features import FeatureConfig, Features
from ser_batch.emotion.network import CnnBiLstm, NetworkConfig
from ser_batch.emotion.place import N_CEPSTRA
from ser_batch.emotion.profiled_bundle import ProfiledBundle
from ser_batch.emotion.profiled_network import ProfiledNetworkConfig
from ser_batch.errors import BundleError, ConfigError
from ser_batch.storage.local import LocalStorage

FORMAT = 2
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
_PACKAGE = Path(__file__).parents[1]
# A wheel has the bundles inside the package, a checkout has them next to it.
_INSIDE, _BESIDE = _PACKAGE / "models", _PACKAGE.parent / "models"
BUNDLES_FOLDER = _INSIDE if _INSIDE.is_dir() else _BESIDE


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


def find_bundle(name_or_path: str) -> Path:
    """Return the folder of a shipped bundle by its name, or of any bundle by its path.

    Raises:
        BundleError: there is none; the message lists the shipped ones.
    """
    for folder in (Path(name_or_path), BUNDLES_FOLDER / name_or_path):
        if (folder / "config.json").is_file():
            return folder
    names = ", ".join(path.name for path in shipped_bundles()) or "none"
    raise BundleError(
        f"no bundle {name_or_path!r}: give the path of one, or the name of a shipped "
        f"one ({names})"
    )


def shipped_bundles() -> Iterator[Path]:
    """Return the folders of the bundles shipped with this package."""
    return (path.parent for path in sorted(BUNDLES_FOLDER.glob("*/config.json")))


def load_bundle(name_or_path: str) -> "Bundle | ProfiledBundle":
    """Load a bundle and check its hash.

    Raises:
        BundleError: it is missing, incomplete or damaged, or has another format.
    """
    folder = find_bundle(name_or_path)
    config = read_json(folder / "config.json")
    calibration = read_json(folder / "calibration.json")
    if config.get("format") != FORMAT:
        raise BundleError(
            f"{folder}: bundle format {config.get('format')}; this version reads "
            f"format {FORMAT}: use the version that made it",
            path=folder,
        )
    weights = _checked_weights(folder, config)
    try:
        bundle = _bundle_from(config, calibration, safetensors.torch.load(weights))
        bundle.modules()
    except (
        KeyError,
        TypeError,
        RuntimeError,
        ConfigError,
        ValueError,
        safetensors.SafetensorError,
    ) as error:
        message = f"{folder}: config.json does not describe the weights: {error}"
        raise BundleError(message, path=folder) from error
    return bundle


def _checked_weights(folder: Path, config: dict[str, Any]) -> bytes:
    advice = "copy the bundle again"
    path = folder / "model.safetensors"
    try:
        data = path.read_bytes()
    except OSError as error:
        message = f"{path}: {error.strerror}; install or {advice}"
        raise BundleError(message, path=path) from error
    if hashlib.sha256(data).hexdigest() != config.get("sha256"):
        raise BundleError(
            f"{folder}: the weights do not match config.json (SHA-256 differs); "
            f"{advice}",
            path=path,
        )
    return data


def _bundle_from(
    config: dict[str, Any], calibration: dict[str, Any], weights: dict[str, Tensor]
) -> "Bundle | ProfiledBundle":
    common: dict[str, Any] = {
        "name": config["name"],
        "labels": tuple(config["labels"]),
        "calibration": _calibration(calibration),
        "licence": config["licence"],
        "weights": weights,
        "model_id": model_id(config, calibration),
    }
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
    try:
        folder.mkdir(parents=True, exist_ok=True)
        LocalStorage(folder).put(files)
    except OSError as error:
        raise BundleError(
            f"{folder}: cannot be written: {error.strerror}; free up disk space, and "
            "try again",
            path=folder,
        ) from error


def model_id(config: dict[str, Any], calibration: dict[str, Any]) -> str:
    """Return `NAME@fingerprint`; bundles with the same id give equal probabilities."""
    kinds = ("frontend", "aroused") if "frontend" in config else ("features",)
    shaping = [config[key] for key in ("labels", *kinds, "network", "sha256")]
    shaping.append(calibration)
    digest = hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()
    return f"{config['name']}@{digest[:12]}"


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file of a bundle.

    Raises:
        BundleError: the file is missing or contains something else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BundleError(
            f"{path}: {error.strerror}; the bundle is incomplete: copy it again"
        ) from error
    except ValueError as error:
        raise BundleError(
            f"{path}: not valid JSON ({error}); copy the bundle again"
        ) from error
    if not isinstance(value, dict):
        raise BundleError(f"{path}: not a JSON object; copy the bundle again")
    return value


def json_bytes(value: Any) -> bytes:
    """Return JSON that a person can read and diff."""
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
