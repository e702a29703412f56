"""Time and memory of `ser report`, from 100 thousand to ten million segments.

    python tests/benchmarks/report.py [--folder DIR] [--hot 0.1]

The results are simulated: calls of 30 scored segments, 400 in a part, as `ser analyze`
writes them. `--hot` is the share of calls that contain distress. With 1, the worst
case, every call has to be searched for episodes. The reference is one pass of DuckDB
over the same files (mean probabilities by recording), measured in the same run.
"""

import argparse
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from ser_batch.results.manifest import Identity
from ser_batch.results.schemas import table_schemas
from ser_batch.results.writing import open_writer
from ser_batch.training.corpora.labels import LABELS

CALLS, SEGMENTS = 400, 30
CHILD = """
import resource, sys, time
from pathlib import Path
from ser_batch.reporting.figures.selection import Options
from ser_batch.reporting.figures.overview import make_report
from ser_batch.results.results import open_results
began = time.perf_counter()
with make_report(open_results(sys.argv[1]), Options(by="folder")) as opened:
    report = opened.report
took = time.perf_counter() - began
gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(took, gib, report.total.recordings)
"""
REFERENCE = """
import sys, time
from pathlib import Path
from ser_batch.reporting.figures.database import connect, literal
began = time.perf_counter()
with connect() as connection:
    parts = sorted((Path(sys.argv[1]) / "segments").glob("*.parquet"))
    table = f"read_parquet([{', '.join(literal(str(p)) for p in parts)}])"
    columns = "recording_id, avg(COLUMNS('^p_.*'))"
    means = f"SELECT {columns} FROM {table} GROUP BY recording_id"
    connection.execute(f"CREATE TEMP TABLE t AS {means}")
print(time.perf_counter() - began)
"""


def made_part(number: int, hot: float, rng: np.random.Generator) -> dict[str, pa.Table]:
    """Return one part of simulated calls in all three tables."""
    schemas = table_schemas(LABELS)
    ids = np.array([f"{number:08x}{i:08x}" for i in range(CALLS)])
    paths = np.array([f"queue{i % 7}/{number}-{i}.wav" for i in range(CALLS)])
    pauses, lengths = (
        rng.exponential(4, (CALLS, SEGMENTS)) + 0.5,
        rng.uniform(0.8, 6, (CALLS, SEGMENTS)),
    )
    end = np.cumsum(pauses + lengths, axis=1)
    start = end - lengths
    duration = end[:, -1] + 5
    weights = np.full((CALLS, SEGMENTS, len(LABELS)), 0.3)
    weights[..., LABELS.index("neutral")] += 6
    warm = rng.random(CALLS) < hot
    weights[warm, SEGMENTS // 2 :, LABELS.index("angry")] += 8
    p = rng.standard_gamma(weights)
    p = (p / p.sum(-1, keepdims=True)).astype(np.float32)
    best, confidence = p.argmax(-1).ravel(), p.max(-1).ravel()
    label = np.where(confidence < 0.4, None, np.array(LABELS, dtype=object)[best])
    n = CALLS * SEGMENTS
    segments = {
        "recording_id": np.repeat(ids, SEGMENTS), "path": np.repeat(paths, SEGMENTS),
        "channel": np.ones(n, np.int16), "speaker": [None] * n,
        "role": ["customer"] * n,
        "segment": np.tile(np.arange(SEGMENTS, dtype=np.int32), CALLS),
        "start_s": start.ravel(), "end_s": end.ravel(),
        "label": label, "confidence": confidence,
        "level_dbfs": np.full(n, -20, np.float32),
        **{f"p_{name}": p[..., i].ravel() for i, name in enumerate(LABELS)},
    }  # fmt: skip
    # The agent speaks in the customer's pauses, and sometimes beyond them.
    agent_start = np.concatenate([np.zeros((CALLS, 1)), end[:, :-1]], axis=1) + 0.2
    agent_end = np.maximum(
        start - 0.2 + rng.exponential(0.2, start.shape), agent_start + 0.1
    )
    both_start = np.stack([agent_start, start], -1).reshape(CALLS, -1)
    both_end = np.stack([agent_end, end], -1).reshape(CALLS, -1)
    speech = {
        "recording_id": np.repeat(ids, 2 * SEGMENTS),
        "channel": np.tile(np.array([0, 1], np.int16), n), "speaker": [None] * 2 * n,
        "role": np.tile(["agent", "customer"], n),
        "start_s": both_start.ravel(), "end_s": both_end.ravel(),
        "overlap": np.zeros(2 * n, bool),
    }  # fmt: skip
    talk = [(agent_end - agent_start).sum(1), (end - start).sum(1)]
    first = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
    recordings = {
        "recording_id": ids, "path": paths, "input_root": ["/calls"] * CALLS,
        "location": [f"/calls/{path}" for path in paths], "size_bytes": [1] * CALLS,
        "modified_at": pa.array(
            ((first + rng.integers(0, 60 * 86400, CALLS)) * 1e6).astype("int64")
        ).cast(pa.timestamp("us", tz="UTC")),
        "channels": np.full(CALLS, 2, np.int16), "duration_s": duration,
        "status": ["done"] * CALLS, "channel_talk_s": list(np.stack(talk, 1)),
        "agent_talk_s": talk[0], "customer_talk_s": talk[1],
        "silence_s": duration * 0.1, "overtalk_s": duration * 0.02,
        "segments": np.full(CALLS, SEGMENTS, np.int32),
    }  # fmt: skip
    tables = {}
    for name, values in (
        ("recordings", recordings),
        ("speech", speech),
        ("segments", segments),
    ):
        length = len(values["recording_id"])
        columns = [
            values.get(field.name, pa.nulls(length, field.type))
            for field in schemas[name]
        ]
        table = pa.table(
            [pa.array(c) if not isinstance(c, pa.Array) else c for c in columns],
            schemas[name].names,
        )
        tables[name] = table.cast(schemas[name])
    return tables


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--folder", type=Path, help="empty folder for the results, which are kept"
    )
    parser.add_argument("--hot", type=float, default=0.1)
    parser.add_argument(
        "--segments", type=int, nargs="+", default=[100_000, 1_000_000, 10_000_000]
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        rng, made = np.random.default_rng(0), 0
        identity = Identity("m@1", "c", LABELS)
        print(
            f"{'segments':>12} {'recordings':>11} {'report':>8} "
            f"{'reference':>10} {'ratio':>6} {'peak memory':>12}"
        )
        for count in sorted(options.segments):
            parts = -(-count // (CALLS * SEGMENTS))
            with open_writer(folder, identity) as writer:
                new = range(made + 1, parts + 1)
                writer.parts.replace(
                    set(), (made_part(number, options.hot, rng) for number in new)
                )
            made = parts

            def run(code: str) -> list[float]:
                done = subprocess.run(
                    [sys.executable, "-c", code, folder],
                    capture_output=True,
                    text=True,
                    check=True,
                )
                return [float(value) for value in done.stdout.split()]

            (reference,), (took, gib, recordings) = run(REFERENCE), run(CHILD)
            print(
                f"{parts * CALLS * SEGMENTS:>12,} {recordings:>11,.0f} {took:>7.1f}s "
                f"{reference:>9.2f}s {took / reference:>6.1f} {gib:>8.2f} GiB",
                flush=True,
            )


if __name__ == "__main__":
    main()
