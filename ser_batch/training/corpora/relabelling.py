"""The labels of a model, from those of corpora."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ser_batch.errors import CorpusError, UsageError
from ser_batch.training.corpora.clips import Corpus
from ser_batch.training.corpora.labels import LABELS, common_label, ordered_labels


def with_labels(
    corpora: Sequence[Corpus],
    wanted: Sequence[str] | None,
    mapping: Mapping[str, str],
    known: Sequence[str],
    leave_out: bool = True,
) -> tuple[list[Corpus], tuple[str, ...], list[str]]:
    """The corpora with their labels mapped, the labels of the model, and notes on what is left out.

    `mapping` turns labels into others; into an empty text to leave their clips out. `wanted` are the labels
    of the model: by default the common ones that occur. Clips of other labels are left out with a note if
    `leave_out` and if the label was to be expected: `wanted` is given, or the corpus is one of `known`.

    Raises:
        CorpusError: a label that nobody said what to do with, or no clip is left.
    """
    mapping = {
        common_label(label): to and common_label(to) for label, to in mapping.items()
    }
    present = {clip.label for corpus in corpora for clip in corpus.clips}
    strange = set(mapping) - present
    if strange:
        raise CorpusError(
            f"--map {sorted(strange)[0]}: no clip has that label; there are {', '.join(sorted(present))}"
        )
    mapped, notes = [], []
    for corpus in corpora:
        clips = [
            replace(clip, label=mapping.get(clip.label, clip.label))
            for clip in corpus.clips
        ]
        kept = tuple(clip for clip in clips if clip.label)
        if n := len(corpus.clips) - len(kept):
            notes.append(f"{corpus.title}: {n} clips left out, as --map says")
        mapped.append(
            replace(corpus, clips=kept, vocabulary=corpus.vocabulary or corpus.labels)
        )
    found = ordered_labels([clip.label for corpus in mapped for clip in corpus.clips])
    labels = (
        tuple(wanted) if wanted else tuple(label for label in found if label in LABELS)
    )
    result = []
    for corpus in mapped:
        others = Counter(
            clip.label for clip in corpus.clips if clip.label not in labels
        )
        if others and not (leave_out and (wanted or corpus.name in known)):
            label, n = next(iter(others.items()))
            has = f"; the model has {', '.join(labels)}" if wanted else ""
            raise CorpusError(
                f"{corpus.title}: unknown label {label!r} ({n} clips){has}: say what it means with --map "
                f"{label}=LABEL, leave it out with --map {label}=, or train a model that has it with --labels"
            )
        notes += [
            f"{corpus.title}: {n} clips left out, {label!r} is no label of the model"
            for label, n in others.items()
        ]
        clips = [clip for clip in corpus.clips if clip.label in labels]
        if clips:
            result.append(replace(corpus, clips=tuple(clips)))
    if not result:
        raise CorpusError(
            f"no clip is left: the corpora have {', '.join(sorted(present))}"
        )
    return result, labels, notes


def parse_label_map(texts: Sequence[str] | None) -> dict[str, str]:
    """Return `LABEL=LABEL` texts as a mapping.

    Raises:
        UsageError: one without an equals sign.
    """
    pairs = [text.partition("=") for text in texts or ()]
    for label, equals, _ in pairs:
        if not equals:
            raise UsageError(
                f"--map {label}: give LABEL=LABEL, or LABEL= to leave its clips out",
                option="--map",
            )
    return {label: to for label, _, to in pairs}


def parse_labels(text: str | None) -> tuple[str, ...] | None:
    """Return `a,b,c` as labels; None where nothing was given.

    Raises:
        UsageError: an empty label, or one given twice.
    """
    if text is None:
        return None
    labels = tuple(common_label(label) for label in text.split(","))
    if "" in labels or len(set(labels)) < len(labels):
        raise UsageError(
            f"--labels {text}: give each label once, with commas between them",
            option="--labels",
        )
    return labels
