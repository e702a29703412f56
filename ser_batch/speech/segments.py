"""From speech regions to the segments that are scored.

Pure functions, in whole VAD frames. Nearby regions are scored together, long speech is
cut, and short isolated speech is not scored, unless the channel has no other. No speech
is lost on the way, and none is counted twice: every region that is not left out lies
entirely within segments.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from ser_batch.config.options import SegmentConfig
from ser_batch.speech.regions import Regions, close_gaps
from ser_batch.speech.vad import FRAME_S


def segment_regions(
    regions: Regions,
    probabilities: Float[np.ndarray, " frames"],
    levels_db: Float[np.ndarray, " frames"],
    config: SegmentConfig,
    others: Regions | None = None,
) -> Regions:
    """Return segments between `min_s` and `max_s` long, ordered and disjoint.

    None contains one of the `others`, the speech of other voices.

    If no speech is that long, the longest is taken, down to half of `min_s`: if a "no!"
    is all that a speaker says, it counts.

    A cut is made at the frame with the lowest speech probability, rounded to a tenth,
    and at the quietest of equals, in the second half of the longest segment possible.
    """
    shortest = round(config.min_s / FRAME_S)
    groups = groups_of(regions, config, others)
    lengths = groups[:, 1] - groups[:, 0]
    scored = lengths >= shortest
    if not scored.any():
        scored = lengths >= max(shortest / 2, lengths.max(initial=0))
    groups = groups[scored]
    segments = [
        segment
        for start, end in groups
        for segment in divided_at_pauses(start, end, probabilities, levels_db, config)
    ]
    return np.array(segments, dtype=int).reshape(-1, 2)


def groups_of(
    regions: Regions, config: SegmentConfig, others: Regions | None = None
) -> Regions:
    """Return regions that are scored together; see `segment_regions`."""
    return close_gaps(regions, round(config.max_pause_s / FRAME_S) + 1, others)


def divided_at_pauses(
    start: int,
    end: int,
    probabilities: Float[np.ndarray, " frames"],
    levels_db: Float[np.ndarray, " frames"],
    config: SegmentConfig,
) -> Iterator[tuple[int, int]]:
    """Yield the segments of speech that is long enough; see `segment_regions`."""
    shortest, longest = round(config.min_s / FRAME_S), round(config.max_s / FRAME_S)
    while end - start > longest:
        # Both sides of the cut must be long enough to be segments.
        window = slice(
            start + max(shortest, longest // 2),
            min(start + longest, end - shortest) + 1,
        )
        # Differences below a tenth are ignored: a codec changes probabilities by that
        # much, but hardly moves the quiet moments.
        weakest = np.lexsort((levels_db[window], np.round(10 * probabilities[window])))[
            0
        ]
        cut = window.start + int(weakest)
        yield start, cut
        start = cut
    yield start, end
