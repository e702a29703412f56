"""The models that ship with the package."""

from pathlib import Path

_PACKAGE = Path(__file__).parent
# A wheel has the models inside the package, a checkout has them next to it.
_INSIDE, _BESIDE = _PACKAGE / "models", _PACKAGE.parent / "models"
MODELS_FOLDER = _INSIDE if _INSIDE.is_dir() else _BESIDE
