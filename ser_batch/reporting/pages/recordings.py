"""The recordings that an HTML report plays: where they lie, or copies beside it."""

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np
import soundfile
from jaxtyping import Float32

from ser_batch.audio.opening import open_audio
from ser_batch.audio.resampling import Resampler
from ser_batch.errors import AudioError, UsageError
from ser_batch.reporting.figures.timelines import Timeline

ADDRESS = re.compile(r"https?://[\w.:\[\]-]+(/|$)")
OWN_COPY = re.compile(r"[0-9a-f]{16}\.opus")
MADE_OF = "made-of.json"
"""The time of each copy's recording, and the intervals of its clips."""
OPUS_RATES = (8000, 12000, 16000, 24000, 48000)
CONTEXT_S = 5.0
"""How much is kept before and after each moment of a clip."""
MOMENTS = 8
NOTES: dict[str | None, str] = {
    None: "Click the waveform or a moment to listen from there.",
    "calls": "Click the waveform or a moment to listen from there.",
    "clips": "Click a moment to listen. Only the moments are included; the rest of the "
    "call is silent.",
}


@dataclass
class Recordings:
    """Finds or copies the recordings of the calls of a report, and counts the rest."""

    folder: Path
    """The folder of the report."""
    base: str | None = None
    """The address below which the input folder is served."""
    copy: str | None = None
    """Whether copies are made: of whole `calls`, or `clips` of their moments."""
    into: str = "audio"
    """The folder of copies, within `folder`."""
    unreachable: int = field(default=0, init=False)
    _known: dict[str, Any] = field(default_factory=dict, init=False)
    """What each copy of an earlier report was made of."""
    _made_of: dict[str, Any] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        if self.base is not None and not ADDRESS.match(self.base):
            raise UsageError(
                f"--audio-base {self.base}: must begin with http:// or https://",
                option="--audio-base",
            )
        try:
            self._known = json.loads((self.folder / self.into / MADE_OF).read_text())
        except (OSError, ValueError):
            self._known = {}

    @property
    def origin(self) -> str:
        """The host that the report may load audio from; empty if there is none."""
        if self.base is None:
            return ""
        parts = urlsplit(self.base)
        return f"{parts.scheme}://{parts.netloc}"

    def link(self, timeline: Timeline) -> str | None:
        """Return the address of a call's audio, relative to the report.

        None if it has none that can be played.
        """
        call = timeline.call
        if call["status"] != "done":
            return None
        if self.base is not None:
            return f"{self.base.rstrip('/')}/{quote(os.fsencode(call['path']))}"
        path = os.path.join(call["input_root"], call["path"])
        if self.copy == "clips" and not timeline.moments(1):
            return None
        found = self._copied(timeline, path) if self.copy else self._beside(path)
        self.unreachable += found is None
        return found

    def _beside(self, path: str) -> str | None:
        """Return the relative address of a file; None if it does not exist."""
        try:
            if os.path.exists(path):
                return quote(os.fsencode(os.path.relpath(path, self.folder)))
        except ValueError:
            pass
        return None

    def _copied(self, timeline: Timeline, path: str) -> str | None:
        """Return the relative address of a copy; None if the audio cannot be read."""
        name = f"{self.into}/{timeline.call['recording_id']}.opus"
        target = self.folder / name
        kept = None
        if self.copy == "clips":
            kept = [
                (m.start_s - CONTEXT_S, m.end_s + CONTEXT_S)
                for m in timeline.moments(MOMENTS)
            ]
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            spans = None if kept is None else [[*span] for span in kept]
            made_of = [_changed_ns(path), spans]
            if not target.exists() or self._known.get(target.name) != made_of:
                write_opus(path, target, kept)
            self._made_of[target.name] = made_of
        except AudioError:
            target.unlink(missing_ok=True)
            return None
        except soundfile.LibsndfileError as error:
            target.unlink(missing_ok=True)
            raise UsageError(
                f"{target}: cannot be written: {error}; free up disk space"
            ) from error
        return quote(name)

    def finish(self) -> None:
        """Remove copies that an earlier report left and this one does not have.

        What the others were made of is kept, so that the next report need not make them
        anew.
        """
        folder = self.folder / self.into
        if self.copy and folder.is_dir():
            for copy in folder.glob("*.opus"):
                if OWN_COPY.fullmatch(copy.name) and copy.name not in self._made_of:
                    copy.unlink()
            (folder / MADE_OF).write_text(json.dumps(self._made_of))


def _changed_ns(path: str) -> int:
    """Return when a file last changed; 0 if it cannot be read."""
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def write_opus(
    source: str | Path,
    target: Path,
    kept: Sequence[tuple[float, float]] | None = None,
) -> None:
    """Write a recording as Ogg Opus, of the same length.

    Args:
        source: the recording.
        target: the file to write.
        kept: intervals in seconds; everything else becomes silent, and takes hardly any
            space. None: the whole recording.

    Raises:
        AudioError: the recording cannot be read.
        soundfile.LibsndfileError: the copy cannot be written.
    """
    with open_audio(source) as audio:
        channels = min(audio.channels, 2)
        rate = next((r for r in OPUS_RATES if r >= audio.sample_rate), OPUS_RATES[-1])
        resampler = Resampler(audio.sample_rate, rate, channels)
        done = 0
        with soundfile.SoundFile(
            target, "w", rate, channels, subtype="OPUS", format="OGG"
        ) as file:
            for block in audio:
                start_s = done / audio.sample_rate
                heard = _muted(block[:channels], start_s, audio.sample_rate, kept)
                done += block.shape[1]
                file.write(resampler.push(heard).T)
            file.write(resampler.finish().T)


def _muted(
    block: Float32[np.ndarray, "channels samples"],
    start_s: float,
    rate: int,
    kept: Sequence[tuple[float, float]] | None,
) -> Float32[np.ndarray, "channels samples"]:
    """Return a block with silence outside the intervals."""
    if kept is None:
        return block
    loud = np.zeros(block.shape[1], bool)
    for begin_s, end_s in kept:
        first, last = (round((t - start_s) * rate) for t in (begin_s, end_s))
        loud[max(first, 0) : max(last, 0)] = True
    return np.where(loud, block, np.float32(0))
