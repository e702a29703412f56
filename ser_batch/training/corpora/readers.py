"""Readers of corpora, by name: of published ones, and of one's own."""

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
        tuple(frozenset(f"{prefix}/{speaker}" for speaker in fold) for fold in layout.folds),
        layout.n_published, tuple(sorted(layout.names - clips.keys())), tuple(repeated), tuple(foreign),
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
"""Corpora with a reader of their own."""
HOW = (
    f"NAME=DIR with a NAME of {', '.join(PUBLISHED)}, or folder=DIR, or csv=FILE, or "
    "audformat=DIR"
)


def read_corpus(spec: str) -> Corpus:
    """Reads a corpus given as `NAME=PATH`; the path is a folder, which may hold zip archives, or an archive.

    A published corpus is recognised by its path alone.

    Raises:
        CorpusError: an unknown name, no clip of that corpus, or a file that cannot be understood.
    """
    if "=" not in spec and Path(spec).exists():
        spec = f"{_recognised(Path(spec))}={spec}"
    name, _, path = spec.partition("=")
    if not path or name not in (*PUBLISHED, *_OWN):
        raise CorpusError(f"{spec!r}: a corpus is given as {HOW}")
    root = Path(path)
    if name in LAYOUTS:
        corpus = _read_layout(name, root)
    else:
        corpus = (_TABLED | _OWN)[name](root)
    if name == "crema-d":
        corpus = crema_d_sexes(corpus, root)
    if not corpus.clips:
        audio = corpus.foreign or corpus.missing
        hint = f"; what is here is named otherwise: {audio[0]}" if audio else ""
        raise CorpusError(f"{path}: no clip of {corpus.title} is here{hint}")
    return corpus


def _recognised(root: Path) -> str:
    """The name of the published corpus of which most clips lie under a path."""
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
        raise CorpusError(f"{root}: no published corpus is recognised here; give {HOW}")
    return best


def read_corpora(specs: Sequence[str]) -> list[Corpus]:
    """Reads several; see `read_corpus`.

    Raises:
        CorpusError: also if a corpus is given twice.
    """
    corpora = [read_corpus(spec) for spec in specs]
    twice = [
        name for name, n in Counter(corpus.name for corpus in corpora).items() if n > 1
    ]
    if twice:
        raise CorpusError(
            f"corpus {twice[0]} is given twice; put its clips under one folder, or give it another name"
        )
    return corpora
