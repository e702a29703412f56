"""How well the voices of mono calls are told apart, next to Resemblyzer.

    python tests/benchmarks/diarization.py DATA [--peers DIR] [--turns 30] [--seed 1]

Simulates conversations of two voices that the voice model has never heard, on one
telephone line (300 to 3400 Hz, mu-law, noise), at levels that differ by up to 10 dB: of
acted, emotional voices (RAVDESS), and of people who read. DATA contains `ravdess`,
`speakers` and, for a real conversation, `vad`. Both methods get the same speech
regions. Resemblyzer's embeddings of the same windows (1.2 s every 0.3 s) are clustered
by the same spectral clustering; it is installed into a folder of its own. Prints the
diarization error rate (pyannote.metrics) and its parts, and CPU time relative to the
VAD.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import soundfile
import soxr
from pyannote.core import Annotation, Segment, Timeline
from pyannote.metrics.diarization import DiarizationErrorRate
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).parents[2]))

from ser_batch.audio.opening import read_mono
from ser_batch.config.options import Config
from ser_batch.measured import open_results
from ser_batch.pipeline import run
from ser_batch.shipped import MODELS_FOLDER
from ser_batch.speech.clustering import clustered
from ser_batch.speech.diarization import SAMPLE_RATE, Voices
from ser_batch.speech.regions import Regions, inside, spans
from ser_batch.speech.silero import SileroVad
from ser_batch.speech.speakers import turns_of
from ser_batch.speech.vad import FRAME_S
from ser_batch.speech.voice_diarizer import VoiceDiarizer
from ser_batch.speech.voices import STEP_S, load_voices
from ser_batch.training.corpora.readers import read_corpora
from ser_batch.training.voices.calibrating import read_from
from ser_batch.training.voices.clips import Clips, read_clips
from ser_batch.training.voices.conversations import (
    Conversation,
    converse,
    paired,
    speech_of,
)

ACTORS = ("02", "03", "05", "06")
PACKAGES = ("resemblyzer", "webrtcvad-wheels")
JOIN_S = 0.5
OVERLAPS = 0.15
"""The share of turns that begin before the one before them ends."""
WINDOW_S, HOP_S = 1.2, 0.3
Found = Sequence[Regions]
DIARIZER = VoiceDiarizer(load_voices())


def install(folder: Path) -> None:
    """Install the peers into a folder of their own, and make them importable."""
    if not (folder / "resemblyzer").is_dir():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        subprocess.run([*command, "--target", str(folder), *PACKAGES], check=True)
    sys.path.append(str(folder))


def real(folder: Path) -> Iterator[Conversation]:
    """Yield the real conversation, with its turns, if it is there."""
    path = folder / "conversation_2_speakers.flac"
    if not path.is_file():
        return
    rows = [line.split() for line in path.with_suffix(".rttm").read_text().splitlines()]
    names = sorted({row[7] for row in rows})
    turns = [
        (float(row[3]), float(row[3]) + float(row[4]), names.index(row[7]))
        for row in rows
    ]
    samples = read_mono(path, SAMPLE_RATE)
    n = round(len(samples) / SAMPLE_RATE / STEP_S)
    edges = [[[a / STEP_S, b / STEP_S] for a, b, w in turns if w == k] for k in (0, 1)]
    active = np.stack([inside(np.round(own).astype(int), n) for own in edges])
    yield Conversation(samples, turns, active)


def ours(samples: np.ndarray, regions: Regions) -> Found:
    voices = DIARIZER.voices(read_from(samples), regions, 2, 2)
    *turns, _ = turns_of(voices)
    n = max((int(own[-1, 1]) for own in turns if len(own)), default=0)
    return [
        spans(inside(turn, n) | inside(behind, n))
        for turn, behind in zip(turns, voices.behind, strict=True)
    ]


def resemblyzer(samples: np.ndarray, regions: Regions) -> Found:
    """Cluster Resemblyzer's embeddings of windows; frames get the nearest window's."""
    from resemblyzer import VoiceEncoder

    encoder = VoiceEncoder("cpu", verbose=False)
    wide = soxr.resample(samples, SAMPLE_RATE, 16_000).astype(np.float32)
    windows, middles = [], []
    for start, end in regions * FRAME_S:
        for at in np.arange(start, max(end - WINDOW_S, start) + 1e-6, HOP_S):
            to = min(at + WINDOW_S, end)
            windows.append(wide[int(at * 16_000) : int(to * 16_000)])
            middles.append((at + to) / 2)
    points = np.stack([encoder.embed_utterance(w) for w in windows])
    labels = clustered(points, 2)
    voice = np.full(int(regions[-1, 1]), -1)
    for start, end in regions:
        for frame in range(start, end):
            nearest = np.abs(np.array(middles) - (frame + 0.5) * FRAME_S).argmin()
            voice[frame] = labels[nearest]
    certainty = np.ones(len(voice), np.float32)
    own = [spans(voice == k) for k in range(2)]
    return turns_of(Voices(own, regions[:0], certainty, 1.0, [regions[:0]] * 2))[:2]


def annotation(found: Sequence[tuple[float, float, int]]) -> Annotation:
    made = Annotation()
    for number, (start, end, who) in enumerate(found):
        made[Segment(start, end), number] = str(who)
    return made.support(JOIN_S)


def score(
    name: str, method: Callable[..., Found], calls: Sequence[Conversation]
) -> None:
    """Print the errors of a method over conversations."""
    vad = SileroVad()
    metrics = {
        "strict": DiarizationErrorRate(),
        "collar": DiarizationErrorRate(collar=0.5),
        "alone": DiarizationErrorRate(skip_overlap=True),
    }
    both = np.zeros(3)
    worst, spent, detecting, audio_s = 0.0, 0.0, 0.0, 0.0
    for call in calls:
        start = time.process_time()
        regions = speech_of(call, vad)
        middle = time.process_time()
        voices = method(call.samples, regions)
        spent += time.process_time() - middle
        detecting += middle - start
        audio_s += len(call.samples) / SAMPLE_RATE
        found = [
            (float(a) * FRAME_S, float(b) * FRAME_S, k)
            for k, own in enumerate(voices)
            for a, b in own
        ]
        whole = Timeline([Segment(0, len(call.samples) / SAMPLE_RATE)])
        for kind, metric in metrics.items():
            der = metric(annotation(call.turns), annotation(found), uem=whole)
            worst = max(worst, der) if kind == "strict" else worst
        both += overlap_of(call, voices)
    strict = metrics["strict"][:]
    total = strict["total"]
    parts = [strict[part] / total for part in ("missed detection", "confusion")]
    print(
        f"{name:30} {len(calls):>4} "
        + " ".join(f"{abs(metric):>7.1%}" for metric in metrics.values())
        + f" {worst:>7.1%} {parts[0]:>7.1%} {parts[1]:>7.1%} {sum(parts):>7.1%} "
        f"{spent / detecting:>6.2f}"
    )
    true_s, found_s, shared_s = both
    if true_s and found_s:
        print(
            f"{'':30} overlapping speech: {true_s / audio_s:.1%} of the time; "
            f"found {shared_s / true_s:.0%}, of what is found {shared_s / found_s:.0%}"
        )


def overlap_of(call: Conversation, voices: Found) -> np.ndarray:
    """Return the seconds of overlap: that there are, that are found, and shared."""
    n = len(call.both)
    middles = ((np.arange(n) + 0.5) * STEP_S / FRAME_S).astype(int)
    last = int(middles[-1]) + 1
    found = np.sum([inside(own, last)[middles] for own in voices], 0) > 1
    return STEP_S * np.array([call.both.sum(), found.sum(), (call.both & found).sum()])


def main() -> None:
    """Simulate the conversations, and print the errors."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--peers", type=Path, default=Path("runs/diarization-peers"))
    parser.add_argument("--turns", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    install(options.peers)
    with tempfile.TemporaryDirectory() as work:
        corpora = read_corpora([f"ravdess={options.data / 'ravdess'}"])
        acted = read_clips(corpora, None, Path(work))
        acted = acted.of(lambda speaker: speaker.split("/")[1] in ACTORS)
        read = read_clips([], options.data / "speakers", Path(work))
    held_out = set(load_held_out())
    sets = {
        "acted": list(paired(acted, [options.turns], options.seed)),
        "read": list(
            paired(read.of(held_out.__contains__), [options.turns], options.seed)
        ),
        "acted, overlapping": list(
            paired(acted, [options.turns], options.seed, overlaps=OVERLAPS)
        ),
        "read, overlapping": list(
            paired(
                read.of(held_out.__contains__),
                [options.turns],
                options.seed,
                overlaps=OVERLAPS,
            )
        ),
        "real": list(real(options.data / "vad")),
    }
    head = ("DER", "collar", "alone", "worst", "missed", "conf.", "both", "/ VAD")
    print(f"{'':30} {'n':>4} " + " ".join(f"{name:>7}" for name in head))
    with threadpool_limits(1):
        for kind, calls in sets.items():
            if calls:
                score(f"ser, {kind}", ours, calls)
                score(f"Resemblyzer, {kind}", resemblyzer, calls)
    with tempfile.TemporaryDirectory() as work:
        compare_with_stereo(acted, Path(work), 20, options.seed)


def compare_with_stereo(clips: Clips, work: Path, n: int, seed: int) -> None:
    """Print how far measures of mono calls are from those of the same calls in stereo.

    The agent is the one who speaks first. Relative differences, by call.
    """
    rng = np.random.default_rng(seed)
    own: dict[str, list[np.ndarray]] = {}
    for waveform, speaker in zip(clips.waveforms, clips.speakers, strict=True):
        own.setdefault(speaker, []).append(waveform.astype(np.float32))
    names = sorted(own)
    turns: dict[str, list[tuple[float, float]]] = {}
    for folder in ("stereo", "mono"):
        (work / folder).mkdir()
    for number in range(n):
        a, b = rng.choice(names, 2, replace=False)
        call = converse(own[a], own[b], 24, rng)
        turns[f"{number:02}.wav"] = [(s, e) for s, e, who in call.turns if who == 0]
        channels = np.zeros((2, len(call.samples)), np.float32)
        for start_s, end_s, who in call.turns:
            span = slice(round(start_s * SAMPLE_RATE), round(end_s * SAMPLE_RATE))
            channels[who, span] = call.samples[span]
        channels += rng.normal(0, 1e-3, channels.shape).astype(np.float32)
        for folder, samples in (("stereo", channels.T), ("mono", channels.sum(0))):
            path = work / folder / f"{number:02}.wav"
            soundfile.write(path, samples, SAMPLE_RATE, subtype="ULAW")
            os.utime(path, (1e9, 1e9))
    options = {
        "score": {"roles": ["agent", "customer"], "profile": "bundle"},
        "speakers": {"agent_is": "first"},
    }
    tables = {}
    for folder in ("stereo", "mono"):
        out, stop = work / f"{folder}-results", threading.Event()
        run([str(work / folder)], out, Config.from_dict(options), stop)
        tables[folder] = open_results(out).calls(undated=True).set_index("path")
    stereo, mono = tables["stereo"], tables["mono"]
    scored = mono["customer_talk_s"].notna()
    print(f"\nmono against stereo: {n} calls, {scored.sum()} scored")
    names = ["agent_talk_share", "turns_per_minute", "distress_share"]
    scored_s = slipped_s = 0.0
    for row in open_results(work / "mono-results").segments().itertuples():
        scored_s += row.end_s - row.start_s
        slipped_s += sum(
            max(0.0, min(row.end_s, end) - max(row.start_s, start))
            for start, end in turns[row.path]
        )
    spoken_s = sum(
        end - start for path in scored.index[scored] for start, end in turns[path]
    )
    share = slipped_s / scored_s
    print(f"share of the scored speech that is the agent's: {share:.1%}")
    print(f"share of the agents' speech in scored calls: {slipped_s / spoken_s:.1%}")
    difference = (mono[names] / stereo[names] - 1).abs()[scored]
    for name in difference:
        own_ = difference[name].dropna()
        print(f"{name:26} median {own_.median():.1%}, worst {own_.max():.1%}")


def load_held_out() -> list[str]:
    """Return the speakers that the shipped voice model has never heard."""
    values = json.loads((MODELS_FOLDER / "voices" / "voices.json").read_text())
    return list(values["training"]["held_out"])


if __name__ == "__main__":
    main()
