"""Result rows without actual recordings."""

from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq

from ser_batch.emotion.scorer import DIMENSIONS
from ser_batch.results.manifest import Identity
from ser_batch.results.rows import Rows
from tests.support.tables import read_table

LABELS = ("calm", "angry")


IDENTITY = Identity("tiny@1", "abc", LABELS)


def rows(name: str, n: int = 2, status: str = "done", content: str = "x") -> Rows:
    """Return the rows of one recording with `n` segments."""
    recording = {
        "recording_id": name, "path": f"{name}.wav", "input_root": "/in",
        "size_bytes": 1, "location": f"/in/{name}.wav",
        "modified_at": datetime(2026, 1, 1, tzinfo=UTC), "content_hash": content,
        "status": status, "segments": n,
    }  # fmt: skip
    span = {
        "start_s": [float(i) for i in range(n)],
        "end_s": [i + 0.5 for i in range(n)],
    }
    common = {
        "recording_id": [name] * n,
        "channel": [0] * n,
        "speaker": [None] * n,
        "role": [None] * n,
        **span,
    }
    scores = {
        "label": ["calm"] * n,
        "confidence": [0.9] * n,
        "p_calm": [0.9] * n,
        "p_angry": [0.1] * n,
    }
    segments = {
        **common,
        **scores,
        "path": [f"{name}.wav"] * n,
        "segment": list(range(n)),
        "level_dbfs": [-20.0] * n,
        **{name: [None] * n for name in DIMENSIONS},
    }
    return Rows(recording, common | {"overlap": [False] * n}, segments)


def ids(directory: Path, table: str = "recordings") -> list[str]:
    return sorted(read_table(directory, table)["recording_id"].to_pylist())


def globbed(directory: Path, table: str = "recordings") -> list[str]:
    """Return the ids that a plain glob over the parts finds."""
    parts = sorted((directory / table).glob("*.parquet"))
    return sorted(
        i for part in parts for i in pq.read_table(part)["recording_id"].to_pylist()
    )
