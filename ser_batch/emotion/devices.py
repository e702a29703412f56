"""The device on which a model runs, and its errors when memory runs out."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ser_batch.errors import DeviceMemoryError, UsageError

_OUT_OF_MEMORY = (
    "can't allocate memory", "out of memory", "bad_alloc", "ALLOC_FAILED",
    "could not create a primitive",
)  # fmt: skip
"""Messages of the CPU allocator, oneDNN and the CUDA libraries.

They raise no exception type of their own.
"""


def resolve_device(name: str) -> torch.device:
    """Return the device for `auto`, `cpu`, `cuda` or `cuda:N` on this machine.

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
            f"device {name!r}: this machine has {n_devices} CUDA devices; try --device "
            "auto",
            option="device",
        )
    return device


@contextmanager
def memory_of(device: torch.device) -> Iterator[None]:
    """Turn the various errors with which torch reports a lack of memory into one.

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
            "Finished work is kept: run the same command again"
        ) from error
