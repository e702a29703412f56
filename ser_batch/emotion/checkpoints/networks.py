"""Loading checkpoints, and refusing those that would not work as they claim.

Nothing is downloaded here, no pickle is opened, and no code of a checkpoint is run.
"""

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch
import transformers
from transformers.utils import logging

from ser_batch.emotion.checkpoints.dimensional import DimensionalNetwork
from ser_batch.emotion.scorer import DIMENSIONS
from ser_batch.errors import BundleError

LONGEST_S = 30.0
"""Longer segments are scored in windows; attention takes the square of the length."""
FAMILIES = (
    "Wav2Vec2ForSequenceClassification", "HubertForSequenceClassification",
    "WavLMForSequenceClassification", "UniSpeechForSequenceClassification",
    "UniSpeechSatForSequenceClassification", "WhisperForAudioClassification",
    "ASTForAudioClassification",
)  # fmt: skip
DIMENSIONAL = "Wav2Vec2ForSpeechClassification"
"""What audeering's model calls itself; transformers has no such class."""
UNUSED = "masked_spec_embed"
"""Used in training only, so that it may be missing."""


_UNLOADABLE = (
    OSError, ValueError, KeyError, TypeError, RuntimeError,
    safetensors.SafetensorError,
)  # fmt: skip


@dataclass(frozen=True)
class Checkpoint:
    """A loaded checkpoint, ready for inference on the CPU."""

    network: torch.nn.Module
    extractor: Any
    outputs: tuple[str, ...]
    """Its own names of its outputs, in lower case."""
    is_dimensional: bool
    input_s: float
    """The length that all input is padded or cut to; infinite if it may be any."""
    is_batched: bool
    """Whether a batch gives what each segment would alone."""

    @property
    def longest_s(self) -> float:
        """The longest audio that it hears at once."""
        return min(LONGEST_S, self.input_s)

    @property
    def sample_rate(self) -> int:
        """The sample rate of its input, in Hz."""
        return int(self.extractor.sampling_rate)

    @property
    def last_layer(self) -> torch.nn.Linear:
        """The linear layer whose output is that of the network."""
        layers = [
            layer
            for layer in self.network.modules()
            if isinstance(layer, torch.nn.Linear)
        ]
        return layers[-1]


def load_checkpoint(folder: Path) -> Checkpoint:
    """Load a checkpoint from a folder of its files.

    Raises:
        BundleError: it is of another kind, incomplete, or would need code of its own.
    """
    config = _checked_config(folder)
    is_dimensional = config["architectures"][0] == DIMENSIONAL
    of: Any = DimensionalNetwork
    if not is_dimensional:
        of = getattr(transformers, config["architectures"][0])
    # Its progress bars and its advice are not for those who only run a checkpoint.
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            extractor = transformers.AutoFeatureExtractor.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
            network, info = of.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
                dtype=torch.float32,
            )
    except _UNLOADABLE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BundleError(
            f"{folder}: the checkpoint cannot be loaded: {reason}", path=folder
        ) from error
    _check_complete(folder, info)
    names = network.config.id2label
    outputs = tuple(str(names[i]).strip().lower() for i in range(len(names)))
    if is_dimensional and not set(outputs) <= set(DIMENSIONS):
        raise BundleError(
            f"{folder}: its outputs are {', '.join(outputs)}, not "
            f"{', '.join(DIMENSIONS)}",
            path=folder,
        )
    return Checkpoint(
        network.eval(),
        extractor,
        outputs,
        is_dimensional,
        _input_s(extractor),
        # A group norm over time hears the padding of shorter segments.
        getattr(network.config, "feat_extract_norm", None) != "group",
    )


def _checked_config(folder: Path) -> dict[str, Any]:
    def refused(why: str) -> BundleError:
        return BundleError(f"{folder}: {why}", path=folder)

    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        (kind, *_) = config["architectures"]
    except OSError as error:
        raise refused(
            f"not a checkpoint of transformers: config.json: {error.strerror}"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise refused("config.json does not say which network it is of") from error
    if "auto_map" in config:
        raise refused("needs Python code of its own, which ser never runs")
    if kind not in (*FAMILIES, DIMENSIONAL):
        raise refused(
            f"is a {kind}; ser runs {', '.join(FAMILIES)}, and the dimensional model "
            f"of audeering ({DIMENSIONAL})"
        )
    if config.get("problem_type") == "multi_label_classification":
        raise refused("its labels do not exclude each other, so they are no emotions")
    if not (folder / "preprocessor_config.json").is_file():
        raise refused(
            "has no feature extractor (preprocessor_config.json): copy that of the "
            "model that it was fine-tuned from"
        )
    if not any(folder.glob("*.safetensors")):
        raise refused(
            "has no weights in safetensors. Other formats can run code when they are "
            "opened: if you trust the source, convert it with save_pretrained of "
            "transformers"
        )
    return dict(config)


def _check_complete(folder: Path, info: dict[str, Any]) -> None:
    """Refuse a checkpoint whose weights would be random in part."""
    missing = [str(key) for key in info["missing_keys"] if UNUSED not in str(key)]
    missing += [str(key) for key, *_ in info["mismatched_keys"]]
    if missing:
        raise BundleError(
            f"{folder}: its weights lack {', '.join(sorted(missing)[:3])}"
            f"{' and more' if len(missing) > 3 else ''}, which would be random: it was "
            "saved without a classification head, or for another network",
            path=folder,
        )


def _input_s(extractor: Any) -> float:
    """Return the length that all input gets; infinite if it may be any."""
    if isinstance(extractor, transformers.WhisperFeatureExtractor):
        return float(extractor.chunk_length)
    if isinstance(extractor, transformers.ASTFeatureExtractor):
        return float(extractor.max_length) / 100  # frames of 10 ms
    return float("inf")
