"""Making a bundle of a checkpoint: start with `add_checkpoint`."""

import errno
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from ser_batch.emotion.bundles import load_bundle, save_checkpoint_bundle
from ser_batch.emotion.calibration import Calibration
from ser_batch.emotion.checkpoints.bundle import (
    CARD,
    CHECKPOINT,
    CheckpointBundle,
    file_hashes,
)
from ser_batch.emotion.checkpoints.networks import Checkpoint, load_checkpoint
from ser_batch.emotion.checkpoints.scorer import CheckpointScorer
from ser_batch.errors import BundleError, UsageError
from ser_batch.shipped import MODELS_FOLDER, added_models
from ser_batch.training.checkpoints.card import card_of
from ser_batch.training.corpora.labels import (
    LABELS,
    common_label,
    neutral_or_calm,
    ordered_labels,
)
from ser_batch.version import __version__

COPIED = (
    "config.json", "preprocessor_config.json", "*.safetensors",
    "*.safetensors.index.json", CARD,
)  # fmt: skip
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
LABEL = re.compile(r"[^\W_][\w -]{0,63}")
UNNAMED = "label_"
"""What transformers calls outputs that nobody named."""
TIMED_S, TIMED_SEGMENTS = 5.0, 8


@dataclass(frozen=True)
class Added:
    """A bundle made of a checkpoint."""

    bundle: CheckpointBundle
    own_names: tuple[str, ...]
    """The checkpoint's names of its outputs."""
    unmapped: tuple[str, ...]
    """Labels that are none of the common ones, and kept under their own names."""
    metrics: dict[str, Any]


def add_checkpoint(
    name: str,
    source: str,
    label_map: Mapping[str, str],
    device: str = "auto",
    revision: str | None = None,
) -> Added:
    """Check a checkpoint, and copy it into a bundle of its own.

    Args:
        name: of the bundle.
        source: a folder, or a name on the Hugging Face Hub.
        label_map: labels by the checkpoint's names; empty for those that are known.
        device: where its speed is measured.
        revision: on the hub; None for the newest.

    Raises:
        BundleError: the checkpoint cannot be used, or the bundle cannot be written.
        UsageError: there is a bundle of this name, there is no such checkpoint, or the
            labels do not fit it.
    """
    if not NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is no name of a bundle: use letters, digits, dots, _ and -"
        )
    folder = added_models() / name
    for taken in (folder, MODELS_FOLDER / name):
        if taken.exists():
            raise _taken(name, taken)
    with _written(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Of its own, since the same name may be added twice at once.
        partial = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=folder.parent))
    try:
        fetched = _fetch(source, revision, partial / CHECKPOINT)
        added = _described(name, partial, source, label_map, fetched, device)
        partial.chmod(0o755)
        with _written(folder):
            try:
                partial.rename(folder)
            except FileExistsError:
                raise _taken(name, folder) from None
            except OSError as error:
                if error.errno != errno.ENOTEMPTY:
                    raise
                raise _taken(name, folder) from None
    except BundleError as error:
        # What is wrong is in the source, not in the copy, which is gone.
        said = str(error).replace(str(partial / CHECKPOINT), source)
        raise BundleError(said, path=source) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return replace(added, bundle=replace(added.bundle, folder=folder))


def _taken(name: str, folder: Path) -> UsageError:
    return UsageError(
        f"there is a bundle {name} in {folder}: choose another name, or remove it",
        path=folder,
    )


@contextmanager
def _written(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"{folder}: cannot be written: {error.strerror}; SER_MODELS names another "
            "folder for models",
            path=folder,
        ) from error


def _fetch(source: str, revision: str | None, into: Path) -> dict[str, str]:
    """Copy or download the files of a checkpoint; return what its card says."""
    folder = Path(source)
    if folder.is_dir():
        if revision is not None:
            raise UsageError("--revision is for checkpoints on the hub")
        found = {path for pattern in COPIED for path in folder.glob(pattern)}
        with _written(into):
            into.mkdir(parents=True)
            for path in sorted(found):
                if path.is_file():
                    shutil.copyfile(path, into / path.name)
        return _card_of(into)
    try:
        snapshot_download(
            source,
            revision=revision,
            allow_patterns=list(COPIED),
            ignore_patterns=["*/*"],
            local_dir=into,
        )
    except HFValidationError as error:
        raise UsageError(
            f"{source}: neither a folder nor a name on the hub, such as ORG/MODEL"
        ) from error
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(
            f"{source}: no such folder, and it cannot be downloaded: {reason}"
        ) from error
    used = _revision_of(into) or revision or ""
    shutil.rmtree(into / ".cache", ignore_errors=True)
    return {**_card_of(into), "revision": used}


def _revision_of(folder: Path) -> str | None:
    """Return the commit that files were downloaded from, as the hub's client noted."""
    notes = sorted(folder.glob(".cache/huggingface/download/*.metadata"))
    return notes[0].read_text().split("\n")[0] if notes else None


def _card_of(folder: Path) -> dict[str, str]:
    """Return the licence that the checkpoint's card states, if any."""
    try:
        text = (folder / CARD).read_text(encoding="utf-8")
        values = yaml.safe_load(text.split("---")[1])
        given = values["license"]
        return {"licence": ", ".join(given) if isinstance(given, list) else str(given)}
    except (OSError, ValueError, LookupError, TypeError, yaml.YAMLError):
        return {}


def _described(
    name: str,
    folder: Path,
    source: str,
    label_map: Mapping[str, str],
    fetched: Mapping[str, str],
    device: str,
) -> Added:
    checkpoint = load_checkpoint(folder / CHECKPOINT)
    heard_as = _heard_as(checkpoint, label_map, source)
    labels = () if checkpoint.is_dimensional else ordered_labels(heard_as)
    bundle = CheckpointBundle(
        name=name,
        folder=folder,
        labels=labels,
        heard_as=heard_as,
        calibration=Calibration(alike=neutral_or_calm(labels)),
        licence=fetched.get("licence") or f"not stated; see {source}",
        source=source,
        sha256=file_hashes(folder),
    )
    scorer = CheckpointScorer(bundle, device, checkpoint)
    metrics = {
        "ser_version": __version__,
        "source": source,
        "revision": fetched.get("revision", ""),
        "outputs": list(zip(checkpoint.outputs, heard_as, strict=True)),
        "parameters": sum(p.numel() for p in checkpoint.network.parameters()),
        "speed": _speed(scorer),
        "test": {},
    }
    unmapped = tuple(label for label in labels if label not in LABELS)
    added = Added(bundle, checkpoint.outputs, unmapped, metrics)
    card = card_of(bundle, metrics, unmapped)
    save_checkpoint_bundle(bundle, metrics, card)
    loaded = load_bundle(str(folder))
    return replace(added, bundle=replace(bundle, model_id=loaded.model_id))


def _heard_as(
    checkpoint: Checkpoint, label_map: Mapping[str, str], source: str
) -> tuple[str, ...]:
    """Return the label or the dimension that each output counts for."""
    own = checkpoint.outputs
    if checkpoint.is_dimensional:
        if label_map:
            raise UsageError("--map: this checkpoint has no labels", option="--map")
        return own
    wanted = {label.strip().lower(): to for label, to in label_map.items()}
    if len(wanted) < len(label_map) or not all(to.strip() for to in wanted.values()):
        raise UsageError(
            "--map: give each label once, with the one that it means: LABEL=LABEL",
            option="--map",
        )
    if strange := sorted(set(wanted) - set(own)):
        raise UsageError(
            f"--map {strange[0]}: the checkpoint has no such label; it has "
            f"{', '.join(own)}",
            option="--map",
        )
    heard_as = tuple(common_label(wanted.get(label, label)) for label in own)
    for label in heard_as:
        if not LABEL.fullmatch(label):
            raise UsageError(
                f"{source}: {label!r} cannot be a label: letters, digits, spaces and _ "
                f"can; rename it, as in --map {label}=other",
                option="--map",
            )
    unnamed = [label for label in heard_as if label.startswith(UNNAMED)]
    if unnamed:
        raise UsageError(
            f"{source}: its labels have no names ({', '.join(unnamed)}): look them up "
            f"at its source, and give them, as in --map {unnamed[0]}=angry",
            option="--map",
        )
    if len(set(heard_as)) < 2:
        raise UsageError(
            f"{source}: all outputs are {heard_as[0]}; a model needs two labels",
            option="--map",
        )
    return heard_as


def _speed(scorer: CheckpointScorer) -> dict[str, Any]:
    """Return how many seconds of speech are scored in a second, wall clock."""
    rng = np.random.default_rng(0)
    n = round(TIMED_S * scorer.sample_rate)
    waveforms: Sequence[np.ndarray] = [
        rng.normal(0, 0.1, n).astype(np.float32) for _ in range(TIMED_SEGMENTS)
    ]
    try:
        tried = scorer.outputs(waveforms[:1])
    except Exception as error:  # whatever does not fit together
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BundleError(f"{scorer.bundle.source}: does not work: {reason}") from error
    if not tried.isfinite().all():
        raise BundleError(f"{scorer.bundle.source}: its outputs are not numbers")
    start = time.perf_counter()
    scorer.scored(waveforms)
    spent = time.perf_counter() - start
    return {
        "device": str(scorer.device),
        "speech_s_per_s": round(TIMED_S * TIMED_SEGMENTS / spent, 1),
    }
