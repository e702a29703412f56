"""Python API of a model: score waveforms and clips, analyse a single call.

    model = ser_batch.load("telephone")
    model.predict_proba(waveform, sample_rate)         # (labels,); a list: (n, labels)
    model.predict(["a.wav", "b.wav"])                  # one row per clip
    call = model.analyze("call.wav", roles=["agent", "customer"])
    call.segments, call.speech                         # one row per segment, region
    live = model.stream(8000, channels=2, roles=["agent", "customer"])
    live.feed(0, samples)                              # events, as soon as they are due

Tables are pandas DataFrames with the columns of the Parquet tables of the results.
"""

import os
import tempfile
import threading
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import soxr
from jaxtyping import Float32

from ser_batch.audio.opening import read_mono
from ser_batch.config.options import Config, SegmentConfig
from ser_batch.emotion.analysis import Analysis
from ser_batch.emotion.answers import certainty
from ser_batch.emotion.loading import load_scorer
from ser_batch.emotion.profile import read_profile
from ser_batch.emotion.scorer import DIMENSIONS, Scorer
from ser_batch.engine.stages import finished_recordings
from ser_batch.engine.this_process import ThisProcess
from ser_batch.errors import AudioError, UsageError
from ser_batch.live.call_stream import CallStream
from ser_batch.results.analysed import result_rows
from ser_batch.results.manifest import Identity
from ser_batch.sources.local import LocalSource
from ser_batch.speech.decoded import Failed, Job, Task
from ser_batch.speech.waveforms import LocalWaveforms

LONGEST_S = SegmentConfig().max_s
"""Length of the longest speech that a model is trained on, in seconds."""


@dataclass(frozen=True)
class Call:
    """One analysed recording."""

    path: str
    duration_s: float
    notes: list[str]
    """Problems with the audio, if any, and how the speakers were named."""
    speech: pd.DataFrame
    """One row per speech region: channel, speaker, role, start_s, end_s,
    overlap."""
    segments: pd.DataFrame
    """One row per scored segment: channel, speaker, role, start_s, end_s, label (None
    where the model abstains), confidence, one `p_<label>` per label, level_dbfs,
    arousal, valence, dominance (None where the model has none)."""


class Model:
    """A bundle on a device; use `load` to create one.

    Attributes:
        labels: the labels, in the order of the probabilities; none if the model
            estimates dimensions only.
        sample_rate: the model's sample rate (Hz); waveforms are resampled to it.
        model_id: name and fingerprint; models with the same id give the same results.
        licence: the licence of the bundle.
    """

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self.labels, self.sample_rate = scorer.labels, scorer.sample_rate
        self.model_id, self.licence = scorer.model_id, scorer.licence

    def predict_proba(
        self, waveform: np.ndarray | Sequence[np.ndarray], sample_rate: int
    ) -> Float32[np.ndarray, "*n labels"]:
        """Return the label probabilities of one or several utterances.

        >>> import numpy as np, ser_batch
        >>> model = ser_batch.load("telephone", device="cpu")
        >>> tone = 0.1 * np.sin(np.arange(16_000) / 5)
        >>> model.predict_proba(tone, 16_000).shape == (len(model.labels),)
        True
        >>> model.predict_proba([tone, tone], 16_000).shape == (2, len(model.labels))
        True

        Args:
            waveform: one channel, shape (samples,), as floats with full scale at 1.0;
                or a list of such waveforms.
            sample_rate: the sample rate of the waveform, in Hz.

        Raises:
            UsageError: a waveform has the wrong shape or dtype, is empty, or contains
                values that are not finite.
        """
        if isinstance(waveform, np.ndarray):
            return self._scorer.predict([self._prepared(waveform, sample_rate)])[0]
        ready = [self._prepared(np.asarray(w), sample_rate) for w in waveform]
        return self._scorer.predict(ready)

    def predict(self, paths: Sequence[str | os.PathLike[str]]) -> pd.DataFrame:
        """Return one row per clip, each scored as a whole: no VAD, no segments.

        Columns: path, label (None where the model abstains), confidence, one
        `p_<label>` per label, and those of arousal, valence and dominance (0 to 1)
        that the model estimates.

        Raises:
            AudioError: a clip cannot be read; `path` names it.
        """
        waveforms = []
        for path in paths:
            try:
                waveforms.append(read_mono(os.fspath(path), self.sample_rate))
            except AudioError as error:
                error.path = os.fspath(path)
                raise
        scored = self._scorer.scored(waveforms)
        probabilities = scored.probabilities
        label: list[str | None] = [None] * len(waveforms)
        confidence: np.ndarray | None = None
        if self.labels:
            confidence = probabilities.max(axis=1, initial=0.0)
            best = [self.labels[i] for i in probabilities.argmax(axis=1)]
            is_sure = (
                certainty(probabilities, self._scorer.alike)
                >= self._scorer.abstain_below
            )
            label = [a if b else None for a, b in zip(best, is_sure, strict=True)]
        return pd.DataFrame(
            {
                "path": [os.fspath(path) for path in paths],
                "label": label,
                "confidence": confidence,
                **{
                    f"p_{label}": p
                    for label, p in zip(self.labels, probabilities.T, strict=True)
                },
                **{n: v for n, v in scored.values.items() if n in DIMENSIONS},
            }
        )

    def analyze(
        self,
        path: str | os.PathLike[str],
        roles: Sequence[str] | None = None,
        config: Config | None = None,
    ) -> Call:
        """Analyse one recording in this process.

        Args:
            path: the recording.
            roles: the role on each channel, `agent` or `customer`; only customers are
                scored.
            config: all other options; its bundle and device are ignored.

        Raises:
            AudioError: the recording cannot be analysed.
            UsageError: the file does not exist, or is a folder.
        """
        config = config or Config()
        if roles is not None:
            config = config.updated({"score": {"roles": list(roles)}})
        analysis = self._analysis(os.fspath(path), config)
        outcome = analysis.outcome
        if isinstance(outcome, Failed):
            error = AudioError(outcome.error, outcome.kind, outcome.detail)
            error.path = os.fspath(path)
            raise error
        identity = Identity(self.model_id, config.hash(), self.labels)
        rows = result_rows(analysis, identity)
        names = ("recording_id", "path", "segment")
        return Call(
            os.fspath(path),
            outcome.duration_s,
            outcome.notes,
            pd.DataFrame(rows.speech).drop(columns=names, errors="ignore"),
            pd.DataFrame(rows.segments).drop(columns=names, errors="ignore"),
        )

    def stream(
        self,
        sample_rate: int,
        channels: int,
        roles: Sequence[str] | None = None,
        config: Config | None = None,
    ) -> CallStream:
        """Begin a call that is going on; feed it, and it gives events as they come.

        >>> import numpy as np, ser_batch
        >>> call = ser_batch.load("telephone", device="cpu").stream(8000, channels=1)
        >>> call.feed(0, np.zeros(160, np.float32))
        []
        >>> call.finish()
        [CallEnded(duration_s=0.02, segments=0, notes=())]

        Args:
            sample_rate: of the samples, in Hz.
            channels: how many there are.
            roles: the role on each channel, `agent` or `customer`; only customers are
                scored.
            config: all other options; its bundle and device are ignored.

        Raises:
            UsageError: the whole call would be needed; see `CallStream`.
        """
        config = config or Config()
        if roles is not None:
            config = config.updated({"score": {"roles": list(roles)}})
        return CallStream(
            self._scorer, config, sample_rate=sample_rate, channels=channels
        )

    def _analysis(self, path: str, config: Config) -> Analysis:
        source = LocalSource()
        found = source.find([path])
        if len(found.recordings) != 1:
            raise UsageError(
                f"{path}: contains {len(found.recordings)} recordings; use "
                "ser_batch.analyze for any number of them",
                path=path,
            )
        # Without a stamp, a file that is still being written is analysed as it is.
        task = Task(found.recordings[0], None)
        with tempfile.TemporaryDirectory(prefix="ser-") as work:
            waveforms = LocalWaveforms(Path(work))
            job = Job(config, self.sample_rate, source, waveforms)
            outcomes = ThisProcess().decode([task], job, threading.Event())
            for finished in finished_recordings(outcomes, job, self._scorer):
                if isinstance(finished, Analysis):
                    return finished
        raise AssertionError("the recording produced no analysis")

    def _prepared(self, waveform: np.ndarray, sample_rate: int) -> np.ndarray:
        """Check a waveform and resample it to the model's rate."""
        problem = None
        if waveform.ndim != 1:
            problem = (
                f"waveform has shape {waveform.shape}: pass one channel, (samples,)"
            )
        elif not np.issubdtype(waveform.dtype, np.floating):
            problem = (
                f"waveform is {waveform.dtype}: pass floats with full scale at 1.0"
            )
        elif not len(waveform):
            problem = "waveform is empty"
        elif not np.isfinite(waveform).all():
            problem = "waveform contains values that are not finite (NaN or infinite)"
        elif sample_rate <= 0:
            problem = f"sample rate is {sample_rate} Hz, but must be positive"
        if problem:
            raise UsageError(problem)
        if len(waveform) > LONGEST_S * sample_rate:
            warnings.warn(
                f"utterance of {len(waveform) / sample_rate:.1f} s; the model was "
                f"trained on up to {LONGEST_S:g} s: `analyze` splits longer speech",
                stacklevel=3,
            )
        waveform = np.ascontiguousarray(waveform, np.float32)
        if sample_rate != self.sample_rate:
            waveform = soxr.resample(waveform, sample_rate, self.sample_rate, "HQ")
        return waveform


def load(
    bundle: str = "telephone",
    device: str = "auto",
    profile: str | os.PathLike[str] | None = None,
) -> Model:
    """Load a model.

    Args:
        bundle: the name of a shipped bundle, or the path of any bundle.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        profile: a file written by `ser profile` for the place that the recordings come
            from; None for the bundle's own.

    Raises:
        BundleError: the bundle does not exist, or is damaged.
        UsageError: the device is not available, or the profile is of another model.
    """
    own = None if profile is None else read_profile(Path(profile))
    return Model(load_scorer(bundle, device, own))
