"""A folder of segments to be labelled, and of what people answered.

labels/
  labelling.json     # the results, the model, its labels, the seed
  segments.parquet   # one row for each segment drawn
  clips/CLIP.flac    # what is heard: the segment, with a second before and after
  answers/NAME.jsonl # what each labeller answered, in order; appended to, never
                     # rewritten
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ser_batch.errors import UsageError
from ser_batch.storage.local import LocalStorage

FORMAT = 1
RECORD, SEGMENTS, CLIPS, ANSWERS = (
    "labelling.json",
    "segments.parquet",
    "clips",
    "answers",
)
SAME = {"calm": "neutral"}
"""Labels that are one to people who listen to calls."""


@dataclass(frozen=True, slots=True)
class Record:
    """What the segments of a folder were drawn from, and how."""

    model_id: str
    model_labels: tuple[str, ...]
    """The model's labels, in the order of its probabilities."""
    labels: tuple[str, ...]
    """What labellers choose from."""
    seed: int
    key_check: str
    """A hash that tells the key of hashed names from others; empty without one."""
    draws: int
    """How many times segments were drawn."""
    population: int
    """The number of segments that they were drawn from last."""
    format: int = FORMAT


@dataclass(frozen=True)
class Labelling:
    """A folder of segments to be labelled.

    `segments` has a row for each: `clip` (its name), `recording_id`, `path`, `channel`,
    `speaker`, `role`, `start_s`, `end_s`, `label` (the model's; null if it abstains),
    `clip_start_s` (where the clip begins), the model's `p_<label>`, and for each time
    that segments were drawn, from 0, `inclusion_N`: its inclusion probability in the
    random sample of that draw, or null. Its order is that of labelling.
    """

    folder: Path
    record: Record
    segments: pd.DataFrame

    def clip_file(self, clip: str) -> Path:
        """Return the file of a clip."""
        return self.folder / CLIPS / f"{clip}.flac"

    @property
    def is_random(self) -> np.ndarray:
        """Which segments are in the random sample of the last draw."""
        last = f"inclusion_{self.record.draws - 1}"
        sampled: np.ndarray = self.segments[last].notna().to_numpy()
        return sampled

    def inclusion(self, answered: Collection[str]) -> np.ndarray:
        """Return the inclusion probabilities of a random sample; NaN outside it.

        This is the largest sample of which every clip is answered. Before that is so,
        a larger one would consist of answered clips that were not drawn at random.
        Clips of the first draw come in random order, so that it may be incomplete.

        Args:
            answered: the clips that labellers have answered.
        """
        is_answered = self.segments["clip"].isin(list(answered)).to_numpy()
        for draw in range(self.record.draws - 1, 0, -1):
            own = self.segments[f"inclusion_{draw}"].to_numpy(float)
            if is_answered[~np.isnan(own)].all():
                return own
        first: np.ndarray = self.segments["inclusion_0"].to_numpy(float)
        return first

    def write(self) -> None:
        """Write the record and the segments.

        Raises:
            UsageError: the folder cannot be written.
        """
        sink = pa.BufferOutputStream()
        table = pa.Table.from_pandas(self.segments, preserve_index=False)
        pq.write_table(table.replace_schema_metadata(None), sink)
        text = json.dumps(asdict(self.record), indent=2, ensure_ascii=False) + "\n"
        files = {SEGMENTS: sink.getvalue().to_pybytes(), RECORD: text.encode()}
        try:
            LocalStorage(self.folder).put(files)
        except OSError as error:
            raise unwritable(self.folder, error) from error


def open_labelling(folder: Path) -> Labelling:
    """Return what is in a folder of segments to be labelled.

    Raises:
        UsageError: there is none, or it is damaged or of another format.
    """
    try:
        values = json.loads((folder / RECORD).read_bytes())
        if values.get("format") != FORMAT:
            raise UsageError(
                f"{folder}: format {values.get('format')}, but this version of ser "
                f"reads format {FORMAT}",
                path=folder,
            )
        record = msgspec.convert(values, Record)
        segments = pq.read_table(folder / SEGMENTS).to_pandas()
        if missing := _columns(record) - set(segments.columns):
            raise ValueError(f"{SEGMENTS} has no {', '.join(sorted(missing))}")
    except FileNotFoundError as error:
        raise UsageError(
            f"{folder}: no segments to be labelled ({Path(error.filename).name} is "
            "missing); `ser label start RESULTS --out FOLDER` draws some",
            path=folder,
        ) from error
    except (OSError, ValueError, AttributeError, pa.ArrowException) as error:
        raise UsageError(f"{folder}: damaged ({error})", path=folder) from error
    return Labelling(folder, record, segments)


def _columns(record: Record) -> set[str]:
    names = (
        "clip", "recording_id", "path", "channel", "speaker", "role", "start_s",
        "end_s", "label", "clip_start_s",
    )  # fmt: skip
    return {
        *names,
        *(f"inclusion_{draw}" for draw in range(record.draws)),
        *(f"p_{label}" for label in record.model_labels),
    }


def labels_offered(labels: Sequence[str]) -> tuple[str, ...]:
    """Return what labellers choose from: the model's labels, without synonyms.

    >>> labels_offered(("neutral", "calm", "angry"))
    ('neutral', 'angry')
    """
    return tuple(label for label in labels if SAME.get(label) not in labels)


def unwritable(folder: Path, error: OSError) -> UsageError:
    """Return the error for a folder that cannot be written."""
    return UsageError(f"{folder}: cannot be written: {error.strerror}", path=folder)
