"""Fixtures for tests of reports."""

import shutil
from pathlib import Path

import pytest

from tests.support.pages import EVIL, QUEUE
from tests.support.paths import EXAMPLES
from tests.support.results import call, write_results


@pytest.fixture
def results(tmp_path) -> Path:
    return write_results(
        tmp_path / "out",
        call(
            "billing/calm.wav", [(0, 8)], [(10, 20)],
            [(10, 15, {"angry": 0.1}), (15, 20, {"happy": 0.7})],
        ),
        call(
            "billing/storm.wav", [(0, 5)], [(4, 30), (80, 95)],
            [(5, 10, {"angry": 0.1}), (80, 85, {"angry": 0.9}),
             (85, 90, {"angry": 0.8}), (90, 95, {"angry": 0.35})],
            day=1,
        ),
        call("delivery/silent.wav", day=1),
        call("delivery/broken.wav", error="the file is empty (0 bytes)", day=2),
    )  # fmt: skip


@pytest.fixture
def many_calls(tmp_path) -> Path:
    (tmp_path / "in" / "billing").mkdir(parents=True)
    shutil.copy(
        EXAMPLES / "billing" / "1001.wav", tmp_path / "in" / "billing" / "1001.wav"
    )
    place = {"input_root": str(tmp_path / "in")}
    storm = [
        (1, 4, {"angry": 0.1}),
        (80, 85, {"angry": 0.9}),
        (85, 90, {"angry": 0.8}),
        (90, 95, {"angry": 0.9}),
    ]
    calls = [
        call(
            f"delivery/{i:03}.wav",
            [(0, 5)],
            [(6, 9)],
            [(6, 9, {"angry": i / 200})],
            day=i % 5,
        )
        for i in range(120)
    ]
    return write_results(
        tmp_path / "out",
        call("billing/1001.wav", [(0, 5)], [(4, 30), (80, 95)], storm, **place),
        call(EVIL, [(0, 5)], [(6, 9)], [(6, 9, {"happy": 0.7})]),
        call("billing/broken.wav", error="the file is empty (0 bytes)"),
        *calls,
    )


@pytest.fixture
def metadata(tmp_path) -> Path:
    path = tmp_path / "calls.csv"
    rows = [
        "path,queue",
        f'"{EVIL.replace(chr(34), chr(34) * 2)}","{QUEUE}"',
        "billing/1001.wav,refunds",
    ]
    path.write_text("\n".join(rows) + "\n")
    return path
