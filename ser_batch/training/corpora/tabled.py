"""Published corpora whose labels are in tables."""

import re
from dataclasses import replace
from pathlib import Path

from ser_batch.errors import CorpusError
from ser_batch.training.corpora.clips import Clip, Corpus
from ser_batch.training.corpora.files import CorpusFile, corpus_files
from ser_batch.training.corpora.tables import read_rows


def crema_d_sexes(corpus: Corpus, root: Path) -> Corpus:
    """Add the actors' sexes from the table published with CREMA-D, if it is there."""
    for file in corpus_files(root):
        if file.inner.name == "VideoDemographics.csv":
            rows = read_rows(file, None, ("actorid", "sex"))
            sexes = {row["actorid"]: row["sex"][:1].lower() for row in rows}
            clips = (
                replace(clip, sex=sexes.get(clip.speaker[-4:], ""))
                for clip in corpus.clips
            )
            return replace(corpus, clips=tuple(clips))
    return corpus


_NEMO = {
    "neutral": "neutral", "happiness": "happy", "sadness": "sad", "anger": "angry",
    "fear": "fearful", "surprised": "surprised",
}  # fmt: skip


def read_nemo(root: Path) -> Corpus:
    """Read nEMO (Christop 2024): Polish, nine actors, no calm and no disgust.

    The labels are in `data.tsv`, next to the folder `samples/`.

    Raises:
        CorpusError: the table is missing, or has an unknown emotion.
    """
    files = corpus_files(root)
    tables = [file for file in files if file.inner.name == "data.tsv"]
    if not tables:
        raise CorpusError(f"{root}: no data.tsv found; nEMO has it next to samples/")
    audio = {file.stem: file for file in files if file.is_audio}
    clips, missing = [], []
    for number, row in enumerate(
        read_rows(tables[0], "\t", ("file_id", "emotion", "speaker_id", "gender")), 2
    ):
        if row["emotion"] not in _NEMO:
            raise CorpusError(
                f"{tables[0]}, line {number}: unknown emotion {row['emotion']!r}"
            )
        stem = row["file_id"].rpartition(".")[0]
        if file := audio.pop(stem, None):
            clips.append(
                Clip(
                    file,
                    "nemo",
                    f"nemo/{row['speaker_id']}",
                    row["gender"][:1],
                    _NEMO[row["emotion"]],
                )
            )
        else:
            missing.append(row["file_id"])
    foreign = tuple(file.shown for file in audio.values())
    return Corpus(
        "nemo",
        "nEMO",
        "CC BY-NC-SA 4.0",
        tuple(clips),
        (),
        4481,
        tuple(missing),
        (),
        foreign,
    )


_IEMOCAP = {
    "neu": "neutral", "hap": "happy", "exc": "happy", "sad": "sad", "ang": "angry",
    "fea": "fearful", "dis": "disgust", "sur": "surprised", "fru": "frustrated",
}  # fmt: skip
# [start - end], utterance and label, separated by tabs.
_IEMOCAP_LINE = re.compile(r"^\[[\d. -]+\]\t(\w+)\t(\w+)\t", re.MULTILINE)


def read_iemocap(root: Path) -> Corpus:
    """Read IEMOCAP (Busso et al. 2008): English, ten actors in five sessions.

    The labels are the majority votes in `dialog/EmoEvaluation/*.txt`; excitement is
    mapped to happy, as is usual. Utterances without such a label are reported as audio
    that is not a clip.

    Raises:
        CorpusError: the label files are missing or cannot be read.
    """
    files = corpus_files(root)
    labels: dict[str, str] = {}
    for file in files:
        if file.inner.parent.name == "EmoEvaluation" and file.inner.suffix == ".txt":
            text = _text(file)
            for utterance, label in _IEMOCAP_LINE.findall(text):
                if label in _IEMOCAP:
                    labels[utterance] = _IEMOCAP[label]
    if not labels:
        raise CorpusError(
            f"{root}: no labels found; IEMOCAP has them in "
            "SessionN/dialog/EmoEvaluation/*.txt, next to SessionN/sentences/wav/"
        )
    clips, foreign = {}, []
    for file in files:
        if not file.is_audio:
            continue
        match = re.fullmatch(r"Ses0([1-5])[FM]_.+_([FM])\d+", file.stem)
        if match and file.stem in labels:
            speaker, sex = f"iemocap/{match[1]}{match[2]}", match[2].lower()
            label = labels.pop(file.stem)
            clips[file.stem] = Clip(file, "iemocap", speaker, sex, label)
        else:
            foreign.append(file.shown)
    folds = tuple(frozenset({f"iemocap/{n}F", f"iemocap/{n}M"}) for n in range(1, 6))
    return Corpus(
        "iemocap", "IEMOCAP", "for research only", tuple(clips.values()), folds,
        missing=tuple(sorted(labels)), foreign=tuple(foreign),
    )  # fmt: skip


_MELD = {
    "neutral": "neutral", "joy": "happy", "sadness": "sad", "anger": "angry",
    "fear": "fearful", "disgust": "disgust", "surprise": "surprised",
}  # fmt: skip


def read_meld(root: Path) -> Corpus:
    """Read MELD (Poria et al. 2019): scenes of a television series, seven emotions.

    `train_sent_emo.csv`, `dev_sent_emo.csv` and `test_sent_emo.csv` list the
    utterances. Their media files, `diaN_uttN`, are in folders whose names start with
    `train`, `dev`, and `test` or `output`.
    """
    files = corpus_files(root)
    sounds = {(_meld_part(f), f.stem): f for f in files if f.is_audio}
    clips, missing = [], []
    for file in files:
        match = re.fullmatch(r"(train|dev|test)_sent_emo\.csv", file.inner.name)
        if not match:
            continue
        columns = ("speaker", "emotion", "dialogue_id", "utterance_id")
        for row in read_rows(file, ",", columns):
            stem = f"dia{row['dialogue_id']}_utt{row['utterance_id']}"
            key = f"{match[1]}/{stem}"
            sound, label = sounds.get((match[1], stem)), _MELD.get(row["emotion"])
            if sound and label:
                speaker = f"meld/{row['speaker']}"
                clips.append(Clip(sound, "meld", speaker, "", label, key=key))
            elif label:
                missing.append(key)
    return Corpus(
        "meld", "MELD", "GPL-3.0, the scenes for research only", tuple(clips),
        n_published=13_708, missing=tuple(missing),
    )  # fmt: skip


def _meld_part(file: CorpusFile) -> str:
    for folder in reversed(file.inner.parts[:-1]):
        if match := re.match("train|dev|test|output", folder):
            return "test" if match[0] == "output" else match[0]
    return ""


def _text(file: CorpusFile) -> str:
    try:
        return file.read_bytes().decode("utf-8", "replace")
    except OSError as error:
        raise CorpusError(f"{file}: cannot be read: {error}") from error
