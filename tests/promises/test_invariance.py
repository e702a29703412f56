"""Rows depend on the recordings alone.

Block sizes, batches, workers, order and resume points make no difference.
"""

import random
import shutil
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ser_batch import pipeline
from ser_batch.audio import decoders
from ser_batch.config.options import Config
from ser_batch.engine.engine import TICK, Engine, Tick
from ser_batch.speech.decoded import Job, Outcome, Task
from ser_batch.speech.decoding import decode
from ser_batch.speech.loading import load_diarizer
from ser_batch.speech.silero import SileroVad
from tests.support.equality import differences
from tests.support.paths import EXAMPLES
from tests.support.recordings import backdate, encode
from tests.support.tables import tables

ABSTAIN_BELOW = 0.15


@pytest.fixture(scope="module")
def recordings(tmp_path_factory, call) -> Path:
    """Write calls of several formats, lengths and channel counts.

    One is truncated, and one is not audio.
    """
    folder = tmp_path_factory.mktemp("invariance")
    for number, name in enumerate(
        ("ulaw.wav", "x.flac", "opus.ogg", "x.m4a", "gsm.wav", "x.mp3")
    ):
        waveform = np.roll(call, 40_000 * number, axis=1)[:, : 8000 * (8 + 3 * number)]
        encode(folder / name, waveform[:1] if name == "gsm.wav" else waveform).rename(
            folder / f"{number}-{name}"
        )
    whole = (folder / "1-x.flac").read_bytes()
    (folder / "cut.flac").write_bytes(whole[: len(whole) // 2])
    shutil.copy(EXAMPLES / "billing" / "1003-broken.wav", folder)
    return backdate(folder)


def configured(bundle: Path, **run: int) -> Config:
    return Config.from_dict(
        {
            "score": {"bundle": str(bundle)},
            "speakers": {"count": "2"},
            "run": {"device": "cpu", **run},
        }
    )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, recordings, tiny_bundle) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    progress = pipeline.run(
        [str(recordings)], out, configured(tiny_bundle), threading.Event()
    )
    assert (progress.done, progress.failed) == (7, 1)
    assert progress.segments > 20
    assert {row["speaker"] for row in tables(out)["speech"]} >= {None, 0, 1}
    return out


def resumed(
    recordings: Path,
    out: Path,
    config: Config,
    stops: Sequence[int],
    engine: Engine | None = None,
) -> None:
    """Run until all recordings are done.

    Each stop interrupts one run when that many of its recordings are finished.
    """
    for after in [*stops, None]:
        stop = threading.Event()

        def interrupt(progress, stop=stop, after=after) -> None:
            if after is not None and progress.done + progress.failed >= after:
                stop.set()

        progress = pipeline.run(
            [str(recordings)], out, config, stop, interrupt, engine=engine
        )
    assert not progress.pending


@pytest.mark.slow
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    block_s=st.one_of(st.floats(0.01, 2.0), st.sampled_from([7.3, 15.0, 600.0])),
    batch_size=st.integers(1, 70),
    order=st.randoms(use_true_random=False),
    stops=st.lists(st.integers(0, 6), max_size=3),
)
def test_blocks_batches_order_and_resume_points_do_not_change_rows(
    tmp_path_factory,
    recordings,
    undisturbed,
    tiny_bundle,
    block_s,
    batch_size,
    order,
    stops,
):
    config = configured(tiny_bundle, batch_size=batch_size)
    vad, diarizer = SileroVad(), load_diarizer(config)

    class AnyOrder:
        """An engine that decodes in any order, with pauses that end a batch early."""

        def decode(
            self, tasks: Sequence[Task], job: Job, stop: threading.Event
        ) -> Iterator[Outcome | Tick]:
            for task in order.sample(list(tasks), len(tasks)):
                if stop.is_set():
                    return
                yield decode(task, job, vad, diarizer)
                if order.random() < 0.3:
                    yield TICK

    out = tmp_path_factory.mktemp("run") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoders, "BLOCK_S", block_s)
        resumed(recordings, out, config, stops, AnyOrder())
    assert list(differences(undisturbed, out, abstain_below=ABSTAIN_BELOW)) == []
    shutil.rmtree(out)


@pytest.mark.processes
@pytest.mark.parametrize("seed", range(4))
def test_processes_and_their_timing_do_not_change_rows(
    tmp_path, recordings, undisturbed, tiny_bundle, seed
):
    chance = random.Random(seed)
    config = configured(
        tiny_bundle,
        workers=chance.randint(1, 4),
        batch_size=chance.choice((1, 3, 7, 64)),
    )
    resumed(
        recordings,
        tmp_path / "out",
        config,
        [chance.randint(1, 4) for _ in range(chance.randint(0, 2))],
    )
    assert (
        list(differences(undisturbed, tmp_path / "out", abstain_below=ABSTAIN_BELOW))
        == []
    )
