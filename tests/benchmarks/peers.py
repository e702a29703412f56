"""CPU time of ser next to what else one might use, on the same segments of one call.

    python tests/benchmarks/peers.py [--peers DIR] [--minutes 10] [--call FILE]

Segments come from the same VAD. Networks have their published size and random weights,
which cost the same as trained ones. Everything runs on one core. The packages that only
the peers need (transformers, openSMILE) are installed into a folder of their own.
Prints seconds of speech per CPU second, and how many times the CPU time of ser each
takes.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
import torch
from threadpoolctl import threadpool_limits
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2]))

from ser_batch.audio.resampling import Resampler
from ser_batch.emotion.batches import PendingSegment
from ser_batch.emotion.loading import load_scorer
from ser_batch.intervals import sample_index
from ser_batch.sources.source import Recording
from ser_batch.speech.decoded import Decoded, Job, Task
from ser_batch.speech.decoding import decode
from ser_batch.speech.silero import SileroVad
from ser_batch.speech.vad import SAMPLE_RATE as WIDE
from tests.support.decoding import job_in

ROOT = Path(__file__).parents[2]
PACKAGES = (
    "transformers", "tokenizers", "regex", "opensmile", "audinterface", "audformat",
    "audobject", "audeer", "audmath", "audresample", "oyaml", "iso639-lang", "iso3166",
    "asttokens",
)  # fmt: skip
"""Without those that ser needs anyway, such as torch and scikit-learn."""
NARROW = 8000
LABELS = 8
Segments = Sequence[np.ndarray]


def cpu_s(work: Callable[[], object]) -> float:
    """Return the CPU seconds that a piece of work takes."""
    start = time.process_time()
    work()
    return time.process_time() - start


def install(folder: Path) -> None:
    """Install the peers' packages into a folder, without what is there already."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    subprocess.run([*command, "--target", str(folder), *PACKAGES], check=True)


def segments_of(call: Path, minutes: float) -> tuple[list[np.ndarray], np.ndarray]:
    """Return the segments of a call at 8 kHz, repeated, and its first channel."""
    samples, rate = soundfile.read(call, dtype="float32", always_2d=True)
    assert rate == NARROW, "a call at 8 kHz"
    with tempfile.TemporaryDirectory() as work:
        job: Job = job_in(Path(work))
        outcome = decode(
            Task(Recording(str(call.parent), call.name), None), job, SileroVad()
        )
        assert isinstance(outcome, Decoded)
    found = []
    for number, channel in enumerate(outcome.speakers):
        for interval in channel.segments:
            start = sample_index(interval.start_s, NARROW)
            end = sample_index(interval.end_s, NARROW)
            found.append(samples[start:end, number].copy())
    speech_s = sum(map(len, found)) / NARROW
    times = max(1, round(60 * minutes / speech_s))
    return found * times, samples[:, 0]


def ours(segments: Segments) -> None:
    """Score segments as a run does: features and network, in batches of 16."""
    scorer = load_scorer("telephone", "cpu")

    def stream() -> Iterator[PendingSegment]:
        for number, waveform in enumerate(segments):
            pending = PendingSegment(
                number, len(waveform), partial(np.asarray, waveform)
            )
            yield scorer.with_context([pending], None)[0]

    for _ in scorer.score(stream(), 16):
        pass


def wide(segments: Segments) -> list[np.ndarray]:
    """Return the segments at 16 kHz, the sample rate that the large networks need."""
    result = []
    for waveform in segments:
        resampler = Resampler(NARROW, WIDE, 1)
        parts = [resampler.push(waveform[None]), resampler.finish()]
        result.append(np.concatenate(parts, axis=1)[0])
    return result


def wav2vec2(segments: Segments) -> None:
    """Classify segments with wav2vec2-base, sorted by length, in batches of 8."""
    from transformers import Wav2Vec2Config, Wav2Vec2ForSequenceClassification

    config = Wav2Vec2Config(num_labels=LABELS)
    network = Wav2Vec2ForSequenceClassification(config).eval()
    by_length = sorted(segments, key=len)
    for start in range(0, len(by_length), 8):
        group = by_length[start : start + 8]
        batch = torch.zeros(len(group), len(group[-1]))
        for row, waveform in enumerate(group):
            batch[row, : len(waveform)] = torch.from_numpy(waveform)
        network(batch)


def whisper(segments: Segments) -> None:
    """Run the encoder of whisper-tiny, which pads every segment to 30 s."""
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel

    config = WhisperConfig(
        d_model=384, encoder_layers=4, encoder_attention_heads=6, encoder_ffn_dim=1536,
        decoder_layers=1, decoder_attention_heads=6, decoder_ffn_dim=1536,
    )  # fmt: skip
    encoder, extractor = WhisperModel(config).eval().encoder, WhisperFeatureExtractor()
    for waveform in segments:
        mels = extractor(waveform, sampling_rate=WIDE, return_tensors="pt")
        encoder(mels.input_features)


def opensmile_regression(segments: Segments) -> None:
    """Compute eGeMAPS functionals with openSMILE, and apply a logistic regression."""
    import opensmile
    from sklearn.linear_model import LogisticRegression

    smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02)
    rows = [smile.process_signal(w, NARROW).to_numpy()[0] for w in segments]
    model = LogisticRegression(max_iter=20)
    model.fit(np.eye(LABELS, rows[0].size), np.arange(LABELS))
    model.predict_proba(np.stack(rows))


class CnnLstm(nn.Module):
    """The network of many notebooks: two convolutions and an LSTM on 40 MFCCs."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv1d(40, 64, 5, padding=2), nn.ReLU(), nn.MaxPool1d(2),
            nn.Conv1d(64, 128, 5, padding=2), nn.ReLU(), nn.MaxPool1d(2),
        )  # fmt: skip
        self.lstm = nn.LSTM(128, 128, batch_first=True)
        self.output = nn.Linear(128, LABELS)

    def forward(self, mfcc: torch.Tensor) -> torch.Tensor:
        """Return logits for MFCCs (batch, 40, frames)."""
        steps = self.convolutions(mfcc).transpose(1, 2)
        return self.output(self.lstm(steps)[0][:, -1])


def notebook(segments: Segments) -> None:
    """Classify one segment after the other: librosa's MFCCs, then a CNN-LSTM."""
    import librosa

    network = CnnLstm().eval()
    for waveform in segments:
        mfcc = librosa.feature.mfcc(y=waveform, sr=NARROW, n_mfcc=40, n_mels=64)
        network(torch.from_numpy(mfcc)[None])


def silero(channel: np.ndarray) -> None:
    """Find the speech of a channel as a run does."""
    stream = SileroVad().stream()
    stream.push(channel)
    stream.finish()


def silero_stock(channel: np.ndarray) -> None:
    """Find the speech of a channel with Silero's own sequence model."""
    from silero_vad.sequence_vad import SileroVADSequence

    from ser_batch.speech.silero import silero_model_path

    SileroVADSequence(str(silero_model_path()), max_frames=512).audio_forward(channel)


def pyannote(channel: np.ndarray) -> None:
    """Find the speech of a channel with pyannote's segmentation network, PyanNet."""
    # Before the others, as it turns telemetry off.
    import ser_batch.speech.pyannote_models  # noqa: F401, I001
    from pyannote.audio import Inference
    from pyannote.audio.core.task import Problem, Resolution, Specifications
    from pyannote.audio.models.segmentation import PyanNet

    network = PyanNet()
    network.specifications = Specifications(
        problem=Problem.BINARY_CLASSIFICATION, resolution=Resolution.FRAME,
        duration=5.0, classes=["speech"],
    )  # fmt: skip
    network.build()
    inference = Inference(network.eval(), step=0.5)
    inference({"waveform": torch.from_numpy(channel)[None], "sample_rate": WIDE})


def main() -> None:
    """Measure and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", type=Path, default=ROOT / ".peers")
    parser.add_argument(
        "--minutes", type=float, default=10.0, help="of speech, for ser"
    )
    example = ROOT / "examples" / "calls" / "billing" / "1001.wav"
    parser.add_argument("--call", type=Path, default=example)
    options = parser.parse_args()
    if not options.peers.is_dir():
        install(options.peers)
    sys.path.append(str(options.peers))
    os.environ["HF_HUB_OFFLINE"] = "1"
    torch.set_num_threads(1)
    segments, channel = segments_of(options.call, options.minutes)
    few = segments[: max(1, len(segments) // 10)]
    print(
        f"{len(segments)} segments, {sum(map(len, segments)) / NARROW:.0f} s of speech"
    )
    rows = [
        ("ser: MFCC, pitch, CNN-BiLSTM", ours, segments),
        ("wav2vec2-base", wav2vec2, wide(few)),
        ("whisper-tiny, encoder", whisper, wide(few)),
        ("openSMILE eGeMAPS, regression", opensmile_regression, segments),
        ("librosa MFCC, CNN-LSTM, one by one", notebook, segments),
    ]
    print_rates([(name, work, given, rate_of(work)) for name, work, given in rows])
    channel = wide([channel])[0]
    detectors = [
        ("ser: Silero, encoder as products", silero, channel),
        ("Silero, stock sequence model", silero_stock, channel),
        ("pyannote PyanNet, windows of 5 s", pyannote, channel),
    ]
    print_rates([(name, work, given, WIDE) for name, work, given in detectors])


def rate_of(work: Callable[..., object]) -> int:
    """Return the sample rate of the segments that a classifier is given."""
    return WIDE if work in (wav2vec2, whisper) else NARROW


def print_rates(rows: Sequence[tuple[str, Callable[..., object], object, int]]) -> None:
    """Print one line per row: seconds of audio per CPU second, and the ratio to ser."""
    first = None
    for name, work, given, rate in rows:
        few = given[:1] if isinstance(given, list) else given[: 10 * rate]
        with torch.inference_mode(), threadpool_limits(1, "blas"):
            work(few)  # loading and warming up are not counted
            loading = cpu_s(partial(work, few))
            seconds = cpu_s(partial(work, given)) - loading
        parts = given if isinstance(given, list) else [given]
        audio_s = (sum(map(len, parts)) - len(few[0] if given is parts else few)) / rate
        speed = audio_s / seconds
        first = first or speed
        print(f"{name:36} {speed:8.1f} s per CPU second   {first / speed:6.1f} x")


if __name__ == "__main__":
    main()
