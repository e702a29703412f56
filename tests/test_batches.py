"""Segments packed into batches: none is lost, none waits for long, and those of a batch are of similar length."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ser_batch.emotion.batches import (
    BEAT,
    MAX_WAIT_S,
    PADDING_STEP,
    POOL,
    PendingSegment,
    SegmentBatch,
    SegmentBatches,
)


def segment(key: int, n: int) -> PendingSegment:
    return PendingSegment(key, n, lambda: np.full(n, key + 1, np.float32))


class Clock:
    """A clock that stands still between beats."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@given(st.lists(st.one_of(st.none(), st.integers(1, 4000)), max_size=80), st.integers(1, 4))
def test_every_segment_is_in_one_batch_and_every_beat_is_handed_on(drawn, batch_size):
    """None stands for a beat, a number for a segment of so many samples."""
    clock, stream = Clock(), [BEAT if n is None else segment(i, n) for i, n in enumerate(drawn)]
    packed = list(SegmentBatches(stream, batch_size, clock))
    batches = [batch for batch in packed if isinstance(batch, SegmentBatch)]
    assert len(packed) - len(batches) == drawn.count(None)
    assert sorted(key for batch in batches for key in batch.keys) == [i for i, n in enumerate(drawn) if n]
    for batch in batches:
        assert len(batch.keys) <= batch_size
        assert batch.waveforms.shape[1] - int(batch.lengths.max()) < PADDING_STEP
        for key, waveform, n in zip(batch.keys, batch.waveforms, batch.lengths, strict=True):
            assert (waveform[:n] == key + 1).all()
            assert (waveform[n:] == 0).all()


def test_segments_wait_for_others_of_their_length_but_not_for_ever():
    clock, at = Clock(), {}

    def stream():
        for second in range(60):
            clock.now = float(second)
            yield segment(second, 100)
            yield BEAT

    for batch in SegmentBatches(stream(), 64, clock):
        if isinstance(batch, SegmentBatch):
            at |= {key: clock.now - key for key in batch.keys}
    assert len(at) == 60
    assert max(at.values()) <= MAX_WAIT_S
    assert max(at.values()) > 10  # and they did wait


def test_a_pool_of_many_lengths_makes_batches_of_similar_ones():
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 48_000, POOL)
    batches = list(SegmentBatches([segment(i, int(n)) for i, n in enumerate(lengths)], 8, Clock()))
    padding = sum(batch.waveforms.numel() for batch in batches) / lengths.sum()
    assert padding < 1.15
