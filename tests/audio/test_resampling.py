"""Resampling in blocks keeps exact times."""

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_batch.audio.resampling import Resampler


@given(
    st.sampled_from([8000, 11025, 22050, 44100, 48000]),
    st.sampled_from([8000, 16000]),
    st.integers(0, 99),
)
@settings(max_examples=25, deadline=None)
def test_resampling_in_blocks_equals_resampling_at_once(from_rate, to_rate, seed):
    rng = np.random.default_rng(seed)
    waveform = rng.normal(0, 0.1, (2, int(rng.integers(1, 3 * from_rate)))).astype(
        np.float32
    )
    at_once = (
        soxr.resample(waveform.T, from_rate, to_rate, "HQ").T
        if from_rate != to_rate
        else waveform
    )
    resampler, out, at = Resampler(from_rate, to_rate, 2), [], 0
    while at < waveform.shape[1]:
        size = int(rng.integers(1, from_rate))
        out.append(resampler.push(waveform[:, at : at + size]))
        at += size
    together = np.concatenate([*out, resampler.finish()], axis=1)
    assert abs(together.shape[1] - at_once.shape[1]) <= 1
    n = min(together.shape[1], at_once.shape[1])
    np.testing.assert_allclose(together[:, :n], at_once[:, :n], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("from_rate", "to_rate"), [(8000, 16000), (44100, 8000)])
def test_times_are_accurate_to_one_sample_after_ten_hours(from_rate, to_rate):
    resampler = Resampler(from_rate, to_rate, 1)
    minute = np.zeros((1, 60 * from_rate), np.float32)
    last = minute.copy()
    click = 37 * from_rate + 1234  # in the last minute
    last[0, click] = 1
    before = sum(resampler.push(minute).shape[1] for _ in range(599))
    tail = np.concatenate([resampler.push(last), resampler.finish()], axis=1)[0]
    assert before + len(tail) == 36_000 * to_rate
    heard = before + int(np.argmax(tail))
    assert abs(heard - (599 * 60 * from_rate + click) * to_rate / from_rate) <= 1
