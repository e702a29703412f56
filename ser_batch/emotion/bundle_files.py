"""The files of a bundle, read without loading the model.

NAME/
  model.safetensors   the weights; no pickle is ever loaded
  config.json         network, features or front end, labels in order, licence, sha256
  calibration.json    temperature, abstention threshold
  metrics.json        the results, the speakers they were measured on, and everything
                      needed to train it again
  README.md           the model card, written from metrics.json

`checkpoints/bundle.py` has those of a checkpoint of transformers.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ser_batch.emotion.answers import Answers
from ser_batch.errors import BundleError
from ser_batch.shipped import MODELS_FOLDER, added_models
from ser_batch.text import did_you_mean

FORMAT = 2


@dataclass(frozen=True)
class BundleFiles:
    """The content of a bundle's files, with weights that match their checksum.

    It has those attributes of a `Scorer` that do not need its network.
    """

    folder: Path
    config: dict[str, Any]
    calibration: dict[str, Any]
    weights: bytes
    """Empty for a checkpoint, which is large, and checked when it is loaded."""

    @property
    def model_id(self) -> str:
        """`NAME@fingerprint`; bundles with the same id give equal probabilities."""
        if self.takes_profile:
            kind = ["frontend", "aroused", "network"]
        elif "heard_as" in self.config:
            kind = ["heard_as"]
        else:
            kind = ["features", "network"]
        names = ["labels", *kind, "sha256"]
        shaping = [*(self.config[key] for key in names), self.calibration]
        text = json.dumps(shaping, sort_keys=True)
        return f"{self.config['name']}@{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of the probabilities."""
        return tuple(self.config["labels"])

    @property
    def licence(self) -> str:
        """The licence of the weights."""
        return str(self.config["licence"])

    @property
    def takes_profile(self) -> bool:
        """Whether the model uses the profile of a place."""
        return "frontend" in self.config

    @property
    def answers(self) -> Answers:
        """The model's answers on held-out corpora; empty if they are not known."""
        answers: Answers = self.calibration.get("answers", {})
        return answers


def find_bundle(name_or_path: str) -> Path:
    """Return the folder of a bundle, by its path or its name.

    Those with a name are shipped, or were added by `ser models add`.

    Raises:
        BundleError: there is none; the message lists those with a name.
    """
    for place in (Path(), MODELS_FOLDER, added_models()):
        if (place / name_or_path / "config.json").is_file():
            return place / name_or_path
    names = [path.name for path in (*shipped_bundles(), *added_bundles())]
    raise BundleError(
        f"no bundle {name_or_path!r}: give the path of one, or a name "
        f"({', '.join(names) or 'there are none'}){did_you_mean(name_or_path, names)}"
    )


def shipped_bundles() -> Iterator[Path]:
    """Return the folders of the bundles shipped with this package."""
    return (path.parent for path in sorted(MODELS_FOLDER.glob("*/config.json")))


def added_bundles() -> Iterator[Path]:
    """Return the folders of the bundles that were added on this machine."""
    return (path.parent for path in sorted(added_models().glob("[!.]*/config.json")))


def read_bundle(name_or_path: str) -> BundleFiles:
    """Read the files of a bundle and check their format and the hash of the weights.

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
    weights = b"" if "heard_as" in config else _checked_weights(folder, config)
    files = BundleFiles(folder, config, calibration, weights)
    try:
        _ = files.model_id, files.labels, files.licence
    except (KeyError, TypeError) as error:
        message = f"{folder}: config.json does not describe the weights: {error}"
        raise BundleError(message, path=folder) from error
    return files


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
