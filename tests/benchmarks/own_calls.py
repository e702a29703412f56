"""How much a bundle gains from labels of calls that it was never trained on.

Calls are simulated from the clips of a corpus, at 8 kHz and in mu-law: half of them by
some speakers, from which segments are drawn and labelled; half by others, on which the
bundle is tested before and after. An oracle labels, and is wrong in 10 % of cases. Give
a bundle that was trained without the corpus (`ser train --leave-corpus-out`):

    python tests/benchmarks/own_calls.py runs/left-out/without-nemo+turev nemo=DIR
"""

import argparse
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import torch

from ser_batch.emotion.bundles import load_bundle
from ser_batch.emotion.profiled_bundle import ProfiledBundle
from ser_batch.emotion.profiled_scorer import ProfiledScorer
from ser_batch.labelling.answers import Answer, answer_file
from ser_batch.labelling.folder import SAME, Labelling
from ser_batch.labelling.starting import start_labelling
from ser_batch.reporting.figures.labelled import merged
from ser_batch.results.results import open_results
from ser_batch.training.adapting.adapting import adapt
from ser_batch.training.corpora.readers import read_corpora
from ser_batch.training.data.utterances import load_utterances

RATE, GAP_S, CLIPS_OF_CALL, CALLS = 8000, 0.7, 14, 60
LABELS, WRONG = (50, 100, 300), 0.1
DRAWS = 5


@dataclass(frozen=True)
class Call:
    """A simulated call, and what is said in it, as (start_s, end_s, label)."""

    waveform: np.ndarray
    said: list[tuple[float, float, str]]


def simulated(spec: str, labels: set[str], seed: int) -> dict[str, list[Call]]:
    """Return calls by speaker; half of the clips of a call are neutral."""
    (corpus,) = read_corpora([spec])
    clips = [
        clip for clip in corpus.clips if SAME.get(clip.label, clip.label) in labels
    ]
    by: dict[str, dict[bool, list]] = defaultdict(lambda: defaultdict(list))
    for own in load_utterances(clips, RATE, True, iter)[0]:
        label = SAME.get(own.clip.label, own.clip.label)
        by[own.clip.speaker][label == "neutral"].append((label, own.speech))
    rng = np.random.default_rng(seed)
    calls = {}
    for speaker, kinds in by.items():
        n = max(1, round(CALLS / len(by)))
        calls[speaker] = [_call(kinds, rng) for _ in range(n)]
    return calls


def _call(kinds: dict[bool, list], rng: np.random.Generator) -> Call:
    parts, said, at = [], [], 0.0
    for _ in range(CLIPS_OF_CALL):
        is_neutral = bool(rng.random() < 0.5)
        pool = kinds[is_neutral] or kinds[not is_neutral]
        label, speech = pool[rng.integers(len(pool))]
        level = 0.1 / (np.sqrt(np.square(speech).mean()) + 1e-6)
        parts += [np.zeros(round(GAP_S * RATE)), (speech * level).clip(-1, 1)]
        at += round(GAP_S * RATE) / RATE
        said.append((at, at + len(speech) / RATE, label))
        at = said[-1][1]
    noise = rng.normal(0, 1e-3, sum(map(len, parts)))
    return Call(np.concatenate(parts) + noise, said)


def truth_of(segments: pd.DataFrame, calls: dict[str, Call]) -> np.ndarray:
    """Return what is said during most of each segment."""
    where = zip(segments.path, segments.start_s, segments.end_s, strict=True)
    return np.array([
        max(calls[path].said, key=lambda own: min(own[1], end) - max(own[0], start))[2]
        for path, start, end in where
    ])  # fmt: skip


def analysed(
    folder: Path, calls: dict[str, list[Call]], bundle: str
) -> tuple[Path, dict[str, Call]]:
    """Write calls, analyse them as a user would, and return results and truth."""
    named = {}
    (folder / "in").mkdir(parents=True)
    for speaker, own in calls.items():
        for i, call in enumerate(own):
            name = f"{speaker.replace('/', '-')}-{i:02}.wav"
            soundfile.write(folder / "in" / name, call.waveform, RATE, subtype="ULAW")
            named[name] = call
    command = [sys.executable, "-m", "ser_batch", "analyze", folder / "in", "--quiet"]
    subprocess.run(
        [*map(str, command), "--bundle", bundle, "--out", str(folder / "out")],
        check=True,
    )
    return folder / "out", named


def label_by_oracle(
    labelling: Labelling, calls: dict[str, Call], rng: np.random.Generator
) -> None:
    """Label every segment; one in ten gets another label than the true one."""
    names = labelling.record.labels
    present = sorted({label for call in calls.values() for *_, label in call.said})
    answers = []
    for clip, true in zip(
        labelling.segments["clip"], truth_of(labelling.segments, calls), strict=True
    ):
        others = [label for label in present if label != true and label in names]
        is_wrong = rng.random() < WRONG
        answers.append(Answer(clip, str(rng.choice(others)) if is_wrong else str(true)))
    answer_file(labelling.folder, "oracle").append(answers)


@dataclass(frozen=True)
class Test:
    """Segments of other speakers' calls, and what is said in them."""

    waveforms: list[np.ndarray]
    truth: np.ndarray

    def uar(self, bundle: str) -> float:
        """Return the UAR of a bundle, with a profile of these calls."""
        loaded = load_bundle(bundle)
        assert isinstance(loaded, ProfiledBundle)
        scorer = ProfiledScorer(loaded, "cpu")
        speech = {str(i): [w] for i, w in enumerate(self.waveforms[:100])}
        scorer = scorer.with_profile(scorer.profile_of({"": speech}))
        names = sorted({SAME.get(label, label) for label in loaded.labels})
        p = merged(scorer.predict(self.waveforms), loaded.labels, names)
        answers = np.array(names)[p.argmax(axis=1)]
        recalls = [
            (answers[self.truth == label] == label).mean() for label in set(self.truth)
        ]
        return float(np.mean(recalls))


def test_of(results: Path, calls: dict[str, Call]) -> Test:
    """Return the segments of results, with their truth."""
    segments = open_results(results).segments()
    waveforms = [
        calls[path].waveform[round(start * RATE) : round(end * RATE)].astype(np.float32)
        for path, start, end in zip(
            segments.path, segments.start_s, segments.end_s, strict=True
        )
    ]
    return Test(waveforms, truth_of(segments, calls))


def rows(bundle: str, spec: str, folder: Path) -> Iterator[tuple[int, list[float]]]:
    """Yield the UAR after each number of labels, for each draw; 0 labels first."""
    labels = set(load_bundle(bundle).labels)
    calls = simulated(spec, labels, 0)
    speakers = sorted(calls)
    halves = speakers[::2], speakers[1::2]
    (results, own), (others, held_out) = (
        analysed(folder / name, {s: calls[s] for s in half}, bundle)
        for name, half in zip(("ours", "others"), halves, strict=True)
    )
    test = test_of(others, held_out)
    before = test.uar(bundle)
    yield 0, [before]
    for n in LABELS:
        found = []
        for seed in range(DRAWS):
            place = folder / f"{n}-{seed}"
            labelling = start_labelling(results, place / "labels", n, seed).labelling
            label_by_oracle(labelling, own, np.random.default_rng(seed))
            adapted = adapt(bundle, labelling, place / "bundle", "cpu", seed)
            is_better = adapted.is_written
            found.append(test.uar(str(place / "bundle")) if is_better else before)
            print(f"  {n} labels, draw {seed}: {adapted.method}, expected "
                  f"{100 * adapted.gain:+.1f}", file=sys.stderr)  # fmt: skip
        yield n, found


def main() -> None:
    """Parse the command line, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle")
    parser.add_argument("corpus", metavar="NAME=DIR")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| labels | UAR, %, on other speakers | sd | gain |")
    print("| ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory(prefix="ser-own-calls-") as folder:
        before = 0.0
        for n, found in rows(options.bundle, options.corpus, Path(folder)):
            mean = 100 * np.mean(found)
            before = before or mean
            print(
                f"| {n} | {mean:.1f} | {100 * np.std(found):.1f} | "
                f"{mean - before:+.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
