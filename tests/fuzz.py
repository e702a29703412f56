"""Throws damaged recordings of every format at the decoder, for as long as one likes.

    python tests/fuzz.py --seconds 600 --seed 1 --keep finds/

Each is a recording of some seconds in one of the formats that we read, cut, with bytes flipped, numbers made huge,
pieces repeated, or a head of one format on the body of another. A find is whatever is neither decoded nor refused
with an `AudioError`: another exception, a crash of the process, more than the time or the memory allowed. Finds are
kept, and the exit code is 1. Every find that was mended has a small test of its own beside the others.
"""

import argparse
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import TimeoutError
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from pebble import ProcessExpired, ProcessPool

sys.path.insert(0, str(Path(__file__).parent.parent))

from ser_batch.audio import open_audio
from ser_batch.errors import AudioError
from tests.test_audio import FFMPEG, MONO_ONLY, SOUNDFILE, encode

DEADLINE_S = 60
MEMORY_GIB = 1.5
EXTREMES = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)


def seeds(folder: Path) -> dict[str, bytes]:
    """Three seconds of tones and noise in every format."""
    t = np.arange(3 * 8000) / 8000
    noise = np.random.default_rng(0).standard_normal((2, len(t)))
    call = 0.2 * np.sin(2 * np.pi * np.array([[220.0], [330.0]]) * t) + 0.05 * noise
    made = {}
    for name in (*SOUNDFILE, *FFMPEG):
        waveform = call[:1] if name in MONO_ONLY else call
        made[name] = encode(folder / name, waveform.astype(np.float32)).read_bytes()
    return made


def damaged(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """The file with one to four things wrong with it."""
    broken = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        n = len(broken)
        if n < 8:
            break
        at = rng.randrange(min(n, 200)) if rng.random() < 0.6 else rng.randrange(n)  # mostly in the head
        match rng.randrange(7):
            case 0:
                del broken[at:]
            case 1:
                for _ in range(rng.randint(1, 16)):
                    broken[min(n - 1, at + rng.randrange(64))] = rng.randrange(256)
            case 2:
                width = rng.choice((1, 2, 4, 8))
                value = rng.choice(EXTREMES) & (256**width - 1)
                broken[at : at + width] = value.to_bytes(width, rng.choice(("little", "big")))
            case 3:
                piece = broken[at : at + rng.randint(1, 4096)]
                broken[at:at] = piece * rng.randint(1, 8)
            case 4:
                del broken[at : at + rng.randint(1, 4096)]
            case 5:
                broken[at:] = rng.choice(others)[at:]
            case 6:
                broken[at : at + 64] = rng.randbytes(64)
    return bytes(broken)


def decode(path: str) -> tuple[str, float, float]:
    """What came of it, the seconds that it gave, and the most memory that this process has held, in GiB."""
    seconds = 0.0
    try:
        with open_audio(path) as audio:
            for block in audio:
                seconds += block.shape[1] / audio.sample_rate
                assert np.isfinite(block).all(), "samples that are no numbers"
        said = "decoded"
    except AudioError as error:
        said = "refused" if str(error).strip() else "refused without a reason"
    return said, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path("finds"))
    options = parser.parse_args()
    rng, counts, finds = random.Random(options.seed), Counter[str](), 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        whole = seeds(folder)
        until, number = time.monotonic() + options.seconds, 0
        with ProcessPool(1, max_tasks=500, context=get_context("spawn")) as pool:
            while time.monotonic() < until:
                name = rng.choice(list(whole))
                data = damaged(whole[name], list(whole.values()), rng)
                path = folder / f"{number:06}-{name}"
                path.write_bytes(data)
                number += 1
                try:
                    said, seconds, gib = pool.schedule(decode, (str(path),), timeout=DEADLINE_S).result()
                    wrong = said == "refused without a reason" or gib > MEMORY_GIB
                    said = f"{said}, {seconds:.0f} s, {gib:.1f} GiB" if wrong else said
                except TimeoutError:
                    said, wrong = "takes too long", True
                except ProcessExpired as error:
                    said, wrong = f"crashes the process ({error.exitcode})", True
                except Exception as error:
                    said, wrong = f"{type(error).__name__}: {error}", True
                counts[said.split(",")[0][:60]] += 1
                if wrong:
                    finds += 1
                    options.keep.mkdir(parents=True, exist_ok=True)
                    (options.keep / path.name).write_bytes(data)
                    print(f"{options.keep / path.name}: {said}", flush=True)
                path.unlink()
    print(f"{number} files, seed {options.seed}: {dict(counts)}; {finds} finds")
    sys.exit(bool(finds))


if __name__ == "__main__":
    main()
