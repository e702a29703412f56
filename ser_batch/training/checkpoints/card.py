"""The card of a bundle that was made of a checkpoint."""

from collections.abc import Mapping, Sequence
from typing import Any

from ser_batch.emotion.checkpoints.bundle import CheckpointBundle


def card_of(
    bundle: CheckpointBundle, metrics: Mapping[str, Any], unmapped: Sequence[str]
) -> str:
    """Return the card as Markdown."""
    outputs = "\n".join(
        f"| {own.replace('|', '/')} | {heard_as} |"
        for own, heard_as in metrics["outputs"]
    )
    revision = f", revision {metrics['revision']}" if metrics["revision"] else ""
    kept = (
        f"\nKept under their own names, as no common label is meant: "
        f"{', '.join(unmapped)}.\n"
        if unmapped
        else ""
    )
    speed = metrics["speed"]
    return f"""# {bundle.name}

A checkpoint of transformers, added by `ser models add` from {bundle.source}{revision}.
{metrics["parameters"]:,} parameters. Licence: {bundle.licence}.

It scored {speed["speech_s_per_s"]:g} s of speech in a second, when it was added, on
{speed["device"]}.

| output | heard as |
| --- | --- |
{outputs}
{kept}
ser did not train it, and does not know on whose voices it was trained: if on a corpus
that you evaluate it on, its figures there are too good. Its probabilities are as they
come, not calibrated. Label a sample of your own calls to know how good it is on them:
`ser evaluate {bundle.name} --labels labels/`.
"""
