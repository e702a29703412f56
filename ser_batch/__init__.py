"""Speech emotion analytics for call recordings.

    from ser_batch import Config, analyze

    if __name__ == "__main__":  # decoding runs in processes of its own, which import this file
        for analysis in analyze(["calls/"], Config()):
            print(analysis.path, analysis.error or [s.label for s in analysis.segments])

`pipeline` shows every stage in order.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Analysis", "Config", "ScoredSegment", "SerError", "analyze"]

if TYPE_CHECKING:
    from ser_batch.analysis import Analysis, ScoredSegment
    from ser_batch.config import Config
    from ser_batch.errors import SerError
    from ser_batch.pipeline import analyze

_HOMES = {
    "Analysis": "analysis",
    "Config": "config",
    "ScoredSegment": "analysis",
    "SerError": "errors",
    "analyze": "pipeline",
}


def __getattr__(name: str) -> Any:
    # torch is imported only once something asks for it: `ser --help` has no use for it.
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"ser_batch.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
