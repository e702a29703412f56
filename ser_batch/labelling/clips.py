"""The clips that labellers hear: one side of a call, with a second on either side."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
from jaxtyping import Float32

from ser_batch.audio.decoders import RawOptions
from ser_batch.audio.opening import open_audio
from ser_batch.errors import AudioError, UsageError
from ser_batch.labelling.folder import unwritable

CONTEXT_S = 1.0


def cut_clips(
    segments: pd.DataFrame,
    sources: Mapping[str, Path],
    file_of: Callable[[str], Path],
    raw: RawOptions = RawOptions(),
    progress: Callable[[list[str]], Iterable[str]] = iter,
) -> dict[str, str]:
    """Write the clips of segments that have none yet.

    Args:
        segments: with the columns `clip`, `recording_id`, `channel`, `clip_start_s` and
            `end_s`.
        sources: the file of each recording.
        file_of: the file of each clip.
        raw: what to assume about recordings without a header.
        progress: wraps the ids of the recordings, to show a bar.

    Returns:
        The recordings that cannot be read, and why.

    Raises:
        UsageError: a clip cannot be written.
    """
    problems: dict[str, str] = {}
    for recording_id in progress(sorted(set(segments.recording_id))):
        own = segments[segments.recording_id == recording_id]
        missing = own[[not file_of(clip).exists() for clip in own["clip"]]]
        if len(missing):
            try:
                _cut(missing, sources[recording_id], file_of, raw)
            except AudioError as error:
                problems[recording_id] = error.message
    return problems


def _cut(
    segments: pd.DataFrame,
    source: Path,
    file_of: Callable[[str], Path],
    raw: RawOptions,
) -> None:
    with open_audio(source, raw) as audio:
        rate = audio.sample_rate
        where = ("clip", "channel", "clip_start_s", "end_s")
        spans = {
            clip: (channel, round(start_s * rate), round((end_s + CONTEXT_S) * rate))
            for clip, channel, start_s, end_s in zip(
                *(segments[name] for name in where), strict=True
            )
        }
        if audio.channels <= max(channel for channel, _, _ in spans.values()):
            raise AudioError(f"has {audio.channels} channels only: was it replaced?")
        pieces: dict[str, list[np.ndarray]] = {clip: [] for clip in spans}
        last, done = max(end for _, _, end in spans.values()), 0
        for block in audio:
            for clip, (channel, start, end) in spans.items():
                piece = block[channel, max(start - done, 0) : max(end - done, 0)]
                if piece.size:
                    pieces[clip].append(piece)
            done += block.shape[1]
            if done >= last:
                break
    for clip, own in pieces.items():
        if not own:
            raise AudioError("shorter than when it was analysed: was it replaced?")
        _write(file_of(clip), np.concatenate(own), rate)


def _write(path: Path, waveform: Float32[np.ndarray, " samples"], rate: int) -> None:
    partial = path.with_suffix(".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(path.parent, error) from error
    try:
        soundfile.write(
            partial, waveform.clip(-1, 1), rate, format="FLAC", subtype="PCM_16"
        )
        partial.rename(path)
    except (OSError, soundfile.LibsndfileError) as error:
        partial.unlink(missing_ok=True)
        raise UsageError(f"{path}: cannot be written: {error}", path=path) from error


def read_clip(path: Path) -> tuple[Float32[np.ndarray, " samples"], int]:
    """Return the waveform of a clip and its sample rate in Hz.

    Raises:
        AudioError: it cannot be read.
    """
    with open_audio(path) as audio:
        blocks = [block[0] for block in audio]
        return np.concatenate(blocks), audio.sample_rate
