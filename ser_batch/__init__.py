"""Speech emotion analytics for call recordings.

Load a model, analyse a call, open results (see `ser_batch.api`, `ser_batch.measured`):

    import ser_batch

    model = ser_batch.load("telephone")
    model.predict(["a.wav", "b.wav"])
    model.analyze("call.wav", roles=["agent", "customer"]).segments
    ser_batch.open_results("results/").measures(by="queue")

Analyse folders of recordings in worker processes (which import the main script):

    if __name__ == "__main__":
        for analysis in ser_batch.analyze(["calls/"], ser_batch.Config()):
            print(analysis.path, analysis.error or [s.label for s in analysis.segments])

`ser_batch.pipeline` shows every stage in order.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ser_batch.version import __version__

if TYPE_CHECKING:
    from ser_batch.api import Call, Model, load
    from ser_batch.config.options import Config
    from ser_batch.emotion.analysis import Analysis, ScoredSegment
    from ser_batch.errors import (
        AudioError,
        BundleError,
        ConfigError,
        ResultsError,
        SerError,
        UsageError,
    )
    from ser_batch.measured import MeasuredResults, open_results, report
    from ser_batch.pipeline import analyze, run

_MODULES = {
    "api": ("Call", "Model", "load"),
    "config.options": ("Config",),
    "emotion.analysis": ("Analysis", "ScoredSegment"),
    "errors": (
        "AudioError", "BundleError", "ConfigError", "ResultsError", "SerError",
        "UsageError",
    ),
    "measured": ("MeasuredResults", "open_results", "report"),
    "pipeline": ("analyze", "run"),
}  # fmt: skip
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "Analysis",
    "AudioError",
    "BundleError",
    "Call",
    "Config",
    "ConfigError",
    "MeasuredResults",
    "Model",
    "ResultsError",
    "ScoredSegment",
    "SerError",
    "UsageError",
    "__version__",
    "analyze",
    "load",
    "open_results",
    "report",
    "run",
]


def __getattr__(name: str) -> Any:
    # Imports are lazy because `ser --help` does not need torch.
    if name in _MODULE_OF:
        return getattr(import_module(f"ser_batch.{_MODULE_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
