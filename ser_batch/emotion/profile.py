"""The profile of a place: its statistics, and the sample they come from, as JSON.

A profile belongs to one model: in addition to the statistics of features, it contains
those of the network's pooled vectors.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from ser_batch.errors import UsageError
from ser_batch.storage.local import LocalStorage

FORMAT = 1


@dataclass(frozen=True)
class RoleProfile:
    """The normalisation statistics for the speakers of one role."""

    recordings: int
    segments: int
    mean: list[float]
    variance: list[float]
    pooled_mean: list[list[float]]
    """One mean vector for each member of the network."""
    pooled_variance: list[list[float]]
    distance: float
    """The distance from training.

    The mean squared difference of the cepstra's means, over the training variances.
    """


@dataclass(frozen=True)
class Profile:
    """The statistics of a place by role; the empty role stands for everyone."""

    model_id: str
    roles: dict[str, RoleProfile]
    sample: tuple[str, ...] = ()
    """The ids of the recordings that were drawn."""

    @property
    def profile_id(self) -> str:
        """A fingerprint of everything that affects a probability."""
        values = self.to_dict()
        del values["sample"]
        text = json.dumps(values, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def of(self, role: str | None) -> RoleProfile | None:
        """Return the profile for a role, or else that for everyone, or None."""
        return self.roles.get(role or "") or self.roles.get("")

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, from which `from_dict` restores the profile."""
        roles = {role: dict(vars(own)) for role, own in self.roles.items()}
        return {
            "format": FORMAT,
            "model_id": self.model_id,
            "roles": roles,
            "sample": list(self.sample),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Return a profile from plain values.

        Raises:
            KeyError, TypeError: the values are not those of a profile.
        """
        if values["format"] != FORMAT:
            raise KeyError("format")
        roles = {role: RoleProfile(**own) for role, own in values["roles"].items()}
        return cls(values["model_id"], roles, tuple(values["sample"]))

    def data(self) -> bytes:
        """Return the bytes of the profile's file."""
        return (json.dumps(self.to_dict(), indent=1) + "\n").encode()

    def write(self, path: Path) -> None:
        """Write the profile atomically.

        Raises:
            OSError: it cannot be written.
        """
        LocalStorage(path.parent).put({path.name: self.data()})


def read_profile(path: Path) -> Profile:
    """Return the profile in a file.

    Raises:
        UsageError: the file cannot be read, or does not contain a profile.
    """
    try:
        return Profile.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        message = f"{path}: cannot be read: {error.strerror}"
        raise UsageError(message, path=path, option="--profile") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{path}: not a profile that this version can read; make one with `ser "
            f"profile CALLS --out {path.name}`",
            path=path,
            option="--profile",
        ) from error
