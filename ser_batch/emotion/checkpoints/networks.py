"""Loading checkpoints, and refusing those that would not work as they claim.

Nothing is downloaded here, no pickle is opened, and no code of a checkpoint is run.
"""

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


LEAST_RATE, MOST_RATE = 4_000, 192_000
ATTENTION = (None, "eager", "sdpa")
"""Others are programs of their own, which transformers would fetch."""


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
        names = network.config.id2label
        outputs = tuple(_named(i, names[i]) for i in range(len(names)))
        rate = extractor.sampling_rate
    except Exception as error:  # whatever a malformed file does
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise _refused(folder, f"cannot be loaded: {reason}") from error
    _check_complete(folder, info)
    if not (isinstance(rate, int) and LEAST_RATE <= rate <= MOST_RATE):
        raise _refused(
            folder, f"its sampling rate is {rate!r}, not {LEAST_RATE} to {MOST_RATE} Hz"
        )
    if is_dimensional != (set(outputs) <= set(DIMENSIONS)) or (
        is_dimensional and len(set(outputs)) < len(outputs)
    ):
        raise _refused(
            folder,
            f"its outputs are {', '.join(outputs)}: dimensions are those of a "
            f"{DIMENSIONAL} alone, each once",
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


def _refused(folder: Path, why: str) -> BundleError:
    return BundleError(f"{folder}: {why}", path=folder)


def _named(number: int, name: object) -> str:
    """Return the name of an output; its number, if it cannot be typed."""
    text = " ".join(str(name).split()).lower()
    return text if text and text.isprintable() else f"label_{number}"


def _checked_config(folder: Path) -> dict[str, Any]:
    try:
        text = (folder / "config.json").read_text(encoding="utf-8-sig")
        config = json.loads(text)
        kinds = config["architectures"]
        if not isinstance(kinds, list):
            raise TypeError("architectures")
        kind = kinds[0]
    except OSError as error:
        raise _refused(
            folder, f"not a checkpoint of transformers: config.json: {error.strerror}"
        ) from error
    except (ValueError, LookupError, TypeError) as error:
        raise _refused(
            folder, "config.json does not say which network it is of"
        ) from error
    problem = None
    if "auto_map" in config:
        problem = "needs Python code of its own, which ser never runs"
    elif "quantization_config" in config or any(
        config.get(name) not in ATTENTION
        for name in ("attn_implementation", "_attn_implementation")
    ):
        problem = "needs programs besides transformers, which ser never fetches"
    elif kind not in (*FAMILIES, DIMENSIONAL):
        problem = (
            f"is a {kind}; ser runs {', '.join(FAMILIES)}, and the dimensional model "
            f"of audeering ({DIMENSIONAL})"
        )
    elif kind != DIMENSIONAL and config.get("problem_type") not in (
        None,
        "single_label_classification",
    ):
        problem = "its labels do not exclude each other, so they are no emotions"
    elif not (folder / "preprocessor_config.json").is_file():
        problem = (
            "has no feature extractor (preprocessor_config.json): copy that of the "
            "model that it was fine-tuned from"
        )
    elif not any(folder.glob("*.safetensors")):
        problem = (
            "has no weights in safetensors. Other formats can run code when they are "
            "opened: if you trust the source, convert it with save_pretrained of "
            "transformers"
        )
    if problem:
        raise _refused(folder, problem)
    return dict(config)


def _check_complete(folder: Path, info: dict[str, Any]) -> None:
    """Refuse a checkpoint whose weights would be random in part."""
    missing = [str(key) for key in info["missing_keys"] if UNUSED not in str(key)]
    missing += [str(key) for key, *_ in info["mismatched_keys"]]
    if missing:
        raise _refused(
            folder,
            f"its weights lack {', '.join(sorted(missing)[:3])}"
            f"{' and more' if len(missing) > 3 else ''}, which would be random: it was "
            "saved without a classification head, or for another network",
        )


def _input_s(extractor: Any) -> float:
    """Return the length that all input gets; infinite if it may be any."""
    if isinstance(extractor, transformers.WhisperFeatureExtractor):
        return float(extractor.chunk_length)
    if isinstance(extractor, transformers.ASTFeatureExtractor):
        return float(extractor.max_length) / 100  # frames of 10 ms
    return float("inf")
