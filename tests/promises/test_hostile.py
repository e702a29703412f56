"""Hostile audio: every file ends as `done`, or as `failed` with a reason."""

import io
import itertools
import random
import struct
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile

import ser_batch
from ser_batch.config.options import Config
from ser_batch.intervals import total_s
from ser_batch.pipeline import run
from tests.attacks.fuzz import MEMORY_GIB, make_batch, run_batch, seeds, suspicious
from tests.support.recordings import backdate, wav_header, write_call
from tests.support.tables import read_table

TEN_HOURS_S = 36_000


def configured(bundle: Path, **groups: dict) -> Config:
    return Config.from_dict(
        {"score": {"bundle": str(bundle)}, "run": {"device": "cpu", "deadline_s": 30.0}}
    ).updated(groups)


def analysed(folder: Path, out: Path, bundle: Path) -> dict[str, dict]:
    """Analyse a folder, and return the rows by path.

    Fails if a recording crashed its process or exceeded its deadline.
    """
    backdate(folder)
    progress = run([str(folder)], out, configured(bundle), threading.Event())
    rows = {row["path"]: row for row in read_table(out, "recordings").to_pylist()}
    assert len(rows) == progress.found == progress.done + progress.failed
    assert {path: row["error"] for path, row in rows.items() if suspicious(row)} == {}
    return rows


@pytest.mark.processes
def test_damaged_recordings_of_every_format_pass_through_a_batch(tmp_path, tiny_bundle):
    # A small sample of what `python tests/attacks/fuzz.py` tries.
    (tmp_path / "seeds").mkdir()
    make_batch(tmp_path / "in", 200, seeds(tmp_path / "seeds"), random.Random(3))
    rows, gib = run_batch(tmp_path / "in", tmp_path / "out", tiny_bundle)
    assert {path: row["error"] for path, row in rows.items() if suspicious(row)} == {}
    assert {row["status"] for row in rows.values()} == {"done", "failed"}
    assert gib < MEMORY_GIB


@pytest.mark.slow
def test_sample_rates_and_channel_counts_are_analysed_or_refused(tmp_path, tiny_bundle):
    folder = tmp_path / "in"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for rate in (
        0,
        1,
        7,
        1999,
        2000,
        8000,
        11025,
        44100,
        192_000,
        768_000,
        768_001,
        2**32 - 1,
    ):
        data = (
            (rng.standard_normal(min(max(rate, 4000), 800_000)) * 3000)
            .astype("<i2")
            .tobytes()
        )
        (folder / f"rate-{rate}.wav").write_bytes(
            wav_header(len(data), rate=rate) + data
        )
    for channels in (0, 1, 2, 3, 8, 9, 16, 64, 255, 1024, 65_535):
        data = (
            (rng.standard_normal(max(channels, 1) * 2000) * 3000)
            .astype("<i2")
            .tobytes()
        )
        (folder / f"channels-{channels}.wav").write_bytes(
            wav_header(len(data), channels=channels) + data
        )
    rows = analysed(folder, tmp_path / "out", tiny_bundle)
    done = {path for path, row in rows.items() if row["status"] == "done"}
    assert done == {
        f"rate-{r}.wav" for r in (2000, 8000, 11025, 44100, 192_000, 768_000)
    } | {f"channels-{c}.wav" for c in (1, 2, 3, 8)}
    assert "2000 to 768000 Hz are supported" in rows["rate-1.wav"]["error"]
    assert "1 to 8 are supported" in rows["channels-255.wav"]["error"]


@pytest.fixture(scope="module")
def speech(call) -> np.ndarray:
    return call[:, : 16 * 8000]


def test_a_dc_offset_changes_neither_levels_nor_speech_regions(
    tmp_path, tiny_bundle, speech
):
    shifted = speech.copy()
    # On the agent's channel only; counted as level, it would drown out the customer.
    shifted[0] += 0.4
    write_call(tmp_path / "plain" / "x.wav", speech, "FLOAT")
    write_call(tmp_path / "shifted" / "x.wav", shifted, "FLOAT")
    [plain], [heard] = (
        list(ser_batch.analyze([tmp_path / name], configured(tiny_bundle)))
        for name in ("plain", "shifted")
    )
    for a, b in zip(plain.speakers, heard.speakers, strict=True):
        assert total_s(b.speech) == pytest.approx(total_s(a.speech), abs=0.8)
    assert np.mean([s.level_dbfs for s in heard.segments]) == pytest.approx(
        np.mean([s.level_dbfs for s in plain.segments]), abs=1.0
    )


def test_constant_clipped_and_faint_audio_is_analysed(tmp_path, tiny_bundle, speech):
    kinds = {
        "constant": np.full_like(speech, 0.5), "full-scale": np.ones_like(speech),
        "clipped": np.clip(speech * 30, -1, 1), "square": np.sign(speech),
        "faint": speech / 3000, "few-bits": np.round(speech * 4) / 4,
        "beyond": speech * 100, "alternating": np.resize([1.0, -1.0], speech.shape),
    }  # fmt: skip
    for name, waveform in kinds.items():
        write_call(
            tmp_path / "in" / f"{name}.wav", waveform.astype(np.float32), "FLOAT"
        )
    rows = analysed(tmp_path / "in", tmp_path / "out", tiny_bundle)
    assert {row["status"] for row in rows.values()} == {"done"}
    assert all(row["duration_s"] == 16 for row in rows.values())
    assert rows["constant.wav"]["segments"] == rows["full-scale.wav"]["segments"] == 0
    assert rows["clipped.wav"]["segments"] > 0
    probabilities = (
        read_table(tmp_path / "out", "segments")
        .to_pandas()
        .filter(regex="^p_")
        .to_numpy()
    )
    assert np.isfinite(probabilities).all()


def atom(kind: bytes, content: bytes, size: int | None = None) -> bytes:
    return (
        struct.pack(">I", len(content) + 8 if size is None else size) + kind + content
    )


def nested(depth: int, kind: bytes = b"moov") -> bytes:
    """Return an MP4 file of nested boxes."""
    content = b""
    for _ in range(depth):
        content = atom(kind, content)
    return atom(b"ftyp", b"M4A \0\0\0\0") + content


def ebml(identity: bytes, content: bytes, unknown: bool = False) -> bytes:
    return (
        identity
        + (
            b"\x01" + b"\xff" * 7
            if unknown
            else struct.pack(">Q", len(content) | 1 << 56)
        )
        + content
    )


MATROSKA = ebml(b"\x1a\x45\xdf\xa3", ebml(b"\x42\x82", b"webm"))
SEGMENT, CLUSTER, SEEK = b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75", b"\x11\x4d\x9b\x74"


def matroska(depth: int, identity: bytes) -> bytes:
    content = b""
    for _ in range(depth):
        content = ebml(identity, content, unknown=True)
    return MATROSKA + content


def ogg_page(granule: int, sequence: int, content: bytes, flags: int = 0) -> bytes:
    table = bytes([255] * (len(content) // 255) + [len(content) % 255])
    return (
        struct.pack(
            "<4sBBqIIIB", b"OggS", 0, flags, granule, 1, sequence, 0, len(table)
        )
        + table
        + content
    )


def riff(*chunks: tuple[bytes, int, bytes]) -> bytes:
    content = b"WAVE" + b"".join(
        name + struct.pack("<I", size) + data for name, size, data in chunks
    )
    return b"RIFF" + struct.pack("<I", len(content)) + content


FORMAT = (b"fmt ", 16, struct.pack("<HHIIHH", 1, 1, 8000, 16000, 2, 16))
CONTAINERS = {
    "boxes-in-boxes.m4a": nested(100_000),
    "tracks-in-tracks.m4a": nested(50_000, b"trak"),
    "box-of-no-size.m4a": atom(b"ftyp", b"M4A \0\0\0\0")
    + atom(b"moov", b"", 0) + atom(b"free", b"", 1) * 1000,
    "box-of-one-byte.m4a": atom(b"ftyp", b"M4A \0\0\0\0")
    + struct.pack(">I4s", 1, b"moov") * 50_000,
    "segments-in-segments.webm": matroska(20_000, SEGMENT),
    "clusters-in-clusters.webm": matroska(20_000, CLUSTER),
    "seeks-to-itself.webm": MATROSKA + ebml(
        SEGMENT,
        ebml(SEEK, ebml(b"\x4d\xbb", ebml(b"\x53\xac", bytes(8)))) * 5000,
    ),
    "lists-in-lists.wav": riff(
        *[(b"LIST", 0x7FFFFFFF - i, b"INFO") for i in range(20_000)]
    ),
    "chunks-of-nothing.wav": riff(
        *[(b"junk", 0, b"")] * 100_000, FORMAT, (b"data", 16000, bytes(16000))
    ),
    "formats-without-end.wav": riff(*[FORMAT] * 20_000),
    "a-data-chunk-in-itself.wav": riff(
        FORMAT,
        (b"data", 0xFFFFFFF0, riff(FORMAT, (b"data", 0xFFFFFFF0, bytes(999)))),
    ),
    "negative-chunks.aiff": b"FORM\x7f\xff\xff\xffAIFF"
    + b"COMM\xff\xff\xff\xf8" * 10_000,
    "pages-without-end.ogg": b"".join(
        ogg_page(i * 10**12, i, b"\x01vorbis" + bytes(200)) for i in range(3000)
    ),
    "pages-of-the-past.ogg": b"".join(
        ogg_page(-i * 10**15, i, b"OpusHead\x01\x02" + bytes(9)) for i in range(3000)
    ),
    "tags-without-end.mp3": b"ID3\x04\0\0\x7f\x7f\x7f\x7f" * 50_000,
    "tag-in-tag.mp3": b"".join(
        b"ID3\x04\0\0\0\0\x01\0" + bytes(10) for _ in range(20_000)
    ),
    "headers-alone.aac": b"\xff\xf1\x6c\x40\x00\xff\xfc" * 20_000,
    "frames-of-nothing.amr": b"#!AMR\n" + b"\x7c" * 100_000,
    "headers-alone.flac": b"fLaC" + b"\x04\xff\xff\xff" * 20_000,
    "objects-of-no-size.wma": bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
    + struct.pack("<QIH", 30, 9999, 513) * 5000,
    "chunks-of-nothing.caf": b"caff\0\x01\0\0" + (b"desc" + bytes(8)) * 20_000,
}  # fmt: skip


def test_nested_and_endless_containers_are_read_in_bounded_time(tmp_path, tiny_bundle):
    (tmp_path / "in").mkdir()
    for name, content in CONTAINERS.items():
        (tmp_path / "in" / name).write_bytes(content)
    rows = analysed(tmp_path / "in", tmp_path / "out", tiny_bundle)
    assert len(rows) == len(CONTAINERS)
    assert rows["chunks-of-nothing.wav"]["status"] == "done"
    assert all(
        row["duration_s"] < 3600 for row in rows.values() if row["status"] == "done"
    )


def flac_with_length(samples: int) -> bytes:
    """Return a second of FLAC whose header claims `samples`."""
    coded = io.BytesIO()
    soundfile.write(coded, np.zeros(8000, np.int16), 8000, format="FLAC")
    data = bytearray(coded.getvalue())
    data[21:26] = struct.pack(
        ">Q", (int.from_bytes(data[18:26], "big") & ~(2**36 - 1)) | samples
    )[3:]
    return bytes(data)


def test_a_small_file_that_claims_ten_hours_gets_its_true_length(tmp_path, tiny_bundle):
    folder = tmp_path / "in"
    folder.mkdir()
    claimed = TEN_HOURS_S * 8000
    (folder / "x.wav").write_bytes(wav_header(claimed * 2)[:44] + bytes(10_000))
    (folder / "x.flac").write_bytes(flac_with_length(claimed))
    (folder / "x.au").write_bytes(
        b".snd" + struct.pack(">5I", 24, claimed, 1, 8000, 1) + bytes(10_000)
    )
    (folder / "x.aiff").write_bytes(
        b"FORM" + struct.pack(">I", claimed)
        + b"AIFFCOMM" + struct.pack(">IhIh", 18, 1, claimed, 16)
        + bytes.fromhex("400bfa00000000000000")
        + b"SSND" + struct.pack(">III", claimed, 0, 0) + bytes(10_000)
    )  # fmt: skip
    rows = analysed(folder, tmp_path / "out", tiny_bundle)
    assert {row["status"] for row in rows.values()} == {"done"}
    for row in rows.values():
        assert row["duration_s"] < 2, row["path"]
        assert "truncated" in row["notes"], row["path"]


@pytest.mark.slow
@pytest.mark.processes
def test_highly_compressed_silence_is_analysed_in_bounded_memory(tmp_path, tiny_bundle):
    # Three minutes of stereo at 384 kHz: 0.55 GB as float32, half a megabyte on disk.
    path = tmp_path / "in" / "bomb.flac"
    path.parent.mkdir()
    with soundfile.SoundFile(path, "w", 384_000, 2, "PCM_16") as file:
        for _ in range(18):
            file.write(np.zeros((3_840_000, 2), np.int16))
    assert path.stat().st_size < 500_000
    backdate(path.parent)
    rows, gib = run_batch(path.parent, tmp_path / "out", tiny_bundle)
    assert rows["bomb.flac"]["duration_s"] == 180
    assert gib < MEMORY_GIB


def test_a_file_rewritten_while_it_is_read_gets_no_row(tmp_path, tiny_bundle, call):
    path = write_call(tmp_path / "in" / "x.wav", call)
    flips = itertools.cycle([call[:, : 8000 * 5], call])
    done = threading.Event()

    def rewrite() -> None:
        while not done.wait(0.03):
            soundfile.write(path, next(flips).T, 8000)

    thread = threading.Thread(target=rewrite)
    thread.start()
    try:
        progress = run(
            [str(path.parent)],
            tmp_path / "out",
            configured(tiny_bundle),
            threading.Event(),
        )
    finally:
        done.set()
        thread.join()
    assert progress.growing == 1
    assert len(read_table(tmp_path / "out", "recordings")) == 0
