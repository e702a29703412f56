"""How much of the speech of each emotion the VAD finds, at several thresholds.

    python tests/benchmarks/missed_speech.py ased=DIR emovo=DIR ... [--clips 30]

Takes that many clips of each label and corpus (drawn with a fixed seed) at 8 kHz. Of
the frames within 25 dB of a clip's loud ones (their 95th percentile), it prints the
share that lies in a speech region, as a mean over the clips of a label; and in brackets
the share of clips with less than 0.4 s of speech, which are not scored. In %.
"""

import argparse
import random
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import soxr

sys.path.insert(0, str(Path(__file__).parents[2]))

from ser_batch.audio.opening import read_mono
from ser_batch.config.options import VadConfig
from ser_batch.speech.regions import frame_levels_db, inside, speech_regions
from ser_batch.speech.silero import SileroVad
from ser_batch.speech.vad import FRAME_S, FRAME_SAMPLES, SAMPLE_RATE
from ser_batch.training.corpora.clips import Clip
from ser_batch.training.corpora.readers import read_corpora
from ser_batch.training.data.utterances import excerpt

TELEPHONE_RATE = 8000
SETTINGS = [
    VadConfig(),
    VadConfig(onset=0.3, offset=0.2),
    VadConfig(onset=0.2, offset=0.1),
]
LOUD_PERCENTILE, RANGE_DB = 95, 25
LEAST_S = 0.4


def found_in(clip: Clip, vad: SileroVad) -> tuple[np.ndarray, np.ndarray]:
    """Return the shares of speech that is found, and which settings find too little."""
    with clip.file() as path:
        narrow = excerpt(read_mono(path, TELEPHONE_RATE), TELEPHONE_RATE, clip)
    wide = soxr.resample(narrow, TELEPHONE_RATE, SAMPLE_RATE).astype(np.float32)
    stream = vad.stream()
    p = np.concatenate([stream.push(wide), stream.finish()])
    n = len(wide) // FRAME_SAMPLES
    levels = frame_levels_db(wide[: n * FRAME_SAMPLES].reshape(n, FRAME_SAMPLES))
    loud = levels > np.percentile(levels, LOUD_PERCENTILE) - RANGE_DB
    shares, misses = [], []
    for setting in SETTINGS:
        is_speech = inside(speech_regions(p, setting), len(levels))
        shares.append((is_speech & loud).sum() / loud.sum())
        misses.append(is_speech.sum() * FRAME_S < LEAST_S)
    return np.array(shares), np.array(misses)


def main() -> None:
    """Print a row for each label."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpora", nargs="+")
    parser.add_argument("--clips", type=int, default=30)
    options = parser.parse_args()
    chance, vad = random.Random(0), SileroVad()
    results = defaultdict(list)
    for corpus in read_corpora(options.corpora):
        by_label = defaultdict(list)
        for clip in corpus.clips:
            by_label[clip.label].append(clip)
        for label, clips in by_label.items():
            for clip in chance.sample(clips, min(options.clips, len(clips))):
                results[label].append(found_in(clip, vad))
    own = (f"{setting.onset:g}, {setting.offset:g}" for setting in SETTINGS)
    print("label        clips  onset, offset:", *(f"{text:>14}" for text in own))
    for label, rows in sorted(results.items()):
        shares, misses = (100 * np.mean(own, axis=0) for own in zip(*rows, strict=True))
        shown = (f"{a:5.1f} ({b:4.1f})  " for a, b in zip(shares, misses, strict=True))
        print(f"{label:12} {len(rows):5}                ", *shown)


if __name__ == "__main__":
    main()
