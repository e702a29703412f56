"""What can be adapted: models whose last layer gives the labels."""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import safetensors.torch
import torch
from jaxtyping import Float
from torch import Tensor

from ser_batch.emotion.bundles import (
    Bundle,
    load_bundle,
    save_bundle,
    save_checkpoint_bundle,
)
from ser_batch.emotion.checkpoints.bundle import (
    CHECKPOINT,
    HEAD,
    CheckpointBundle,
    file_hashes,
)
from ser_batch.emotion.loading import require_transformers
from ser_batch.emotion.profiled_bundle import ProfiledBundle
from ser_batch.emotion.profiled_network import ProfiledNetwork
from ser_batch.emotion.profiled_scorer import ProfiledScorer
from ser_batch.emotion.scorer import Waveform
from ser_batch.errors import BundleError, UsageError
from ser_batch.training.adapting.heads import Head

Description = tuple[Float[Tensor, "n pooled"], Float[Tensor, " n"] | None]


@dataclass(frozen=True)
class Fitted:
    """What was fitted to labels: a head, and the network below it if it was tuned."""

    head: Head
    network: ProfiledNetwork | None = None


class Learner(Protocol):
    """A model, as `adapt` sees it."""

    labels: tuple[str, ...]
    model_id: str
    sample_rate: int

    @property
    def head(self) -> Head:
        """Its last layer, which takes what `described` returns."""
        ...

    def set_place(self, speech: Mapping[str, Mapping[str, Sequence[Waveform]]]) -> None:
        """Draw the profile of the place, if the model uses one.

        From waveforms by role and recording, as `Scorer.profile_of`.
        """
        ...

    def described(
        self, waveforms: Sequence[Waveform], roles: Sequence[str]
    ) -> Description:
        """Return segments as the last layer sees them, and their arousal if known."""
        ...

    def write(
        self, out: Path, fitted: Fitted, metrics: dict[str, Any], card: str
    ) -> None:
        """Write a bundle with what was fitted.

        Raises:
            BundleError: the folder cannot be written.
        """
        ...


def load_learner(name: str, device: str) -> Learner:
    """Load a bundle that is to be adapted.

    Raises:
        BundleError: there is no such bundle.
        UsageError: it is of a kind that cannot be adapted.
    """
    match load_bundle(name):
        case ProfiledBundle() as bundle:
            if bundle.network.members > 1:
                raise UsageError(
                    f"bundle {bundle.name} has {bundle.network.members} members; only "
                    "a bundle of one can be adapted"
                )
            return ProfiledLearner(bundle, ProfiledScorer(bundle, device))
        case CheckpointBundle() as bundle:
            if not bundle.labels:
                raise UsageError(
                    f"bundle {name} estimates dimensions: it has no labels to adapt"
                )
            require_transformers(f"bundle {name}")
            return CheckpointLearner(bundle, device)
        case Bundle():
            raise UsageError(
                f"bundle {name} normalises by speaker and cannot be adapted; telephone "
                "can"
            )


@dataclass
class ProfiledLearner:
    """A profiled network of one member, with the profile of the labelled calls."""

    bundle: ProfiledBundle
    scorer: ProfiledScorer

    def __post_init__(self) -> None:
        self.labels, self.model_id = self.bundle.labels, self.bundle.model_id
        self.sample_rate = self.scorer.sample_rate

    @property
    def head(self) -> Head:
        """The part of its last layer that gives labels."""
        heads, n = self.bundle.modules()[0].heads, len(self.labels)
        return Head(
            heads.weight[:n].detach(),
            heads.bias[:n].detach(),
            self.bundle.calibration,
            torch.tensor(self.bundle.aroused),
        )

    def set_place(self, speech: Mapping[str, Mapping[str, Sequence[Waveform]]]) -> None:
        """Draw the profile of the place."""
        self.scorer = self.scorer.with_profile(self.scorer.profile_of(speech))

    def described(
        self, waveforms: Sequence[Waveform], roles: Sequence[str]
    ) -> Description:
        """Return pooled vectors normalised by place, and arousal."""
        return self.scorer.described(waveforms, roles)

    def write(
        self, out: Path, fitted: Fitted, metrics: dict[str, Any], card: str
    ) -> None:
        """Write a bundle with another head, and the layers below if they were tuned."""
        weights, n = dict(self.bundle.weights), len(self.labels)
        head = fitted.head
        if fitted.network is not None:
            tuned = fitted.network.state_dict()
            weights |= {f"members.0.{name}": tensor for name, tensor in tuned.items()}
        for what, changed in (("weight", head.weight), ("bias", head.bias)):
            key = f"members.0.heads.{what}"
            weights[key] = torch.cat([changed, weights[key][n:]])
        new = replace(
            self.bundle, name=out.name, weights=weights, calibration=head.calibration
        )
        save_bundle(out, new, metrics, card)


class CheckpointLearner:
    """A checkpoint of transformers.

    What its last layer sees is scaled to a mean square of 1, so that the same penalties
    suit every checkpoint.
    """

    def __init__(self, bundle: CheckpointBundle, device: str) -> None:
        from ser_batch.emotion.checkpoints.scorer import CheckpointScorer

        self.bundle = bundle
        self.scorer = CheckpointScorer(bundle, device)
        self.labels, self.model_id = bundle.labels, bundle.model_id
        self.sample_rate = self.scorer.sample_rate
        self._scale = 1.0

    @property
    def head(self) -> Head:
        """Its last layer."""
        layer = self.scorer.checkpoint.last_layer
        return Head(
            layer.weight.detach().cpu() * self._scale,
            layer.bias.detach().cpu(),
            self.bundle.calibration,
            groups=tuple(tuple(own) for own in self.bundle.groups),
        )

    def set_place(self, speech: Mapping[str, Mapping[str, Sequence[Waveform]]]) -> None:
        """Do nothing: it does not use a profile."""

    def described(
        self, waveforms: Sequence[Waveform], roles: Sequence[str]
    ) -> Description:
        """Return what the last layer sees, scaled."""
        pooled = self.scorer.described(waveforms)
        self._scale = float(pooled.square().mean().sqrt().clamp(min=1e-6))
        return pooled / self._scale, None

    def write(
        self, out: Path, fitted: Fitted, metrics: dict[str, Any], card: str
    ) -> None:
        """Write a bundle with another head, and links to the checkpoint."""
        head = fitted.head
        tensors = {
            "weight": (head.weight / self._scale).contiguous(),
            "bias": head.bias.contiguous(),
        }
        source = self.bundle.folder / CHECKPOINT
        try:
            (out / CHECKPOINT).mkdir(parents=True)
            for path in source.iterdir():
                if path.is_file():
                    _linked(path, out / CHECKPOINT / path.name)
            (out / HEAD).write_bytes(safetensors.torch.save(tensors))
        except OSError as error:
            message = f"{out}: cannot be written: {error.strerror}"
            raise BundleError(message, path=out) from error
        new = replace(
            self.bundle,
            name=out.name,
            folder=out,
            calibration=head.calibration,
            sha256=file_hashes(out),
        )
        save_checkpoint_bundle(new, metrics, card)


def _linked(path: Path, to: Path) -> None:
    try:
        os.link(path, to)
    except OSError:
        shutil.copyfile(path, to)
