"""Labels from and for other tools: Label Studio, CSV, audformat."""

import csv
import io
import json
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, urlsplit
from xml.sax.saxutils import quoteattr

import pandas as pd

from ser_batch.errors import UsageError
from ser_batch.labelling.agreement import Labels, read_labels
from ser_batch.labelling.answers import LEVELS, Answer, answer_file
from ser_batch.labelling.folder import CLIPS, SAME, Labelling, unwritable
from ser_batch.text import plain_text

UNUSABLE = "not to be used"
"""What stands for `Answer.unusable` in other tools."""
BY = "labeller: "


def export_labels(labelling: Labelling, to: str, out: Path) -> int:
    """Write segments and answers for another tool, into a new folder.

    Returns:
        The number of clips that are gone, and are therefore not in it.

    Args:
        labelling: what to write.
        to: a key of `EXPORTS`.
        out: a new folder.

    Raises:
        UsageError: the folder is not empty, or cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(
            f"--out {out}: is not an empty folder; choose a new one",
            path=out,
            option="--out",
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
        EXPORTS[to](labelling, read_labels(labelling), out)
    except OSError as error:
        raise unwritable(out, error) from error
    clips = labelling.segments["clip"]
    return sum(not labelling.clip_file(clip).exists() for clip in clips)


def _to_label_studio(labelling: Labelling, labels: Labels, out: Path) -> None:
    """Write tasks, with the answers as annotations, and a labelling interface.

    No prediction of the model is among them, since it would lead.
    """
    names = [*labelling.record.labels, UNUSABLE]
    choices = "".join(f"<Choice value={quoteattr(name)}/>" for name in names)
    (out / "interface.xml").write_text(
        '<View><Audio name="audio" value="$audio"/>'
        '<Choices name="emotion" toName="audio" choice="single" showInline="true">'
        f"{choices}</Choices></View>\n",
        encoding="utf-8",
    )
    tasks = []
    for clip in labelling.segments["clip"]:
        given = {name: own[clip] for name, own in labels.answers.items() if clip in own}
        tasks.append({
            "data": {
                "audio": f"/data/local-files/?d={CLIPS}/{clip}.flac", "clip": clip,
            },
            "annotations": [
                {"result": [_choice(name, answer)]}
                for name, answer in given.items()
                if answer.label or answer.unusable
            ],
        })  # fmt: skip
    _write_json(out / "tasks.json", tasks)
    _copy_clips(labelling, out / CLIPS)


def _choice(labeller: str, answer: Answer) -> dict[str, Any]:
    """Return an answer as a region, with the labeller in its notes.

    Label Studio refuses annotations that are completed by somebody it does not know.
    """
    chosen = UNUSABLE if answer.unusable else answer.label
    return {
        "from_name": "emotion", "to_name": "audio", "type": "choices",
        "value": {"choices": [chosen]}, "meta": {"text": [f"{BY}{labeller}"]},
    }  # fmt: skip


def _to_csv(labelling: Labelling, labels: Labels, out: Path) -> None:
    """Write a row for each clip and answer; clips without an answer have one, too."""
    where = ["clip", "recording_id", "path", "channel", "role", "start_s", "end_s"]
    rows = []
    for segment in labelling.segments[where].to_dict("records"):
        given = {
            name: own[segment["clip"]]
            for name, own in labels.answers.items()
            if segment["clip"] in own
        }
        for name, answer in given.items() or [("", None)]:
            rows.append(
                segment | {
                    "labeller": name,
                    "label": _label_of(answer),
                    "arousal": answer and answer.arousal,
                    "valence": answer and answer.valence,
                }
            )  # fmt: skip
    table = pd.DataFrame(rows).map(plain_text)
    table.to_csv(out / "labels.csv", index=False)
    _copy_clips(labelling, out / CLIPS)


def _label_of(answer: Answer | None) -> str:
    if answer is None:
        return ""
    return UNUSABLE if answer.unusable else answer.label or ""


def _to_audformat(labelling: Labelling, labels: Labels, out: Path) -> None:
    """Write an audformat database with a column for each labeller, and the majority."""
    try:
        import audformat
    except ModuleNotFoundError as error:
        raise UsageError(
            "--to audformat needs audformat: pip install 'ser-batch[audformat]'"
        ) from error
    database = audformat.Database("labels", usage="research", languages=[])
    database.schemes["emotion"] = audformat.Scheme(labels=list(labelling.record.labels))
    index = audformat.filewise_index(
        [f"{CLIPS}/{clip}.flac" for clip in labelling.segments["clip"]]
    )
    table = database["emotion"] = audformat.Table(index)
    for name in labels.of:
        database.raters[name] = audformat.Rater(audformat.define.RaterType.HUMAN)
        table[f"by {name}"] = audformat.Column(scheme_id="emotion", rater_id=name)
        table[f"by {name}"].set(labels.of[name].to_numpy())
    table["majority"] = audformat.Column(scheme_id="emotion")
    table["majority"].set(labels.agreed().to_numpy())
    database.save(str(out), storage_format=audformat.define.TableStorageFormat.CSV)
    _copy_clips(labelling, out / CLIPS)


EXPORTS: dict[str, Callable[[Labelling, Labels, Path], None]] = {
    "label-studio": _to_label_studio,
    "csv": _to_csv,
    "audformat": _to_audformat,
}


def import_labels(
    labelling: Labelling, file: Path, labeller: str = ""
) -> dict[str, int]:
    """Add the answers in a file of Label Studio (JSON) or in a CSV file to a folder.

    Args:
        labelling: the folder to add them to.
        file: an export of Label Studio, or a CSV file with the columns `clip`, `label`
            and, if there are several labellers, `labeller`.
        labeller: whose answers they are, where the file does not say.

    Returns:
        The number of answers added for each labeller.

    Raises:
        UsageError: the file cannot be read, or has a label or a clip that the folder
            lacks. Nothing is added then.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
        is_json = text.lstrip().startswith(("[", "{"))
        rows = list(_of_label_studio(json.loads(text)) if is_json else _of_csv(text))
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror}") from error
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
        csv.Error,
    ) as error:
        raise UsageError(
            f"{file}: neither an export of Label Studio nor CSV with the columns clip "
            "and label, separated by commas",
            path=file,
        ) from error
    answers: dict[str, dict[str, Answer]] = defaultdict(dict)
    known = set(labelling.segments["clip"])
    for row in rows:
        answer = _answer(row, labelling, file)
        if answer.clip not in known:
            raise UsageError(
                f"{file}: clip {answer.clip!r} is not one of {labelling.folder}",
                path=file,
            )
        name = str(row.get("labeller") or labeller)
        if not name:
            raise UsageError(
                f"{file}: does not say who answered; name them with --labeller",
                path=file,
                option="--labeller",
            )
        other = answers[name].setdefault(answer.clip, answer)
        if other != answer:
            raise UsageError(
                f"{file}: {name} gives clip {answer.clip} two different answers",
                path=file,
            )
    files = {name: answer_file(labelling.folder, name) for name in answers}
    added = {}
    for name, own in answers.items():
        before = files[name].read()
        new = [a for a in own.values() if not _is_same(before.get(a.clip), a)]
        if new:
            files[name].append(new)
        added[name] = len(new)
    return added


def _answer(row: Mapping[str, Any], labelling: Labelling, file: Path) -> Answer:
    label = str(row["label"]).strip()
    if label.lower() == UNUSABLE:
        return Answer(row["clip"], unusable=True)
    label = label.lower()
    if label not in labelling.record.labels:
        label = SAME.get(label, label)
    if label not in labelling.record.labels:
        raise UsageError(
            f"{file}: label {row['label']!r} is not one of "
            f"{', '.join(labelling.record.labels)} or {UNUSABLE!r}",
            path=file,
        )
    arousal, valence = (_level(row, name, file) for name in ("arousal", "valence"))
    return Answer(row["clip"], label, arousal, valence)


def _level(row: Mapping[str, Any], name: str, file: Path) -> int | None:
    text = str(row.get(name) or "").strip()
    if text in ("", "nan"):
        return None
    try:
        level = round(float(text))
    except (ValueError, OverflowError):
        level = 9
    if level not in LEVELS:
        raise UsageError(f"{file}: {name} {text} is not from -2 to 2", path=file)
    return level


def _of_label_studio(tasks: Any) -> Iterable[dict[str, Any]]:
    for task in tasks if isinstance(tasks, list) else [tasks]:
        clip = task["data"].get("clip") or _clip_of(task["data"]["audio"])
        for annotation in task["annotations"]:
            if annotation.get("was_cancelled"):
                continue
            by = annotation.get("completed_by")
            name = by.get("email") or by.get("id") if isinstance(by, dict) else by
            for part in annotation["result"]:
                noted = next(iter(part.get("meta", {}).get("text", ())), "")
                said = noted.removeprefix(BY) if noted.startswith(BY) else name
                for choice in part["value"].get("choices", ()):
                    yield {"clip": str(clip), "label": choice, "labeller": said}


def _clip_of(address: str) -> str:
    parts = urlsplit(address)
    path = parse_qs(parts.query).get("d", [parts.path])[0]
    return PurePosixPath(path).stem


def _of_csv(text: str) -> Iterable[dict[str, Any]]:
    rows = csv.DictReader(io.StringIO(text, newline=""))
    if not {"clip", "label"} <= set(rows.fieldnames or ()):
        raise ValueError(f"its columns are {', '.join(rows.fieldnames or ())}")
    return (row for row in rows if (row["label"] or "").strip())


def _is_same(known: Answer | None, new: Answer) -> bool:
    """Tell whether an answer is known; levels that the file lacks do not count."""
    if known is None or (known.label, known.unusable) != (new.label, new.unusable):
        return False
    levels = ((known.arousal, new.arousal), (known.valence, new.valence))
    return all(level in (None, before) for before, level in levels)


def _write_json(path: Path, value: Any) -> None:
    text = json.dumps(value, indent=1, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8")


def _copy_clips(labelling: Labelling, folder: Path) -> None:
    folder.mkdir()
    for clip in labelling.segments["clip"]:
        if (source := labelling.clip_file(clip)).exists():
            shutil.copyfile(source, folder / source.name)
