"""The model card of a voice model."""

import textwrap
from collections.abc import Mapping
from typing import Any

_CARD = """\
# Voice model

Tells apart the voices within one channel, for `ser analyze --speakers`. It turns a
window of speech into a point; windows of the same voice lie together. It does not know
any person, and its points are never written anywhere: a stored one would be biometric
data.

## Network

A TDNN with statistics pooling (Snyder et al. 2018) on 40 mel bands at 8 kHz: {width}
filters, {parameters:,} parameters. Its {axes} most discriminating axes (linear
discriminant analysis, scaled by their reliability) are kept. It runs in numpy.

## Data and licence

{speakers} speakers, each at five tempi, of

| corpus | licence |
| --- | --- |
{corpora}

For research and other non-commercial use, as most of these corpora. Their speakers are
angry, sad and calm in turn, so that a voice remains the same person in every mood. All
of it was heard over simulated telephone lines: band edges, frequency response, noise
and level, with several speakers to a line.

Held out: {held_out}. These were never heard, for tests.

## Training

`python -m ser_batch.training.voices` with ser {ser_version} and torch {torch}: seed
{seed}, {steps} steps, additive angular margin softmax (Deng et al. 2019). Fingerprint
of the clips: `{clips}`.

## Calibration

On {conversations} simulated conversations (telephone band, mu-law, noise) of speakers
of whom the network has heard nothing ({calibrated_on}): {accuracy:.1%} of the detected
speech got the right one of two voices, {lowest_accuracy:.1%} in the worst conversation.
`diarization_confidence` is the accuracy that such conversations have at the same
distance between the two voices. Where the number of voices is left open, a voice is
divided if the distance is one that 10 % of single voices exceed when they are divided
nevertheless; {pairs_not_divided:.0%} of the pairs are then taken for one voice. If
two voices are asked for where there is one, `diarization_confidence` is high enough for
roles, although it should not be, in {single_voices_trusted:.0%} of the recordings.

A network with one hidden layer on the same output tells overlapping speech. In
conversations of those speakers in which it is {overlap_share:.1%} of the speech, it
finds {overlap_recall:.0%} of it, and {overlap_precision:.0%} of what it finds is right.

## Limits

Most overlapping speech is missed. In the simulated conversations, acted moods change
faster than in calls. Voices of the same sex are confused more often than others.
Children, singing,
and languages unlike those of the corpora have not been tested.
"""


def voice_card(training: Mapping[str, Any], shape: Mapping[str, int]) -> str:
    """Return the card of a model, from the facts about its training and its shape."""
    corpora = "\n".join(f"| {t} | {own} |" for t, own in training["corpora"].items())
    lists = {
        name: ", ".join(training[name]) or "nobody"
        for name in ("held_out", "calibrated_on")
    }
    facts = {**training, **training["calibration"], **shape, **lists}
    text = _CARD.format(**facts | {"corpora": corpora})
    return "\n\n".join(map(_wrapped, text.split("\n\n")))


def _wrapped(paragraph: str) -> str:
    """Return a paragraph in lines of 88 characters; tables stay as they are."""
    if paragraph.startswith("|"):
        return paragraph
    lines = textwrap.wrap(paragraph, 88, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines) + "\n" * paragraph.endswith("\n")
