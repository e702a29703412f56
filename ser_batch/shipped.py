"""Where models are: those that ship with the package, and those that were added."""

import hashlib
import os
from pathlib import Path

_PACKAGE = Path(__file__).parent
# A wheel has the models inside the package, a checkout has them next to it.
_INSIDE, _BESIDE = _PACKAGE / "models", _PACKAGE.parent / "models"
MODELS_FOLDER = _INSIDE if _INSIDE.is_dir() else _BESIDE


def added_models() -> Path:
    """Return the folder of the models that were added, which may not exist yet.

    `SER_MODELS`, or else `ser/models` in the user's data folder (XDG Base Directory
    Specification).
    """
    if own := os.environ.get("SER_MODELS"):
        return Path(own)
    data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(data).expanduser() / "ser" / "models"


def voices_fingerprint() -> str | None:
    """Return the hash of the voice model; None if it cannot be read."""
    try:
        # It contains the hash of the weights.
        values = (MODELS_FOLDER / "voices" / "voices.json").read_bytes()
    except OSError:
        return None  # loading it says why
    return hashlib.sha256(values).hexdigest()
