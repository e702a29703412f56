"""A bundle of a small network with random weights."""

from dataclasses import replace
from pathlib import Path

import torch

from ser_batch.emotion.bundles import Bundle, save_bundle
from ser_batch.emotion.calibration import Calibration
from ser_batch.emotion.features import FeatureConfig
from ser_batch.emotion.network import CnnBiLstm, ConvConfig, NetworkConfig
from ser_batch.training.corpora.labels import LABELS


def write_tiny_bundle(folder: Path) -> Path:
    """Writes the bundle: quick, and as good as any where only the way counts."""
    torch.manual_seed(0)
    features = FeatureConfig(normalisation="mean_std", context_s=5)
    config = NetworkConfig((ConvConfig(16), ConvConfig(16, residual=True)), lstm_width=8, members=2)
    network = CnnBiLstm(config, features.n_static, 1 + features.deltas, len(LABELS))
    bundle = Bundle("tiny", LABELS, features, network.config, Calibration(0.1, 0.15), "for tests", {})
    save_bundle(folder, replace(bundle, weights=network.state_dict()), {"test": {}}, "# tiny\n")
    return folder
