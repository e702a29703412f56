"""Cores, memory and package versions of this machine."""

import os
import platform
import resource
from importlib.metadata import version
from pathlib import Path

PACKAGES = (
    "torch", "torchaudio", "onnxruntime", "silero-vad", "soundfile", "av", "soxr",
    "numpy", "pyarrow",
)  # fmt: skip
"""Packages whose version can affect a row."""


def usable_cores() -> int:
    """Return the number of cores that this process may use.

    That of its CPU affinity, or fewer if its container has a quota.
    """
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(cores, round(int(quota) / int(period))))
    except (OSError, ValueError):
        return cores


def divided_cores(scores_on_gpu: bool) -> tuple[int, int]:
    """Return the number of cores for decoding and for scoring.

    On a CPU, both take about the same time, so each gets half.
    """
    cores = usable_cores()
    scoring = 1 if scores_on_gpu else max(1, cores // 2)
    return max(1, cores - scoring), scoring


def peak_memory_bytes() -> int:
    """Return the peak memory of this process plus that of its largest past child."""
    own, children = (
        resource.getrusage(who).ru_maxrss
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return 1024 * (own + children)


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that can affect a row."""
    packages = {name: version(name) for name in PACKAGES}
    return {"python": platform.python_version(), **packages}
