"""Models and pipelines of pyannote.audio, loaded safely and without telemetry.

Imported only on demand, as pyannote.audio takes seconds and imports all of torch.
"""

import io
import os
import warnings
from pathlib import Path
from typing import Any

import torch
import yaml
from huggingface_hub import hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
)

from ser_batch.errors import UsageError

os.environ["PYANNOTE_METRICS_ENABLED"] = "0"
with warnings.catch_warnings():
    # It warns that it cannot decode files, but it only ever gets waveforms.
    warnings.simplefilter("ignore")
    from pyannote.audio import Model
    from pyannote.audio.core.plda import PLDA
    from pyannote.audio.core.task import Problem, Resolution, Specifications
    from pyannote.audio.pipelines import SpeakerDiarization

PIPELINE = "config.yaml"
MODEL = "pytorch_model.bin"
_FOLDER = "$model"
_ALLOWED: list[Any] = [
    Problem,
    Resolution,
    Specifications,
    torch.torch_version.TorchVersion,
]


def load_model(name: str, option: str) -> Model:
    """Load a model from a local checkpoint or its folder, or the hub.

    Checkpoints are pickles, which can run code when they are loaded. One that contains
    anything but tensors, plain values and pyannote's own specifications is rejected.

    Args:
        name: a path, or a name on the hub.
        option: the option that gave the name, for messages.

    Raises:
        UsageError: there is no such model, or it cannot be loaded safely.
    """
    path = Path(name)
    path = path / MODEL if path.is_dir() else path
    if not path.is_file():
        path = _from_hub(name, option, MODEL)
    data = path.read_bytes()
    try:
        with torch.serialization.safe_globals(_ALLOWED):
            checkpoint = torch.load(
                io.BytesIO(data), map_location="cpu", weights_only=True
            )
        module = checkpoint["pyannote.audio"]["architecture"]["module"]
    except Exception as error:  # a file can fail to be a checkpoint in many ways
        raise UsageError(
            f"{path}: not a pyannote model that can be loaded safely: {error}"
        ) from error
    if not module.startswith("pyannote.audio.models."):
        raise UsageError(
            f"{path}: its network is {module}, which is not one of pyannote.audio's"
        )
    # These bytes contain nothing but what was just allowed, so it is safe to pass them
    # to the library's own loader.
    model = Model.from_pretrained(io.BytesIO(data))
    assert model is not None
    return model.eval()


def load_pipeline(name: str, option: str) -> SpeakerDiarization:
    """Load a speaker diarization pipeline from a local folder, or the hub.

    The folder contains `config.yaml`, and what that refers to as `$model/...`. Other
    models that it names come from the hub.

    Raises:
        UsageError: there is no such pipeline, or it cannot be loaded safely.
    """
    folder = Path(name)
    if not (folder / PIPELINE).is_file():
        folder = _from_hub(name, option)
    path = folder / PIPELINE
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        kind, given = config["pipeline"]["name"], dict(config["pipeline"]["params"])
        settings = config["params"]
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError) as error:
        message = f"{path}: not a pyannote pipeline: {error}"
        raise UsageError(message) from error
    # The name is that of any class, and loading it would run its code.
    if not kind.startswith("pyannote.audio.") or not kind.endswith(
        ".SpeakerDiarization"
    ):
        raise UsageError(f"{path}: it is a {kind}, not a SpeakerDiarization")
    for part in ("segmentation", "embedding"):
        given[part] = load_model(_within(folder, given.get(part), part), option)
    if "plda" in given:
        given["plda"] = _within(folder, given["plda"], "plda")
    elif given.get("clustering") != "VBxClustering":
        # Not used, but the library would download one.
        given["plda"] = object.__new__(PLDA)
    try:
        pipeline = SpeakerDiarization(**given)
        pipeline.instantiate(settings)
    except Exception as error:  # whatever is wrong with its options
        raise UsageError(f"{path}: cannot be loaded: {error}") from error
    return pipeline


def _within(folder: Path, name: Any, part: str) -> str:
    """Return the path that a pipeline gives as `$model/...`, or a name on the hub."""
    if not isinstance(name, str):
        raise UsageError(f"{folder / PIPELINE}: {part} is not a path or a name")
    return name.replace(_FOLDER, str(folder), 1) if name.startswith(_FOLDER) else name


def _from_hub(name: str, option: str, file: str | None = None) -> Path:
    """Return the path of a repository of the hub, or of one of its files."""
    try:
        return Path(hf_hub_download(name, file) if file else snapshot_download(name))
    except (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OSError,
    ) as error:
        raise UsageError(
            f"{option} {name}: not a local path, and cannot be downloaded from the "
            f"hub ({type(error).__name__}): accept the model's licence there and log "
            "in, or give the path of a copy"
        ) from error
