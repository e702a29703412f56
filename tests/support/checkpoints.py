"""Tiny checkpoints of transformers with random weights, saved as a hub has them."""

from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.utils import logging

from ser_batch.emotion.checkpoints.dimensional import DimensionalNetwork

LABELS = ("ang", "hap", "neu", "sad")
_SHAPE: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
}
_WAVE: dict[str, Any] = _SHAPE | {
    "conv_dim": (16, 16, 16),
    "conv_kernel": (10, 8, 4),
    "conv_stride": (5, 8, 4),
    "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
    "classifier_proj_size": 24,
}
FAMILIES = ("Wav2Vec2", "Hubert", "WavLM", "UniSpeech", "UniSpeechSat")
KINDS = (
    *(f"{family}-{norm}" for family in FAMILIES for norm in ("layer", "group")),
    "Whisper",
    "AST",
)


def write_checkpoint(
    folder: Path, kind: str = "Wav2Vec2-layer", labels: tuple[str, ...] = LABELS
) -> Path:
    """Write a checkpoint of one of `KINDS`, whose outputs differ from input to input.

    Group norm and layer norm in the first layers are the two kinds that are released.
    """
    torch.manual_seed(0)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    names = dict(enumerate(labels))
    named = {"id2label": names, "label2id": {v: k for k, v in names.items()}}
    family, _, norm = kind.partition("-")
    extractor: Any
    if family == "Whisper":
        shape = {"encoder_layers": 2, "encoder_attention_heads": 2, "d_model": 32}
        small = {"encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "decoder_layers": 1}
        tokens = {"vocab_size": 9, "pad_token_id": 0, "bos_token_id": 1}
        config: Any = transformers.WhisperConfig(
            **shape, **small, **tokens, eos_token_id=2, decoder_start_token_id=1,
            decoder_attention_heads=2, classifier_proj_size=24, **named,
        )  # fmt: skip
        network: Any = transformers.WhisperForAudioClassification(config)
        extractor = transformers.WhisperFeatureExtractor()
    elif family == "AST":
        config = transformers.ASTConfig(**_SHAPE, **named)
        network = transformers.ASTForAudioClassification(config)
        extractor = transformers.ASTFeatureExtractor()
    else:
        config = getattr(transformers, f"{family}Config")(
            **_WAVE, **named, feat_extract_norm=norm, conv_bias=norm == "layer",
            do_stable_layer_norm=norm == "layer",
        )  # fmt: skip
        network = getattr(transformers, f"{family}ForSequenceClassification")(config)
        extractor = transformers.Wav2Vec2FeatureExtractor(
            return_attention_mask=norm == "layer"
        )
    for parameter in network.parameters():
        parameter.data.mul_(3)
    network.save_pretrained(folder)
    extractor.save_pretrained(folder)
    return folder


def write_dimensional(folder: Path) -> Path:
    """Write a checkpoint laid out as audeering's model of three dimensions."""
    torch.manual_seed(0)
    logging.set_verbosity_error()
    names = dict(enumerate(("arousal", "dominance", "valence")))
    config = transformers.Wav2Vec2Config(
        **_WAVE, id2label=names, label2id={v: k for k, v in names.items()},
        feat_extract_norm="layer", do_stable_layer_norm=True, conv_bias=True,
        architectures=["Wav2Vec2ForSpeechClassification"],
    )  # fmt: skip
    network = DimensionalNetwork(config)
    for parameter in network.parameters():
        parameter.data.mul_(3)
    network.classifier.out_proj.bias.data.fill_(0.5)
    network.save_pretrained(folder)
    text = (folder / "config.json").read_text()
    (folder / "config.json").write_text(
        text.replace("DimensionalNetwork", "Wav2Vec2ForSpeechClassification")
    )
    transformers.Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(
        folder
    )
    return folder
