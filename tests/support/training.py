"""Recipes and clips for short training runs."""

import dataclasses
from pathlib import Path

from ser_batch.emotion.features import FeatureConfig
from ser_batch.emotion.network import ConvConfig, NetworkConfig
from ser_batch.training.corpora.clips import Clip
from ser_batch.training.corpora.files import CorpusFile
from ser_batch.training.data import augmentation as aug
from ser_batch.training.data.options import DataConfig
from ser_batch.training.recipe import FitConfig, Recipe

SMALL = Recipe(
    about="for tests",
    features=FeatureConfig(n_mels=32, n_mfcc=13, normalisation="none"),
    network=NetworkConfig((ConvConfig(16), ConvConfig(16)), lstm_width=8),
    augmentation=aug.AugmentationConfig(noise_p=0.1, codec_p=0.1),
    fit=FitConfig(
        epochs=6,
        batch_size=16,
        learning_rate=5e-3,
        average_decay=0.5,
        keep="best_uar",
        masked_frames=4,
    ),
)


IN_CALLS = dataclasses.replace(
    SMALL,
    features=dataclasses.replace(SMALL.features, normalisation="mean", context_s=2),
    data=DataConfig(clips_per_call=4),
    fit=dataclasses.replace(SMALL.fit, keep="last", mixup=0.2, schedule="one_cycle"),
)


class Killed(Exception):
    """The process dies here."""


def make_clip(
    name: str, corpus: str = "x", speaker: str = "a", sex: str = "f", label: str = "sad"
) -> Clip:
    return Clip(CorpusFile(Path(name)), corpus, f"{corpus}/{speaker}", sex, label)
