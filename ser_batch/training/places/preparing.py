"""Preparation of corpora for training on many places."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from ser_batch.emotion.devices import resolve_device
from ser_batch.emotion.frontend import SAMPLE_RATE
from ser_batch.errors import UsageError
from ser_batch.training.corpora.clips import Corpus
from ser_batch.training.corpora.labels import LEVELS
from ser_batch.training.corpora.readers import PUBLISHED, read_corpora
from ser_batch.training.corpora.relabelling import with_labels
from ser_batch.training.data.utterances import load_noises
from ser_batch.training.places.bank import Bank, open_bank
from ser_batch.training.places.draws import Drawable
from ser_batch.training.places.fitting import Fitted, Learnable, fit_network_to_places
from ser_batch.training.places.segments import Segments
from ser_batch.training.places.stored_segments import open_segments
from ser_batch.training.places_recipe import PlacesRecipe


@dataclass(frozen=True, slots=True)
class PlacesOptions:
    """The options of `ser train` for a `PlacesRecipe`."""

    corpora: tuple[str, ...]
    """Corpora, each as `NAME=PATH`."""
    out: Path
    recipe_name: str
    recipe: PlacesRecipe
    seed: int = 0
    noise: Path | None = None
    label_map: Mapping[str, str] = field(default_factory=dict)
    device: str = "auto"
    quiet: bool = False


@dataclass(frozen=True)
class Prepared:
    """All training data: segments, their features and their labels."""

    corpora: list[Corpus]
    labels: tuple[str, ...]
    segments: Segments
    bank: Bank
    data: Learnable
    notes: list[str]
    device: torch.device

    def of(self, names: Iterable[str], inside: bool = True) -> np.ndarray:
        """Return the indices of the segments of some corpora, or of all others."""
        own = np.isin(self.data.drawable.corpus, list(names))
        return np.flatnonzero(own if inside else ~own)


def prepare(options: PlacesOptions, say: Callable[[str], None]) -> Prepared:
    """Read the corpora, cut them into segments, and compute their bank.

    Raises:
        CorpusError: a corpus is missing or cannot be parsed.
        UsageError: `out` cannot be written.
    """
    device = resolve_device(options.device)
    read = read_corpora(options.corpora)
    mapping = options.label_map
    _, labels, _ = with_labels(read, None, mapping, PUBLISHED)
    present = {clip.label for corpus in read for clip in corpus.clips}
    levels = [level for level in LEVELS if level in present]
    corpora, _, notes = with_labels(read, (*labels, *levels), mapping, PUBLISHED)
    bar = partial(tqdm, unit="clip", disable=options.quiet or None, leave=False)
    noises = load_noises(
        options.noise, SAMPLE_RATE, partial(bar, desc="reading noise", unit="file")
    )
    work = work_folder(options.out)

    def batches(rows: Sequence[np.ndarray], name: str) -> Iterable[np.ndarray]:
        return tqdm(
            rows, desc=name, unit="batch", disable=options.quiet or None, leave=False
        )

    try:
        segments = open_segments(work, corpora, partial(bar, desc="reading"))
        notes = [*notes, *segments.notes]
        for note in notes:
            say(f"note: {note}")
        bank = open_bank(work, segments, noises, batches)
    except OSError as error:
        raise UsageError(
            f"{options.out}: cannot be written: {error.strerror}; the features of all "
            "renderings need about 4 GB per 10 hours of speech"
        ) from error
    data = _learnable(segments, labels, corpora)
    return Prepared(corpora, labels, segments, bank.on(device), data, notes, device)


def _learnable(
    segments: Segments, labels: Sequence[str], corpora: Sequence[Corpus]
) -> Learnable:
    kind = np.array([segments.clips[i].label for i in segments.clip])
    calm = np.isin(kind, ("neutral", "calm", LEVELS[1]))
    drawable = Drawable(segments.corpus, segments.speaker, segments.clip, kind, calm)
    right = torch.from_numpy(segments.right(labels, corpora))
    return Learnable(drawable, right, torch.from_numpy(segments.arousal()))


def fitted(
    prepared: Prepared,
    use: np.ndarray,
    options: PlacesOptions,
    seed: int,
    work: Path,
    name: str,
) -> Fitted:
    """Return a network fitted to the segments `use`; an interrupted fit resumes."""
    stem = name.replace(" ", "-").replace(",", "")
    steps = options.recipe.fit.steps
    with tqdm(
        total=steps, desc=name, unit="step", disable=options.quiet or None, leave=False
    ) as bar:

        def on_step(step: int, loss: float) -> None:
            bar.update(step - bar.n)
            bar.set_postfix(loss=f"{loss:.3f}", refresh=False)

        return fit_network_to_places(
            prepared.bank, prepared.data, use, options.recipe, seed, prepared.device,
            work / f"{stem}.pt", on_step,
        )  # fmt: skip


def work_folder(out: Path) -> Path:
    """Create the folder for the intermediate state of a training run, and return it.

    Raises:
        UsageError: the folder cannot be created.
    """
    work = out / ".training"
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{out}: cannot be written: {error.strerror}") from error
    return work
