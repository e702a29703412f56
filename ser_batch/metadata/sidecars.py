"""Call metadata from JSON files next to the recordings."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ser_batch.text import counted_examples, printable


def metadata_from_sidecars(recordings: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """Return metadata from sidecars, one row each; append to `notes`.

    Nested objects become columns such as `caller_number`; lists are left out.
    """
    rows, missed = [], []
    for row in recordings.itertuples():
        audio = os.path.join(str(row.input_root), str(row.path))
        stem = os.path.splitext(audio)[0]
        for name in (f"{stem}.json", f"{audio}.json", f"{stem}_metadata.json"):
            try:
                values = json.loads(Path(name).read_bytes())
                flat = dict(_flat(values)) if isinstance(values, Mapping) else {}
            except (FileNotFoundError, NotADirectoryError):
                continue
            except (OSError, ValueError, RecursionError) as error:
                notes.append(
                    f"{printable(name)}: not readable JSON ({error}); left out"
                )
                continue
            if not isinstance(values, Mapping):
                notes.append(f"{printable(name)}: not a JSON object; left out")
                continue
            rows.append({**flat, "recording_id": row.recording_id})
            break
        else:
            missed.append(str(row.path))
    if missed:
        notes.append(f"no sidecar for {counted_examples(missed, 'recording')}")
    return pd.DataFrame(rows) if rows else pd.DataFrame({"recording_id": []})


def _flat(
    values: Mapping[str, Any], prefix: str = ""
) -> Iterable[tuple[str, str | None]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}_")
        elif not isinstance(value, list) and key.lower() != "recording_id":
            yield (
                f"{prefix}{key}".encode("utf-8", "backslashreplace").decode(),
                json.dumps(value) if isinstance(value, bool) else value,
            )
