"""Tiny networks of pyannote.audio with random weights, saved in its format."""

from pathlib import Path

import torch
import yaml

# The package turns telemetry off before it imports the library.
from ser_batch.speech.pyannote_models import Model

from pyannote.audio import __version__  # isort: skip
from pyannote.audio.core.task import Problem, Resolution, Specifications  # isort: skip
from pyannote.audio.models.embedding import XVectorMFCC  # isort: skip
from pyannote.audio.models.segmentation import PyanNet  # isort: skip


def tiny_pyannet(specifications: Specifications) -> PyanNet:
    """Return a segmentation network with what it is to predict."""
    network = PyanNet(
        lstm={"hidden_size": 8, "num_layers": 1},
        linear={"hidden_size": 8, "num_layers": 1},
    )
    network.specifications = specifications
    network.build()
    return network


def save(network: Model, folder: Path) -> Path:
    """Write a network as pyannote.audio does; return the path of the checkpoint."""
    kind = type(network)
    saved = {
        "state_dict": network.state_dict(),
        "hyper_parameters": dict(network.hparams),
        "pytorch-lightning_version": "2.0.0",
        "pyannote.audio": {
            "versions": {"torch": torch.__version__, "pyannote.audio": __version__},
            "architecture": {"module": kind.__module__, "class": kind.__name__},
            "specifications": network.specifications,
        },
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "pytorch_model.bin"
    torch.save(saved, path)
    return path


def save_pipeline(folder: Path, seed: int = 0) -> Path:
    """Write a speaker diarization pipeline into a folder, and return it."""
    torch.manual_seed(seed)
    specifications = Specifications(
        problem=Problem.MONO_LABEL_CLASSIFICATION,
        resolution=Resolution.FRAME,
        duration=5.0,
        classes=["a", "b", "c"],
        powerset_max_classes=2,
        permutation_invariant=True,
    )
    segmentation = tiny_pyannet(specifications)
    with torch.no_grad():
        # Classes vary with the sound: the last layer is scaled to separate its levels.
        segmentation.classifier.weight.mul_(80)
    save(segmentation, folder / "segmentation")
    embedding = XVectorMFCC(dimension=8)
    embedding.specifications = Specifications(
        problem=Problem.REPRESENTATION, resolution=Resolution.CHUNK, duration=5.0
    )
    save(embedding, folder / "embedding")
    config = {
        "pipeline": {
            "name": "pyannote.audio.pipelines.SpeakerDiarization",
            "params": {
                "clustering": "AgglomerativeClustering",
                "segmentation": "$model/segmentation",
                "segmentation_step": 0.5,
                "embedding": "$model/embedding",
                "embedding_exclude_overlap": True,
            },
        },
        "params": {
            "clustering": {
                "method": "centroid",
                "min_cluster_size": 2,
                "threshold": 0.7,
            },
            "segmentation": {"min_duration_off": 0.0},
        },
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return folder
