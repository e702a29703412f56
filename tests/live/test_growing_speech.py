"""Speech that is settled while a call goes on is the speech of the whole call."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ser_batch.config.options import SegmentConfig, VadConfig
from ser_batch.live.growing_speech import GrowingSpeech, Settled
from ser_batch.speech.regions import speech_regions
from ser_batch.speech.segments import segment_regions
from ser_batch.speech.vad import FRAME_S

SEGMENTS = SegmentConfig(max_s=2.5)


def joined(parts: list[Settled]) -> tuple[list, list]:
    """Return all regions, and the segments that would be scored at the end."""
    regions = [span for part in parts for span in part.regions]
    segments = [span for part in parts for span in part.segments]
    short = [span for part in parts for span in part.short]
    if not segments and short:
        longest = max(end - start for start, end in short)
        segments = [own for own in short if own[1] - own[0] == longest]
    return regions, segments


@st.composite
def heard(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities and levels of runs of speech, doubt and silence."""
    levels = (0.05, 0.4, 0.55, 0.95)
    runs = draw(st.lists(st.tuples(st.integers(1, 60), st.sampled_from(levels))))
    noise = np.random.default_rng(draw(st.integers(0, 99)))
    p = np.concatenate([np.zeros(0), *(np.full(n, level) for n, level in runs)])
    p = np.clip(p + noise.uniform(-0.06, 0.04, len(p)), 0, 1).astype(np.float32)
    return p, noise.uniform(-60, 0, len(p)).astype(np.float32)


@settings(max_examples=300, deadline=None)
@given(
    heard(),
    st.lists(st.integers(1, 90), min_size=1, max_size=5),
    st.sampled_from([0.0, 0.032, 0.1, 0.3]),
    st.sampled_from([0.0, 0.1, 0.4]),
    st.sampled_from([0.0, 0.05, 0.3]),
    st.sampled_from([0.05, 0.25]),
)
def test_what_is_settled_is_what_the_batch_finds_however_frames_come(
    found, steps, pad_s, min_silence_s, max_pause_s, min_speech_s
):
    p, levels = found
    vad = VadConfig(pad_s=pad_s, min_silence_s=min_silence_s, min_speech_s=min_speech_s)
    config = SegmentConfig(max_s=2.5, max_pause_s=max_pause_s)
    regions = speech_regions(p, vad)
    segments = segment_regions(regions, p, levels, config)
    growing, parts, at = GrowingSpeech(vad, config), [], 0
    while at < len(p):
        n = steps[len(parts) % len(steps)]
        parts.append(growing.push(p[at : at + n], levels[at : at + n]))
        at += n
        for span in [*parts[-1].segments, *parts[-1].short]:
            assert span[1] <= min(at, len(p))
    parts.append(growing.finish())
    ours = joined(parts)
    assert ours[0] == [tuple(own) for own in regions.tolist()]
    assert ours[1] == [tuple(own) for own in segments.tolist()]


def test_a_segment_is_settled_as_soon_as_the_pause_after_it_is_long_enough():
    p = np.r_[np.zeros(20), np.ones(60), np.zeros(40)].astype(np.float32)
    growing = GrowingSpeech(VadConfig(), SEGMENTS)
    settled_at = None
    for at in range(len(p)):
        settled = growing.push(p[at : at + 1], np.zeros(1, np.float32))
        if settled.segments:
            assert settled.segments == [(19, 81)]
            settled_at = at
            break
    pause = round(SEGMENTS.max_pause_s / FRAME_S)
    # The silence that ends it, and a frame on either side that belongs to speech.
    assert settled_at == 80 + pause + 2


def test_speech_without_a_pause_is_cut_while_it_goes_on_and_nothing_else_is_kept():
    growing = GrowingSpeech(VadConfig(), SEGMENTS)
    levels = np.random.default_rng(0).uniform(-60, 0, 10_000).astype(np.float32)
    found: list = []
    longest, shortest = (round(s / FRAME_S) for s in (SEGMENTS.max_s, SEGMENTS.min_s))
    for at in range(0, 10_000, 10):
        ten = np.full(10, 0.9, np.float32)
        found += growing.push(ten, levels[at : at + 10]).segments
        assert at + 10 - growing.needed_from <= longest + shortest + 10
    assert len(found) > 100
    assert [a for a, _ in found[1:]] == [b for _, b in found[:-1]]
    assert growing.unfinished(np.zeros(0), np.zeros(0)) == (found[-1][1], 10_000)
