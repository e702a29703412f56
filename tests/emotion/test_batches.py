"""Batches: no segment is lost or held back by a flush, and padding is limited."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ser_batch.emotion.batches import (
    FLUSH,
    PADDING_STEP,
    POOL,
    PendingSegment,
    SegmentBatch,
    SegmentBatches,
)


def segment(key: int, n: int) -> PendingSegment:
    return PendingSegment(key, n, lambda: np.full(n, key + 1, np.float32))


@given(
    st.lists(st.one_of(st.none(), st.integers(1, 4000)), max_size=80), st.integers(1, 4)
)
def test_every_segment_is_in_exactly_one_batch_before_the_next_flush(drawn, batch_size):
    """Draw a flush as None, and a segment as its number of samples."""
    stream = [FLUSH if n is None else segment(i, n) for i, n in enumerate(drawn)]
    packed = list(SegmentBatches(stream, batch_size))
    batches = [batch for batch in packed if isinstance(batch, SegmentBatch)]
    assert len(packed) - len(batches) == drawn.count(None)
    assert sorted(key for batch in batches for key in batch.keys) == [
        i for i, n in enumerate(drawn) if n
    ]
    flushes = 0
    for item in packed:
        if item is FLUSH:
            flushes += 1
        else:
            assert {drawn[:key].count(None) for key in item.keys} == {flushes}
    for batch in batches:
        assert len(batch.keys) <= batch_size
        assert batch.waveforms.shape[1] - int(batch.lengths.max()) < PADDING_STEP
        for key, waveform, n in zip(
            batch.keys, batch.waveforms, batch.lengths, strict=True
        ):
            assert (waveform[:n] == key + 1).all()
            assert (waveform[n:] == 0).all()


def test_batches_from_a_mixed_pool_contain_segments_of_similar_length():
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 48_000, POOL)
    batches = list(
        SegmentBatches([segment(i, int(n)) for i, n in enumerate(lengths)], 8)
    )
    padding = sum(batch.waveforms.numel() for batch in batches) / lengths.sum()
    assert padding < 1.15
