"""Segments on their way to a model, before they become tensors."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import numpy as np
from jaxtyping import Float32


class Flush(Enum):
    """A marker in a stream of segments: no more come for now."""

    FLUSH = "flush"


FLUSH: Final = Flush.FLUSH


@dataclass(frozen=True, slots=True)
class PendingSegment:
    """One segment on its way to a model."""

    key: Any
    """What identifies the segment; it is returned with the probabilities."""
    n_samples: int
    read: Callable[[], Float32[np.ndarray, " samples"]]
    """Returns the samples; called when a batch is packed."""
    context: Any = None
    """What the model normalises by, besides the segment; specific to the model."""
