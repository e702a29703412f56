"""Exports as audio annotations: RTTM, audformat, Praat TextGrid and WebVTT.

Each is written to a new folder.
"""

import hashlib
import os
from contextlib import ExitStack
from pathlib import Path, PurePosixPath

import yaml

from ser_batch.emotion.scorer import DIMENSIONS
from ser_batch.reporting.export.selection import Selection
from ser_batch.reporting.figures.database import literal, quoted
from ser_batch.reporting.figures.sides import channel_of, side_name, speaker_of
from ser_batch.reporting.figures.timelines import Timeline
from ser_batch.version import __version__

MAX_NAME = 250
"""Longest file name, in bytes."""
TIERS = 1e-3
"""Shortest interval in a Praat tier, in seconds: Praat does not allow empty ones."""


def write_rttm(selection: Selection, folder: Path) -> None:
    """Write RTTM files (NIST RT-09; times in seconds).

    `speech.rttm` contains who speaks when, `emotions.rttm` the label of each segment.
    The file field is the recording's path, with white space replaced by `_` because
    RTTM separates its fields with it.
    """
    folder.mkdir()
    with ExitStack() as stack:
        speech, emotions = (
            stack.enter_context((folder / f"{name}.rttm").open("w", encoding="utf-8"))
            for name in ("speech", "emotions")
        )
        for t in selection.timelines():
            for channel, regions in t.speech.items():
                for start_s, end_s in regions:
                    speech.write(_rttm_line(t, channel, start_s, end_s, t.who(channel)))
            for s in t.segments:
                if s.label:
                    emotions.write(
                        _rttm_line(t, s.channel, s.start_s, s.end_s, s.label)
                    )


def _rttm_line(
    t: Timeline, channel: int, start_s: float, end_s: float, name: str
) -> str:
    uri, name = ("_".join(text.split()) for text in (t.call["path"], name))
    return (
        f"SPEAKER {uri} {channel_of(channel) + 1} {start_s:.3f} {end_s - start_s:.3f} "
        f"<NA> <NA> {name} <NA> <NA>\n"
    )


def write_audformat(selection: Selection, folder: Path) -> None:
    """Write an audformat database with one segmented table.

    Its columns are emotion, confidence, channel, speaker, role, the probabilities, and
    arousal, valence and dominance.
    """
    folder.mkdir()
    probabilities = [f"p_{label}" for label in selection.labels]
    own = ("channel", "speaker", "role")
    columns = {
        name: {"scheme_id": name}
        for name in (("emotion", *own) if selection.labels else own)
    }
    columns |= {
        name: {"scheme_id": "probability"} for name in ("confidence", *probabilities)
    }
    columns |= {name: {"scheme_id": "dimension"} for name in DIMENSIONS}
    header = {
        "name": "ser",
        "source": f"ser {__version__}, model {selection.model_id}",
        "usage": "other",
        "languages": [],
        "description": "Emotions of call segments, predicted by a model; not reviewed.",
        "schemes": {
            **(
                {"emotion": {"dtype": "str", "labels": list(selection.labels)}}
                if selection.labels
                else {}
            ),
            "probability": {"dtype": "float", "minimum": 0, "maximum": 1},
            "dimension": {"dtype": "float", "minimum": 0, "maximum": 1},
            "channel": {"dtype": "int", "minimum": 0},
            "speaker": {"dtype": "int", "minimum": 0},
            "role": {"dtype": "str", "labels": ["agent", "customer"]},
        },
        "tables": {"segments": {"type": "segmented", "columns": columns}},
    }  # fmt: skip
    (folder / "db.yaml").write_text(
        yaml.safe_dump(header, sort_keys=False, allow_unicode=True), encoding="utf-8"
    )
    chosen = ", ".join(
        [
            "path AS file",
            *map(_timedelta, ("start", "end")),
            *(
                "label AS emotion" if name == "emotion" else quoted(name)
                for name in columns
            ),
        ]
    )
    rows = (
        f"SELECT {chosen} FROM {selection.rows('segments')} "
        "ORDER BY path, start_s, channel, speaker"
    )
    selection.connection.execute(
        f"COPY ({rows}) TO {literal(str(folder / 'db.segments.csv'))} (HEADER)"
    )


def _timedelta(name: str) -> str:
    """Return SQL that formats a time in seconds as a pandas timedelta."""
    clock = (
        f"strftime(make_timestamp(round(({name}_s % 86400) * 1e6)::BIGINT), "
        "'%H:%M:%S.%f')"
    )
    return (
        f"printf('%d days %s', floor({name}_s / 86400)::INT, {clock}) AS {quoted(name)}"
    )


def write_textgrid(selection: Selection, folder: Path) -> None:
    """Write a Praat TextGrid for each recording.

    Each channel, or voice within it, has a speech tier and, if it was scored, an
    emotion tier.
    """
    from praatio import textgrid
    from praatio.utilities.constants import Interval

    folder.mkdir()
    for t in selection.timelines():
        duration_s = t.call["duration_s"]
        if not duration_s:
            continue
        grid = textgrid.Textgrid(0, duration_s)
        several = len({t.who(channel) for channel in t.speech}) < len(t.speech)
        for channel, regions in t.speech.items():
            name = t.who(channel)
            if several:
                told_apart = speaker_of(channel) is not None
                name += f" {side_name(channel) if told_apart else channel}"
            spoken = [
                Interval(a, min(b, duration_s), "speech")
                for a, b in regions
                if min(b, duration_s) - a > TIERS
            ]
            grid.addTier(
                textgrid.IntervalTier(f"{name}: speech", spoken, 0, duration_s)
            )
            scored = [
                s
                for s in t.segments
                if s.channel == channel and min(s.end_s, duration_s) - s.start_s > TIERS
            ]
            if scored:
                told = [
                    Interval(
                        s.start_s,
                        min(s.end_s, duration_s),
                        s.label or ("?" if selection.labels else s.heard),
                    )
                    for s in scored
                ]
                grid.addTier(
                    textgrid.IntervalTier(f"{name}: emotion", told, 0, duration_s)
                )
        if grid.tierNames:
            path = _beside(folder, t, ".TextGrid")
            grid.save(
                str(path),
                "long_textgrid",
                includeBlankSpaces=True,
                reportingMode="silence",
            )


def write_webvtt(selection: Selection, folder: Path) -> None:
    """Write subtitles with the emotions of each recording (W3C WebVTT)."""
    folder.mkdir()
    for t in selection.timelines():
        cues = ["WEBVTT\n"]
        for s in t.segments:
            text = f"{t.who(s.channel)}: {s.heard}"
            escaped = (
                text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
            )
            cues.append(f"{_vtt_time(s.start_s)} --> {_vtt_time(s.end_s)}\n{escaped}\n")
        _beside(folder, t, ".vtt").write_text("\n".join(cues), encoding="utf-8")


def _vtt_time(seconds: float) -> str:
    ms = round(seconds * 1000)
    return (
        f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:"
        f"{ms // 1000 % 60:02}.{ms % 1000:03}"
    )


def _beside(folder: Path, t: Timeline, end: str) -> Path:
    """Return the output path of a recording, with its folders created.

    It mirrors the path of the recording below its input, with `end` appended. Names too
    long for a file system are shortened and made unique by a hash.
    """
    relative = PurePosixPath(t.call["path"].lstrip("/"))
    parts = [part.replace("\0", "_") for part in relative.parts if part != ".."]
    name = parts[-1]
    if len(os.fsencode(name + end)) > MAX_NAME:
        digest = hashlib.sha256(os.fsencode(t.call["path"])).hexdigest()[:16]
        name = (
            os.fsencode(name)[: MAX_NAME - 40].decode("utf-8", "ignore") + f"-{digest}"
        )
    path = folder.joinpath(*parts[:-1], name + end)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
