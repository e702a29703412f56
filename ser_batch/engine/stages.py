"""Join decoding and scoring.

The segments of decoded recordings are scored in shared batches, and each recording is
passed on when all its segments are scored.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from ser_batch.emotion.analysis import Analysis, Assembly
from ser_batch.emotion.pending import FLUSH, Flush, PendingSegment
from ser_batch.emotion.scorer import ScoredBatch, Scorer
from ser_batch.engine.engine import TICK, Finished, Tick
from ser_batch.engine.machine import divided_cores
from ser_batch.speech.decoded import Decoded, Failed, Job, Outcome


def finished_recordings(
    outcomes: Iterable[Outcome | Finished | Tick],
    job: Job,
    scorer: Scorer,
    n_threads: int | None = None,
) -> Iterator[Finished | Tick]:
    """Score decoded recordings, and yield each when all its segments are scored.

    Those that are finished already are passed on. `n_threads` are for scoring; by
    default, those cores that do not decode.

    `TICK` comes about as often as in `outcomes`, so that the caller can do other work.
    """
    desk = _Assembling(job, scorer)
    on_gpu = scorer.device.type == "cuda"
    if n_threads is None:
        _, n_threads = divided_cores(on_gpu)
    batch_size = job.config.run.batch_size or (64 if on_gpu else 16)
    with _torch_threads(n_threads):
        stream = desk.segments(outcomes)
        for scored in scorer.score(stream, batch_size):
            if isinstance(scored, ScoredBatch):
                desk.add(scored)
            yield from desk.take_finished()
            yield TICK
        yield from desk.take_finished()


class _Assembling:
    """Recordings whose segments are being scored, and those that are finished."""

    def __init__(self, job: Job, scorer: Scorer) -> None:
        self._job, self._scorer = job, scorer
        self._waiting: dict[str, Assembly] = {}
        self._finished: list[Finished] = []

    def segments(
        self, outcomes: Iterable[Outcome | Finished | Tick]
    ) -> Iterator[PendingSegment | Flush]:
        """Yield the segments of decoded recordings; one without any is finished."""
        for outcome in outcomes:
            match outcome:
                case Tick():
                    yield FLUSH
                case Decoded():
                    yield from self._begin(outcome)
                case Failed():
                    self._finished.append(Analysis(outcome, []))
                case _:
                    self._finished.append(outcome)

    def _begin(self, decoded: Decoded) -> Iterator[PendingSegment]:
        abstain_below = self._job.config.score.abstain_below
        assembly = Assembly(decoded, self._scorer, abstain_below, self._job.waveforms)
        if segments := assembly.pending():
            self._waiting[decoded.recording.recording_id] = assembly
            yield from segments
        else:
            self._finished.append(assembly.finish())

    def add(self, batch: ScoredBatch) -> None:
        """Add the scores of a batch to the recordings of its segments."""
        for row, (recording_id, number) in enumerate(batch.keys):
            assembly = self._waiting[recording_id]
            if (recording_id, number) in batch.errors:
                assembly.fail(batch.errors[recording_id, number])
            assembly.add(
                number,
                batch.probabilities[row],
                float(batch.levels_dbfs[row]),
                {name: float(own[row]) for name, own in batch.values.items()},
            )
            if not assembly.n_left:
                self._finished.append(self._waiting.pop(recording_id).finish())

    def take_finished(self) -> list[Finished]:
        """Return the recordings that were finished since the last call."""
        finished, self._finished = self._finished, []
        return finished


@contextmanager
def _torch_threads(n: int) -> Iterator[None]:
    # Imported late: a run that finds nothing new ends before torch would be loaded.
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)
