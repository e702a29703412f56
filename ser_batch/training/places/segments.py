"""Segments of corpora, cut from clips as `ser analyze` cuts them from recordings."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import soxr
from jaxtyping import Float32, Int

from ser_batch.audio.opening import read_mono
from ser_batch.config.options import SegmentConfig, VadConfig
from ser_batch.emotion.frontend import SAMPLE_RATE
from ser_batch.errors import AudioError, CorpusError
from ser_batch.intervals import sample_index
from ser_batch.speech.regions import frame_levels_db, speech_regions
from ser_batch.speech.segments import segment_regions
from ser_batch.speech.silero import SileroVad
from ser_batch.speech.vad import FRAME_S, FRAME_SAMPLES
from ser_batch.speech.vad import SAMPLE_RATE as VAD_RATE
from ser_batch.training.corpora.clips import Clip, Corpus
from ser_batch.training.corpora.labels import AROUSAL, meanings
from ser_batch.training.data.utterances import excerpt

Progress = Callable[[Sequence[Clip]], Iterator[Clip]]


@dataclass(frozen=True)
class Segments:
    """All segments of all clips, in order."""

    clips: list[Clip]
    waveforms: Sequence[Float32[np.ndarray, " samples"]]
    """The waveform of each segment, at `SAMPLE_RATE`."""
    clip: Int[np.ndarray, " segments"]
    """Index in `clips` of each segment's clip."""
    n_samples: Int[np.ndarray, " segments"]
    """Length of each segment."""
    notes: list[str]
    """Sentences on excluded clips."""
    fingerprint: str
    """A hash of names, labels and samples."""

    @property
    def corpus(self) -> np.ndarray:
        """The name of each segment's corpus."""
        return np.array([self.clips[i].corpus for i in self.clip])

    @property
    def speaker(self) -> np.ndarray:
        """The name of each segment's speaker."""
        return np.array([self.clips[i].speaker for i in self.clip])

    def label(self, labels: Sequence[str]) -> Int[np.ndarray, " segments"]:
        """Return the index of each segment's label; -1 where only arousal is known."""
        number = {label: i for i, label in enumerate(labels)}
        return np.array([number.get(self.clips[i].label, -1) for i in self.clip])

    def arousal(self) -> Float32[np.ndarray, " segments"]:
        """Return each segment's arousal, 0 to 1; NaN where the label leaves it open."""
        levels = [AROUSAL.get(self.clips[i].label) for i in self.clip]
        return np.array([np.nan if v is None else v for v in levels], np.float32)

    def right(self, labels: Sequence[str], corpora: Sequence[Corpus]) -> np.ndarray:
        """Return which labels are correct for each segment, (segments, labels).

        None is correct where only arousal is known.
        """
        known = {corpus.name: corpus.vocabulary or corpus.labels for corpus in corpora}
        number = {label: i for i, label in enumerate(labels)}
        right = np.zeros((len(self.clip), len(labels)), bool)
        for row, i in zip(right, self.clip, strict=True):
            clip = self.clips[i]
            own = meanings(clip.label, known[clip.corpus])
            row[[number[label] for label in own if label in number]] = True
        return right


def cut_corpora(corpora: Sequence[Corpus], progress: Progress = iter) -> Segments:
    """Decode all clips of corpora, and cut them into segments.

    Of identical clips, one is kept, or none if their labels differ. A clip without a
    speech region long enough to be scored becomes one segment, from the start of its
    first speech region to the end of its last.

    Raises:
        CorpusError: no clip of a corpus can be read.
    """
    vad, notes, digest = SileroVad(), [], hashlib.sha256()
    cut: dict[Clip, list[np.ndarray]] = {}
    same: dict[bytes, list[Clip]] = defaultdict(list)
    for corpus in corpora:
        errors: dict[Clip, str] = {}
        for clip in progress(corpus.clips):
            try:
                with clip.file() as path:
                    waveform = excerpt(read_mono(path, SAMPLE_RATE), SAMPLE_RATE, clip)
            except (AudioError, OSError) as error:
                errors[clip] = str(error)
                continue
            pcm = np.round(waveform * 32767).astype("<i2").tobytes()
            same[hashlib.blake2b(pcm).digest()].append(clip)
            cut[clip] = list(_cut(waveform, vad))
            digest.update(
                f"{clip.corpus}/{clip.speaker}/{clip.name}/{clip.label}".encode()
            )
            digest.update(pcm)
        if len(errors) == len(corpus.clips):
            first, reason = next(iter(errors.items()))
            raise CorpusError(
                f"{corpus.title}: no clip can be read; {first.source}: {reason}"
            )
        notes += [f"{c.source.shown}: excluded: {text}" for c, text in errors.items()]
    for twins in same.values():
        differ = len({clip.label for clip in twins}) > 1
        for clip in twins if differ else twins[1:]:
            del cut[clip]
            other = twins[0] if clip is not twins[0] else twins[1]
            notes.append(
                f"{clip.source.shown}: excluded: the same recording as "
                f"{other.source.shown}" + (", with another label" if differ else "")
            )
    clips = list(cut)
    waveforms = [waveform for clip in clips for waveform in cut[clip]]
    of_clip = [i for i, clip in enumerate(clips) for _ in cut[clip]]
    n_samples = np.array([len(waveform) for waveform in waveforms])
    return Segments(
        clips, waveforms, np.array(of_clip), n_samples, notes, digest.hexdigest()
    )


def _cut(waveform: np.ndarray, vad: SileroVad) -> Iterator[np.ndarray]:
    wide = soxr.resample(waveform, SAMPLE_RATE, VAD_RATE).astype(np.float32)
    stream = vad.stream()
    probabilities = np.concatenate([stream.push(wide), stream.finish()])
    whole = np.pad(wide, (0, -len(wide) % FRAME_SAMPLES))
    levels = frame_levels_db(whole.reshape(-1, FRAME_SAMPLES))[: len(probabilities)]
    regions = speech_regions(probabilities, VadConfig())
    segments = segment_regions(regions, probabilities, levels, SegmentConfig())
    if not len(segments):
        end = len(probabilities)
        first, last = (regions[0, 0], regions[-1, 1]) if len(regions) else (0, end)
        segments = np.array([[first, last]])
    for start, end in segments:
        at = sample_index(start * FRAME_S, SAMPLE_RATE)
        part = waveform[at : sample_index(end * FRAME_S, SAMPLE_RATE)]
        yield part if len(part) else waveform
