"""Where a model runs, and what it says when memory runs out."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ser_batch.errors import UsageError

_OUT_OF_MEMORY = (
    "can't allocate memory", "out of memory", "bad_alloc", "ALLOC_FAILED",
    "could not create a primitive",
)  # fmt: skip
"""Words of the CPU's allocator, oneDNN and the libraries of CUDA, which have no
exception of their own."""


class DeviceMemoryError(UsageError):
    """A device is out of memory."""


def resolve_device(name: str) -> torch.device:
    """Return the device that `auto`, `cpu`, `cuda` or `cuda:N` stands for here.

    Raises:
        UsageError: there is no such device on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise UsageError(
            f"device {name!r}: choose auto, cpu, cuda or cuda:N", option="device"
        )
    n_devices = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= n_devices:
        raise UsageError(
            f"device {name!r}: this machine has {n_devices} CUDA devices; try --device auto",
            option="device",
        )
    return device


@contextmanager
def memory_of(device: torch.device) -> Iterator[None]:
    """Turn the several ways in which torch reports a lack of memory into one error.

    Raises:
        DeviceMemoryError: the block ran out of memory.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        named = isinstance(error, (torch.OutOfMemoryError, MemoryError))
        if not named and not any(words in str(error) for words in _OUT_OF_MEMORY):
            raise
        advice = "or use fewer --workers"
        if device.type == "cuda":
            advice = "or use --device cpu"
        raise DeviceMemoryError(
            f"{device}: out of memory, even for one segment; free some, {advice}. "
            "What is done is kept: run the same command again"
        ) from error
