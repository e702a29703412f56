"""Checks of the installation, as shown by `ser doctor`."""

import io
import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version

import numpy as np

SUPPORTED = ((3, 11), (3, 14))


@dataclass(frozen=True, slots=True)
class Check:
    """Result of one check: what was found, and what to do if it is not `ok`."""

    name: str
    ok: bool
    found: str
    advice: str = ""


def checks() -> Iterator[Check]:
    """Yield the result of each check; one that raises is not ok, with the reason."""
    for name, check, advice in (
        ("python", _python, "use Python 3.11 to 3.13"),
        ("packages", _packages, "reinstall ser-batch in a fresh environment"),
        (
            "torch and torchaudio",
            _torch_pair,
            f"install the pair that ser needs: pip install {_required_pair()}",
        ),
        (
            "GPU",
            _gpu,
            "install the driver that this build of torch requires, or use --device cpu",
        ),
        (
            "soundfile",
            _soundfile,
            "reinstall soundfile: its wheel includes libsndfile",
        ),
        ("PyAV", _av, "reinstall av: its wheel includes FFmpeg"),
        ("VAD", _vad, "reinstall silero-vad and onnxruntime"),
        ("voices", _voices, "reinstall ser-batch: the voice model is missing"),
        (
            "bundles",
            _bundles,
            "reinstall ser-batch: a bundle is missing or damaged",
        ),
        ("scoring", _scoring, "run `ser doctor --json` and report its output"),
    ):
        yield _checked(name, check, advice)


def _checked(name: str, check: Callable[[], str], advice: str) -> Check:
    try:
        return Check(name, True, check())
    except Exception as error:  # whatever is broken, the other checks still run
        return Check(name, False, f"{type(error).__name__}: {error}", advice)


def _python() -> str:
    found = platform.python_version()
    if not SUPPORTED[0] <= tuple(map(int, found.split(".")[:2])) < SUPPORTED[1]:
        raise RuntimeError(found)
    return (
        f"{found} on {platform.system()} {platform.machine()}, "
        f"{len(os.sched_getaffinity(0))} cores"
    )


def _packages() -> str:
    from packaging.requirements import Requirement

    wrong, n = [], 0
    for text in requires("ser-batch") or ():
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate(
            {"extra": ""}
        ):
            continue
        n += 1
        try:
            there = version(requirement.name)
        except PackageNotFoundError:
            there = "missing"
        if there == "missing" or not requirement.specifier.contains(
            there, prereleases=True
        ):
            wrong.append(f"{requirement.name} {there}, needs {requirement.specifier}")
    if wrong:
        raise RuntimeError("; ".join(wrong))
    return f"ser-batch {version('ser-batch')} and its {n} requirements"


def _required_pair() -> str:
    return " ".join(own for own in requires("ser-batch") or () if own[:5] == "torch")


def _torch_pair() -> str:
    pair = version("torch").split("+")[0], version("torchaudio").split("+")[0]
    if pair[0].split(".")[:2] != pair[1].split(".")[:2]:
        raise RuntimeError(f"torch {pair[0]} with torchaudio {pair[1]}: a mismatch")
    import torchaudio

    return f"{pair[0]} and {torchaudio.__version__}"


def _gpu() -> str:
    import torch

    if not torch.cuda.is_available():
        return "none: using the CPU"
    torch.zeros(1, device="cuda").add_(1).cpu()
    return f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}"


def _soundfile() -> str:
    import soundfile

    tone = np.zeros(8000, np.float32)
    formats = (
        ("WAV", "ULAW"),
        ("WAV", "GSM610"),
        ("FLAC", "PCM_16"),
        ("OGG", "OPUS"),
        ("MP3", "MPEG_LAYER_III"),
    )
    for container, subtype in formats:
        file = io.BytesIO()
        soundfile.write(file, tone, 8000, format=container, subtype=subtype)
        file.seek(0)
        soundfile.read(file)
    return f"{soundfile.__version__} with libsndfile {soundfile.__libsndfile_version__}"


def _av() -> str:
    import av

    needed = {"aac", "amrnb", "amrwb", "wmav2", "opus", "g722", "g723_1", "g726"}
    missing = needed - av.codec.codecs_available
    if missing:
        raise RuntimeError(f"av {av.__version__} lacks {', '.join(sorted(missing))}")
    return f"{av.__version__} with FFmpeg {av.ffmpeg_version_info}"


def _vad() -> str:
    from ser_batch.speech.silero import SileroVad

    stream = SileroVad().stream()
    loudest = float(stream.push(np.zeros(16_000, np.float32)).max())
    if not 0 <= loudest < 0.5:
        raise RuntimeError(f"detects speech in silence ({loudest:.2f})")
    return f"silero-vad {version('silero-vad')} on onnxruntime {version('onnxruntime')}"


def _voices() -> str:
    from ser_batch.speech.voices import load_voices

    n_axes = load_voices().weights["axes"].shape[1]
    return f"voice model with {n_axes} axes"


def _bundles() -> str:
    from ser_batch.emotion.bundle_files import added_bundles, shipped_bundles
    from ser_batch.emotion.bundles import load_bundle
    from ser_batch.emotion.checkpoints.bundle import CheckpointBundle
    from ser_batch.emotion.loading import require_transformers

    shipped = list(shipped_bundles())
    if not shipped:
        raise RuntimeError("no bundle is shipped")
    bundles = [load_bundle(str(folder)) for folder in (*shipped, *added_bundles())]
    for bundle in bundles:
        if isinstance(bundle, CheckpointBundle):
            require_transformers(f"bundle {bundle.name}")
            bundle.check_files()
    return ", ".join(bundle.model_id for bundle in bundles)


def _scoring() -> str:
    from ser_batch.emotion.bundle_files import shipped_bundles
    from ser_batch.emotion.loading import load_scorer

    scorer = load_scorer(str(next(shipped_bundles())))
    tone = (0.1 * np.sin(np.arange(16_000) / 5)).astype(np.float32)
    (probabilities,) = scorer.predict([tone])
    if not np.isclose(probabilities.sum(), 1, atol=1e-3):
        raise RuntimeError("probabilities do not sum to one")
    return f"works on {scorer.device}"
