"""Mapping of corpus labels to the labels of a model."""

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
    """Map the labels of corpora, and exclude clips whose label the model lacks.

    Args:
        corpora: the corpora as read.
        wanted: labels of the model; by default, the common labels that occur.
        mapping: new labels by old ones; an empty string excludes the clips.
        known: names of corpora whose other labels are expected.
        leave_out: whether to exclude clips of other labels with a note, if `wanted` is
            given or the corpus is one of `known`; any other unmapped label is an error.

    Returns:
        The relabelled corpora, the labels of the model, and notes on excluded clips.

    Raises:
        CorpusError: a label is neither mapped nor known, or no clip remains.
    """
    mapping = {
        common_label(label): to and common_label(to) for label, to in mapping.items()
    }
    present = {clip.label for corpus in corpora for clip in corpus.clips}
    strange = set(mapping) - present
    if strange:
        raise CorpusError(
            f"--map {sorted(strange)[0]}: no clip has this label; the labels are "
            f"{', '.join(sorted(present))}"
        )
    mapped, notes = [], []
    for corpus in corpora:
        clips = [
            replace(clip, label=mapping.get(clip.label, clip.label))
            for clip in corpus.clips
        ]
        kept = tuple(clip for clip in clips if clip.label)
        if n := len(corpus.clips) - len(kept):
            notes.append(f"{corpus.title}: {n} clips excluded by --map")
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
            has = f"; the labels of the model are {', '.join(labels)}" if wanted else ""
            raise CorpusError(
                f"{corpus.title}: unknown label {label!r} ({n} clips){has}. Map it "
                f"with --map {label}=LABEL, exclude its clips with --map {label}=, or "
                "train a model that has it with --labels"
            )
        notes += [
            f"{corpus.title}: {n} clips excluded, {label!r} is not a label of the model"
            for label, n in others.items()
        ]
        clips = [clip for clip in corpus.clips if clip.label in labels]
        if clips:
            result.append(replace(corpus, clips=tuple(clips)))
    if not result:
        raise CorpusError(
            f"no clips left: the labels of the corpora are {', '.join(sorted(present))}"
        )
    return result, labels, notes


def parse_label_map(texts: Sequence[str] | None) -> dict[str, str]:
    """Parse `LABEL=LABEL` strings into a mapping.

    Raises:
        UsageError: a string has no equals sign.
    """
    pairs = [text.partition("=") for text in texts or ()]
    for label, equals, _ in pairs:
        if not equals:
            raise UsageError(
                f"--map {label}: give LABEL=LABEL, or LABEL= to exclude its clips",
                option="--map",
            )
    return {label: to for label, _, to in pairs}


def parse_labels(text: str | None) -> tuple[str, ...] | None:
    """Parse `a,b,c` into labels; None if nothing was given.

    Raises:
        UsageError: a label is empty or given twice.
    """
    if text is None:
        return None
    labels = tuple(common_label(label) for label in text.split(","))
    if "" in labels or len(set(labels)) < len(labels):
        raise UsageError(
            f"--labels {text}: give each label once, separated by commas",
            option="--labels",
        )
    return labels
