"""Drawing of segments to be labelled: start with `start_labelling`."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout

from ser_batch.audio.decoders import RawOptions
from ser_batch.errors import UsageError
from ser_batch.labelling.clips import CONTEXT_S, cut_clips
from ser_batch.labelling.draws import (
    inclusion,
    random_numbers,
    segment_ids,
    sizes,
    teaching_order,
)
from ser_batch.labelling.folder import (
    CLIPS,
    RECORD,
    Labelling,
    Record,
    labels_offered,
    open_labelling,
    unwritable,
)
from ser_batch.results.name_hashes import hashed_path, hasher, load_key
from ser_batch.results.results import Results, read_stably

LOCK = ".lock"
WHERE = ("recording_id", "path", "channel", "speaker", "role", "start_s", "end_s")
Progress = Callable[[list[str]], Iterable[str]]


@dataclass(frozen=True)
class Started:
    """A folder with new segments, and the recordings that could not be read."""

    labelling: Labelling
    new: int
    problems: dict[str, str]
    """By path."""


@dataclass(frozen=True)
class _Frame:
    """All segments of results: where they lie, and what the model predicts."""

    segments: pd.DataFrame
    probabilities: np.ndarray
    sources: dict[str, Path]
    raw: RawOptions


def start_labelling(
    directory: Path,
    folder: Path,
    n: int,
    seed: int = 0,
    key_file: Path | None = None,
    progress: Progress = iter,
) -> Started:
    """Draw segments of results to be labelled, and cut their clips.

    Half are drawn at random with known probabilities, so that what is found on them
    holds for all segments; half where a label teaches a model most.

    Args:
        directory: the results.
        folder: a new folder.
        n: how many segments.
        seed: of the random numbers.
        key_file: if given, paths and ids of recordings are replaced by keyed hashes.
        progress: wraps the ids of the recordings that are read, to show a bar.

    Raises:
        ResultsError: there are no results, or they are damaged.
        UsageError: the folder exists or cannot be written, there is nothing to draw, or
            no recording can be read.
    """
    _check_new(folder)
    # Only clips: a draw that was interrupted, which is taken up again.
    if os.path.lexists(folder) and (
        not folder.is_dir() or {p.name for p in folder.iterdir()} - {CLIPS, LOCK}
    ):
        raise UsageError(
            f"{folder}: is not an empty folder; choose a new one",
            path=folder,
            option="--out",
        )
    results = read_stably(directory, lambda results: results)
    if not results.labels:
        raise UsageError(
            f"{directory}: its model estimates dimensions and has no labels; label "
            "results of one that has",
            path=directory,
        )
    record = Record(
        model_id=results.model_id,
        model_labels=results.labels,
        labels=labels_offered(results.labels),
        seed=seed,
        key_check=_check_of(key_file),
        draws=0,
        population=0,
    )
    return _drawn(
        directory, Labelling(folder, record, pd.DataFrame()), n, key_file, progress
    )


def draw_more(
    directory: Path,
    folder: Path,
    n: int,
    key_file: Path | None = None,
    progress: Progress = iter,
) -> Started:
    """Draw `n` more segments into a folder; no clip is drawn twice.

    Raises:
        UsageError: the folder was drawn from results of another model; or as in
            `start_labelling`.
    """
    labelling = open_labelling(folder)
    if labelling.record.key_check != _check_of(key_file):
        raise UsageError(
            f"{folder}: was drawn with --hash-paths and another key; use that one"
            if labelling.record.key_check
            else f"{folder}: was drawn without --hash-paths; omit it",
            option="--hash-paths",
        )
    model_id = read_stably(directory, lambda results: results.model_id)
    if model_id != labelling.record.model_id:
        raise UsageError(
            f"{directory}: results of {model_id}, but {folder} was drawn from results "
            f"of {labelling.record.model_id}; draw into a new folder",
            path=directory,
        )
    return _drawn(directory, labelling, n, key_file, progress)


def _drawn(
    directory: Path,
    before: Labelling,
    n: int,
    key_file: Path | None,
    progress: Progress,
) -> Started:
    """Draw into a folder that no other process draws into at the same time."""
    try:
        before.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(before.folder / LOCK, timeout=0):
            # Another may have drawn until now.
            if before.record.draws:
                before = open_labelling(before.folder)
            else:
                _check_new(before.folder)
            return _drawn_alone(directory, before, n, key_file, progress)
    except Timeout as error:
        raise UsageError(
            f"{before.folder}: another `ser label start` is drawing into it; wait",
            path=before.folder,
        ) from error
    except OSError as error:
        raise unwritable(before.folder, error) from error


def _drawn_alone(
    directory: Path,
    before: Labelling,
    n: int,
    key_file: Path | None,
    progress: Progress,
) -> Started:
    frame = read_stably(directory, _frame)
    if not len(frame.segments):
        raise UsageError(f"{directory}: no scored segment to draw", path=directory)
    key = load_key(key_file) if key_file else b""
    ids = pd.Series(segment_ids(frame.segments, before.record.seed, key))
    known = set(before.segments.get("clip", ()))
    is_known = ids.isin(known).to_numpy()
    if is_known.all():
        raise UsageError(
            f"{directory}: all {len(ids):,} segments are drawn already", path=directory
        )
    chosen, probability = _chosen(frame, is_known, n, before.record.seed)
    drawn = frame.segments.iloc[chosen].reset_index(drop=True)
    draw = before.record.draws
    drawn = pd.DataFrame({
        "clip": ids.iloc[chosen].to_numpy(),
        **{name: drawn[name] for name in drawn.columns},
        "clip_start_s": (drawn.start_s - CONTEXT_S).clip(lower=0),
        **{
            f"p_{label}": frame.probabilities[chosen, i]
            for i, label in enumerate(before.record.model_labels)
        },
        **{f"inclusion_{earlier}": np.nan for earlier in range(draw)},
        f"inclusion_{draw}": probability[chosen],
    })  # fmt: skip
    new = drawn[~drawn["clip"].isin(known)]
    problems = cut_clips(new, frame.sources, before.clip_file, frame.raw, progress)
    unread = new.recording_id.isin(list(problems))
    if unread.all():
        reason = next(iter(problems.values()))
        raise UsageError(
            f"{directory}: no recording that was drawn can be read: {reason}; if they "
            "moved, tell ser with `ser relocate`",
            path=directory,
        )
    paths = dict(zip(drawn.recording_id, drawn.path, strict=True))
    new = new[~unread].sample(frac=1, random_state=before.record.seed)
    if key:
        hashed = hasher(key)
        new = new.assign(
            recording_id=new.recording_id.map(hashed),
            path=[hashed_path(path, hashed) for path in new.path],
        )
    parts = [new]
    if len(before.segments):
        now = drawn.set_index("clip")[f"inclusion_{draw}"]
        known_now = before.segments["clip"].map(now)
        parts = [before.segments.assign(**{f"inclusion_{draw}": known_now}), new]
    labelling = Labelling(
        before.folder,
        replace(before.record, draws=draw + 1, population=len(ids)),
        pd.concat(parts, ignore_index=True),
    )
    labelling.write()
    return Started(
        labelling, len(new), {paths[name]: why for name, why in problems.items()}
    )


def _check_new(folder: Path) -> None:
    if (folder / RECORD).exists():
        raise UsageError(
            f"{folder}: exists already; --more N draws N more segments into it",
            path=folder,
            option="--out",
        )


def _check_of(key_file: Path | None) -> str:
    """Return a hash that tells this key from others; empty without one."""
    return hasher(load_key(key_file))("a check") if key_file else ""


def _chosen(
    frame: _Frame, is_known: np.ndarray, n: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the segments drawn, and the inclusion probability of the random ones.

    These are the random sample as a whole, and the new ones that teach most.
    """
    p = frame.probabilities
    predicted, confidence = p.argmax(axis=1), p.max(axis=1)
    size = sizes(frame.segments.role, predicted, confidence)
    u = random_numbers(frame.segments, predicted, confidence, seed)
    order = np.argsort(u / size, kind="stable")
    teaching = [i for i in teaching_order(frame.segments, p) if not is_known[i]]
    wanted = min(n, int((~is_known).sum()))
    # Those of the random order that are known need not be cut again.
    new = np.cumsum(~is_known[order])
    n_new, best = -(-wanted // 2), list[int]()
    while True:
        sample = order[: int(np.searchsorted(new, n_new)) + 1]
        in_sample = set(sample.tolist())
        best = [i for i in teaching if i not in in_sample][: wanted - n_new]
        if n_new + len(best) == wanted:
            break
        n_new = wanted - len(best)
    probability = np.full(len(p), np.nan)
    probability[sample] = inclusion(size, len(sample))[sample]
    return np.r_[sample, np.array(best, int)], probability


def _frame(results: Results) -> _Frame:
    names = [*WHERE, "label"]
    columns = [*names, *(f"p_{label}" for label in results.labels)]
    table = results.read("segments", columns).to_pandas()
    table = table.sort_values(["recording_id", "start_s", "channel"], kind="stable")
    table = table.reset_index(drop=True)
    table["speaker"] = table.speaker.astype("Int16")
    located = results.read("recordings", ["recording_id", "location"]).to_pandas()
    audio = results.run_record.get("config", {}).get("audio", {})
    return _Frame(
        table[names],
        table[columns[len(names) :]].to_numpy(float),
        dict(zip(located.recording_id, located.location.map(Path), strict=True)),
        RawOptions(audio.get("raw_sample_rate"), audio.get("raw_channels", 1)),
    )
