"""Runs of the pipeline, from Python."""

import threading
from pathlib import Path

from ser_batch.config.options import Config
from ser_batch.pipeline import run


def config(bundle: Path, **groups: dict) -> Config:
    return Config.from_dict(
        {"score": {"bundle": str(bundle)}, "run": {"device": "cpu"}}
    ).updated(groups)


def analyzed(inputs, out: Path, settings: Config):
    progress = run([str(given) for given in inputs], out, settings, threading.Event())
    assert progress.pending == 0
    return progress
