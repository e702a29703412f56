"""A bundle of profiled networks: their weights and the statistics of training."""

from dataclasses import dataclass, field

from torch import Tensor

from ser_batch.emotion.calibration import Calibration
from ser_batch.emotion.place import Statistics
from ser_batch.emotion.profiled_network import ProfiledNetwork, ProfiledNetworkConfig

OWN_MEAN, OWN_VARIANCE = "own.mean", "own.variance"


@dataclass(frozen=True)
class ProfiledBundle:
    """A model and everything needed to use it, as `Bundle` is for other networks."""

    name: str
    labels: tuple[str, ...]
    network: ProfiledNetworkConfig
    aroused: tuple[float, ...]
    """How aroused each label is: 0 or 1, or in between if it can be either."""
    calibration: Calibration
    licence: str
    weights: dict[str, Tensor] = field(repr=False)
    """Those of all members, `members.N....`, and the feature statistics of training."""
    model_id: str = ""

    @property
    def own(self) -> Statistics:
        """The statistics of features over the training corpora."""
        return Statistics(self.weights[OWN_MEAN], self.weights[OWN_VARIANCE])

    def modules(self) -> list[ProfiledNetwork]:
        """Return the members with their weights, ready for inference.

        Raises:
            RuntimeError: the weights do not fit this network.
        """
        members = []
        for number in range(self.network.members):
            member = ProfiledNetwork(self.network, len(self.labels))
            prefix = f"members.{number}."
            own = {
                name.removeprefix(prefix): tensor
                for name, tensor in self.weights.items()
                if name.startswith(prefix)
            }
            member.load_state_dict(own)
            members.append(member.eval())
        return members
