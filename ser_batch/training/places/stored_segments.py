"""The segments of corpora, cut once and stored on disk along with their features."""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from ser_batch.training.corpora.clips import Clip, Corpus
from ser_batch.training.places.segments import Progress, Segments, cut_corpora

WAVEFORMS, INDEX = "waveforms.npy", "segments.json"
FULL_SCALE = 32767


class StoredWaveforms(Sequence[np.ndarray]):
    """Waveforms concatenated in a file of 16-bit samples, and read on access."""

    def __init__(self, path: Path, n_samples: Sequence[int]) -> None:
        self._samples = np.load(path, mmap_mode="r")
        self._edges = np.concatenate([[0], np.cumsum(n_samples)])

    def __len__(self) -> int:
        return len(self._edges) - 1

    def __getitem__(self, number: int) -> Float32[np.ndarray, " samples"]:  # type: ignore[override]
        if not 0 <= number < len(self):
            raise IndexError(number)
        own = self._samples[self._edges[number] : self._edges[number + 1]]
        return own.astype(np.float32) / FULL_SCALE


def open_segments(
    folder: Path, corpora: Sequence[Corpus], progress: Progress = iter
) -> Segments:
    """Open the segments of corpora, or cut them if they are not in the folder yet.

    They are cut again if the label, size or modification time of any clip has changed.

    Raises:
        CorpusError: no clip of a corpus can be read.
        OSError: the folder cannot be written.
    """
    clips = [clip for corpus in corpora for clip in corpus.clips]
    stamp = _stamp(clips)
    index = folder / INDEX
    kept = json.loads(index.read_text()) if index.is_file() else {}
    if kept.get("stamp") != stamp:
        kept = _cut(folder, corpora, clips, stamp, progress)
    return Segments(
        [clips[i] for i in kept["clips"]],
        StoredWaveforms(folder / WAVEFORMS, kept["n_samples"]),
        np.array(kept["clip"]),
        np.array(kept["n_samples"]),
        kept["notes"],
        kept["fingerprint"],
    )


def _cut(
    folder: Path,
    corpora: Sequence[Corpus],
    clips: Sequence[Clip],
    stamp: str,
    progress: Progress,
) -> dict[str, Any]:
    segments = cut_corpora(corpora, progress)
    folder.mkdir(parents=True, exist_ok=True)
    index = folder / INDEX
    # Removed first, so that an index never describes other waveforms.
    index.unlink(missing_ok=True)
    pcm = [
        np.round(own.clip(-1, 1) * FULL_SCALE).astype(np.int16)
        for own in segments.waveforms
    ]
    np.save(folder / WAVEFORMS, np.concatenate(pcm))
    number = {clip: i for i, clip in enumerate(clips)}
    kept = {
        "stamp": stamp,
        "clips": [number[clip] for clip in segments.clips],
        "clip": segments.clip.tolist(),
        "n_samples": segments.n_samples.tolist(),
        "notes": segments.notes,
        "fingerprint": segments.fingerprint,
    }
    partial = index.with_suffix(".partial")
    partial.write_text(json.dumps(kept))
    os.replace(partial, index)
    return kept


def _stamp(clips: Sequence[Clip]) -> str:
    """Return a hash of the names and labels of clips and their files' size and time."""
    digest = hashlib.sha256()
    for clip in clips:
        known = (clip.corpus, clip.speaker, clip.name, clip.label, str(clip.source))
        try:
            status = clip.source.path.stat()
            told = (status.st_size, status.st_mtime_ns)
        except OSError:
            told = (0, 0)
        digest.update(repr((known, told)).encode())
    return digest.hexdigest()
