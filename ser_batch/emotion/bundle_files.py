"""The files of a bundle, read without loading the model.

NAME/
  model.safetensors   the weights; no pickle is ever loaded
  config.json         network, features or front end, labels in order, licence, sha256
  calibration.json    temperature, abstention threshold
  metrics.json        the results, the speakers they were measured on, and everything
                      needed to train it again
  README.md           the model card, written from metrics.json
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ser_batch.emotion.answers import Answers
from ser_batch.errors import BundleError
from ser_batch.shipped import MODELS_FOLDER
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

    @property
    def model_id(self) -> str:
        """`NAME@fingerprint`; bundles with the same id give equal probabilities."""
        kinds = ("frontend", "aroused") if "frontend" in self.config else ("features",)
        names = ("labels", *kinds, "network", "sha256")
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
    def answers(self) -> Answers:
        """The model's answers on held-out corpora; empty if they are not known."""
        answers: Answers = self.calibration.get("answers", {})
        return answers


def find_bundle(name_or_path: str) -> Path:
    """Return the folder of a shipped bundle by its name, or of any bundle by its path.

    Raises:
        BundleError: there is none; the message lists the shipped ones.
    """
    for folder in (Path(name_or_path), MODELS_FOLDER / name_or_path):
        if (folder / "config.json").is_file():
            return folder
    names = [path.name for path in shipped_bundles()]
    raise BundleError(
        f"no bundle {name_or_path!r}: give the path of one, or the name of a shipped "
        f"one ({', '.join(names) or 'none'}){did_you_mean(name_or_path, names)}"
    )


def shipped_bundles() -> Iterator[Path]:
    """Return the folders of the bundles shipped with this package."""
    return (path.parent for path in sorted(MODELS_FOLDER.glob("*/config.json")))


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
    files = BundleFiles(folder, config, calibration, _checked_weights(folder, config))
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
