"""Fixtures for tests of reports."""

from pathlib import Path

import pytest

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
