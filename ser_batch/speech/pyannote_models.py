"""Models and pipelines of pyannote.audio, loaded safely and without telemetry.

Imported only on demand, as pyannote.audio takes seconds and imports all of torch.
"""

import importlib
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
CLUSTERINGS = ("VBxClustering", "AgglomerativeClustering")
"""Others need the number of voices, or the truth."""
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
        architecture = checkpoint["pyannote.audio"]["architecture"]
        module, name = str(architecture["module"]), str(architecture["class"])
        settings = checkpoint.get("hyper_parameters", {})
    except Exception as error:  # a file can fail to be a checkpoint in many ways
        raise UsageError(
            f"{path}: not a pyannote model that can be loaded safely: {error}"
        ) from error
    # Lightning would import and call whatever the second names.
    if not module.startswith("pyannote.audio.models.") or "_instantiator" in settings:
        raise UsageError(
            f"{path}: its network is {module}.{name}, which is not one of "
            "pyannote.audio's"
        )
    try:
        kind = getattr(importlib.import_module(module), name)
        if not issubclass(kind, Model):
            raise TypeError(f"{module}.{name} is not a network")
        # These bytes contain nothing but what was just allowed, so it is safe to pass
        # them to the library's own loader.
        model = Model.from_pretrained(io.BytesIO(data))
        assert model is not None
    except Exception as error:  # whatever is missing or does not fit
        raise UsageError(f"{path}: cannot be loaded: {error}") from error
    return model.eval()


def load_pipeline(name: str, option: str) -> SpeakerDiarization:
    """Load a speaker diarization pipeline from a local folder, or the hub.

    The folder contains `config.yaml`, and what that refers to as `$model/...`. A
    pipeline from the hub may refer to other models there, a local one may not.

    Raises:
        UsageError: there is no such pipeline, or it cannot be loaded safely.
    """
    folder = Path(name)
    is_local = folder.is_dir()
    if not is_local:
        folder = _from_hub(name, option)
    path = folder / PIPELINE
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        kind = str(config["pipeline"]["name"])
        given, settings = dict(config["pipeline"]["params"]), dict(config["params"])
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError) as error:
        message = f"{path}: not a pyannote pipeline: {error}"
        raise UsageError(message) from error
    # The name is that of any class, and loading it would run its code.
    if not kind.startswith("pyannote.audio.") or not kind.endswith(
        ".SpeakerDiarization"
    ):
        raise UsageError(f"{path}: it is a {kind}, not a SpeakerDiarization")
    clustering = given.setdefault("clustering", "VBxClustering")
    if clustering not in CLUSTERINGS:
        raise UsageError(f"{path}: {clustering} cannot be used here")
    parts = ["segmentation", "embedding"]
    parts += ["plda"] if clustering == "VBxClustering" else []
    for part in parts:
        given[part] = _within(folder, given.get(part), part, is_local)
    for part in ("segmentation", "embedding"):
        given[part] = load_model(given[part], option)
    if clustering != "VBxClustering":
        # Not used, but the library would download one.
        given["plda"] = object.__new__(PLDA)
    try:
        pipeline = SpeakerDiarization(**given | {"legacy": False})
        pipeline.instantiate(settings)
    except Exception as error:  # whatever is wrong with its options
        raise UsageError(f"{path}: cannot be loaded: {error}") from error
    return pipeline


def _within(folder: Path, name: Any, part: str, is_local: bool) -> str:
    """Return the path of a part that is given as `$model/...`, or a name on the hub."""
    config = folder / PIPELINE
    if not isinstance(name, str):
        raise UsageError(f"{config}: {part} is not a path or a name")
    if name.startswith(_FOLDER):
        return name.replace(_FOLDER, str(folder), 1)
    if is_local and not Path(name).exists():
        raise UsageError(
            f"{config}: {part} is {name}, which is not in this folder: copy it there, "
            f"and refer to it as {_FOLDER}/{part}"
        )
    return name


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
