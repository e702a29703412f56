"""Readers of corpora by name: published corpora, and the user's own."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from ser_batch.errors import CorpusError
from ser_batch.training.corpora.clips import Clip, Corpus
from ser_batch.training.corpora.files import corpus_files
from ser_batch.training.corpora.layouts import LAYOUTS
from ser_batch.training.corpora.own import read_audformat, read_csv, read_folders
from ser_batch.training.corpora.tabled import (
    crema_d_sexes,
    read_iemocap,
    read_meld,
    read_nemo,
)


def _read_layout(name: str, root: Path) -> Corpus:
    layout = LAYOUTS[name]
    prefix = layout.speakers_of or name
    clips: dict[str, Clip] = {}
    repeated, foreign = [], []
    files = corpus_files(root)
    for file in files:
        if not file.is_audio:
            continue
        reading = layout.parse(file.inner)
        if reading is None:
            foreign.append(file.shown)
            continue
        speaker, sex, label, key = reading
        clip = Clip(file, name, f"{prefix}/{speaker}", sex, label, key=key)
        if clip.name in clips:
            repeated.append(file.shown)
        else:
            clips[clip.name] = clip
    return Corpus(
        name, layout.title, layout.licence, tuple(clips.values()),
        tuple(
            frozenset(f"{prefix}/{speaker}" for speaker in fold)
            for fold in layout.folds
        ),
        layout.n_published, tuple(sorted(layout.names - clips.keys())),
        tuple(repeated), tuple(foreign),
    )  # fmt: skip


_TABLED: dict[str, Callable[[Path], Corpus]] = {
    "nemo": read_nemo,
    "iemocap": read_iemocap,
    "meld": read_meld,
}
_OWN: dict[str, Callable[[Path], Corpus]] = {
    "folder": read_folders,
    "csv": read_csv,
    "audformat": read_audformat,
}
PUBLISHED = (*LAYOUTS, *_TABLED)
"""Names of the published corpora that have a reader."""
HOW = (
    f"NAME=DIR, where NAME is one of {', '.join(PUBLISHED)}; or folder=DIR, csv=FILE "
    "or audformat=DIR"
)


def read_corpus(spec: str) -> Corpus:
    """Read a corpus given as `NAME=PATH`.

    The path is a zip archive, or a folder that may contain zip archives. For a
    published corpus the path alone is enough.

    Raises:
        CorpusError: the name is unknown, there is no clip of that corpus, or a file
            cannot be parsed.
    """
    if "=" not in spec and Path(spec).exists():
        spec = f"{_recognised(Path(spec))}={spec}"
    name, _, path = spec.partition("=")
    if not path or name not in (*PUBLISHED, *_OWN):
        raise CorpusError(f"{spec!r}: give a corpus as {HOW}")
    root = Path(path)
    if name in LAYOUTS:
        corpus = _read_layout(name, root)
    else:
        corpus = (_TABLED | _OWN)[name](root)
    if name == "crema-d":
        corpus = crema_d_sexes(corpus, root)
    if not corpus.clips:
        audio = corpus.foreign or corpus.missing
        hint = f"; file names do not match, for example {audio[0]}" if audio else ""
        raise CorpusError(f"{path}: no clips of {corpus.title} found{hint}")
    return corpus


def _recognised(root: Path) -> str:
    """Return the name of the published corpus that most clips belong to."""
    files = corpus_files(root)
    for name, table in (
        ("nemo", "data.tsv"),
        ("meld", "train_sent_emo.csv"),
        ("meld", "test_sent_emo.csv"),
    ):
        if any(file.inner.name == table for file in files):
            return name
    if any("EmoEvaluation" in file.inner.parts for file in files):
        return "iemocap"
    paths = [file.inner for file in files if file.is_audio]
    clips = {
        name: sum(layout.parse(path) is not None for path in paths)
        for name, layout in LAYOUTS.items()
    }
    best = max(clips, key=lambda name: clips[name])
    if not clips[best]:
        raise CorpusError(
            f"{root}: not recognised as a published corpus; give it as {HOW}"
        )
    return best


def read_corpora(specs: Sequence[str]) -> list[Corpus]:
    """Read several corpora; see `read_corpus`.

    Raises:
        CorpusError: as for `read_corpus`, or a corpus is given twice.
    """
    corpora = [read_corpus(spec) for spec in specs]
    twice = [
        name for name, n in Counter(corpus.name for corpus in corpora).items() if n > 1
    ]
    if twice:
        raise CorpusError(
            f"corpus {twice[0]} is given twice; put all its clips in one folder, or "
            "give one of them another name"
        )
    return corpora
