"""Where the project, its examples and the corpora are."""

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "calls"
DATA = ROOT.parent / "shared" / "data"

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
"""For a process that imports the package and the tests' support from this checkout."""
