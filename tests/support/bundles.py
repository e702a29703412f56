"""Bundles of small networks with random weights."""

from dataclasses import replace
from pathlib import Path

import torch

from ser_batch.emotion.bundles import Bundle, save_bundle
from ser_batch.emotion.calibration import Calibration
from ser_batch.emotion.features import FeatureConfig
from ser_batch.emotion.network import CnnBiLstm, ConvConfig, NetworkConfig
from ser_batch.emotion.place import N_STATISTICS
from ser_batch.emotion.profiled_bundle import OWN_MEAN, OWN_VARIANCE, ProfiledBundle
from ser_batch.emotion.profiled_network import ProfiledNetwork, ProfiledNetworkConfig
from ser_batch.training.corpora.labels import LABELS, aroused_shares


def write_tiny_bundle(folder: Path) -> Path:
    """Write a small random bundle, for tests that do not need accuracy."""
    torch.manual_seed(0)
    features = FeatureConfig(normalisation="mean_std", context_s=5)
    config = NetworkConfig(
        (ConvConfig(16), ConvConfig(16, residual=True)), lstm_width=8, members=2
    )
    network = CnnBiLstm(config, features.n_static, 1 + features.deltas, len(LABELS))
    bundle = Bundle(
        "tiny",
        LABELS,
        features,
        network.config,
        Calibration(0.1, 0.15),
        "for tests",
        {},
    )
    save_bundle(
        folder, replace(bundle, weights=network.state_dict()), {"test": {}}, "# tiny\n"
    )
    return folder


def write_profiled_bundle(folder: Path, seed: int = 0, members: int = 2) -> Path:
    """Write a random bundle with profiles and some ensemble members."""
    torch.manual_seed(seed)
    config = ProfiledNetworkConfig((4, 4, 6, 6), 4, 8, 4, 0.0, members)
    weights = {
        OWN_MEAN: torch.zeros(N_STATISTICS),
        OWN_VARIANCE: torch.ones(N_STATISTICS),
    }
    for number in range(config.members):
        member = ProfiledNetwork(config, len(LABELS))
        torch.nn.init.normal_(member.heads.weight)  # so that the place matters
        weights |= {
            f"members.{number}.{name}": t for name, t in member.state_dict().items()
        }
    calibration = Calibration(1.0, 0.15, (1.0, 4.0))
    bundle = ProfiledBundle(
        "tiny-profiled",
        LABELS,
        config,
        aroused_shares(LABELS),
        calibration,
        "for tests",
        weights,
    )
    save_bundle(folder, bundle, {"test": {}}, "# tiny\n")
    return folder
