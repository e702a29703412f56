"""Tiny corpora in the layouts of their publishers."""

from pathlib import Path

import numpy as np
import soundfile

RATE = 8000
RAVDESS_ACTORS = (2, 3, 5, 6, 8, 17, 10)


def write_clip(
    path: Path, seed: int, extension: str = ".wav", seconds: float = 0.4
) -> Path:
    """Write a short clip of noise to the path plus extension."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).normal(0, 0.1, int(seconds * RATE))
    file = path.with_name(path.name + extension)
    soundfile.write(file, noise, RATE)
    return file


def write_corpora(root: Path) -> Path:
    """Write a few clips of each published corpus, each in its own folder."""
    seed = 0

    def clip(*parts: str, extension: str = ".wav") -> None:
        nonlocal seed
        seed += 1
        write_clip(root.joinpath(*parts), seed, extension)

    for actor in RAVDESS_ACTORS:
        for emotion in range(1, 9):
            clip(
                "ravdess",
                f"Actor_{actor:02}",
                f"03-01-{emotion:02}-01-01-01-{actor:02}",
            )
        for emotion in range(1, 7):
            clip(
                "ravdess-song",
                f"Actor_{actor:02}",
                f"03-02-{emotion:02}-01-01-01-{actor:02}",
            )
    for speaker in ("OAF", "YAF"):
        for emotion in ("angry", "disgust", "fear", "happy", "neutral", "ps", "sad"):
            clip("tess", f"{speaker}_{emotion}", f"{speaker}_back_{emotion}")
    clip("tess", "OAF_neutral", "OA_bite_neutral")
    for actor in range(1001, 1007):
        for emotion in ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD"):
            clip("crema-d", "AudioWAV", f"{actor}_DFA_{emotion}_XX")
    lines = [
        "ActorID,Age,Sex,Race,Ethnicity",
        *(f"{a},30,{'Male' if a % 2 else 'Female'},x,y" for a in range(1001, 1007)),
    ]
    (root / "crema-d" / "VideoDemographics.csv").write_text("\n".join(lines) + "\n")
    for speaker in ("DC", "JE"):
        for emotion in ("a", "d", "f", "h", "n", "sa", "su"):
            clip("savee", f"{speaker}_{emotion}01")
    for emotion in ("a", "sa"):
        # Some copies have a folder for each speaker.
        clip("savee", "KL", f"{emotion}01")
    for speaker in ("03", "08", "09", "10", "11"):
        for letter in "WLEAFTN":
            clip("emodb", "wav", f"{speaker}a01{letter}a")
    rows = ["file_id\temotion\traw_text\tnormalized_text\tspeaker_id\tgender\tage"]
    for number, speaker in enumerate(("AB0", "CD0", "EF0", "GH0", "IJ0")):
        for emotion in (
            "anger",
            "fear",
            "happiness",
            "neutral",
            "sadness",
            "surprised",
        ):
            rows.append(
                f"{speaker}_{emotion}_1.wav\t{emotion}\tx\tx\t{speaker}"
                f"\t{'fe' * (number % 2)}male\t30"
            )
            clip("nemo", "samples", f"{speaker}_{emotion}_1", extension=".flac")
    (root / "nemo" / "data.tsv").write_text("\n".join(rows) + "\n")
    for speaker, sex in ((4, 1), (39, 2)):
        for number, emotion in enumerate("nfhsa", 1):
            clip("ased", f"0{number}X", f"{emotion}{number}-02-01-0{sex}-{speaker:02}")
    for speaker in (1157, 1984):
        for emotion in ("Angry", "Calm", "Happy", "Sad"):
            clip("turev", emotion, f"{speaker}_kz_neden")
    for speaker in ("9dd2014cc6e9", "57eadfd6b28d"):
        for number, emotion in enumerate(("angry", "calm", "fearful", "happy")):
            clip("emospeech", "road", f"stop-safe-{emotion}-15632{number}-{speaker}")
    for speaker, sex in ((51, "m"), (56, "f")):
        for level in range(3):
            clip("baved", "3", f"{speaker}-{sex}-20-3-{level}-{speaker}{level}")
    for speaker in ("f1", "m2"):
        for emotion in ("neu", "gio", "rab", "tri", "pau", "dis", "sor"):
            clip("emovo", speaker, f"{emotion}-{speaker}-b1")
    for speaker in ("liuchanhg", "wangzhe"):
        for emotion in ("angry", "fear", "happy", "neutral", "sad", "surprise"):
            clip("casia", speaker, emotion, "201")
    for number, emotion in enumerate(("Neutral", "Angry", "Happy", "Sad", "Surprise")):
        clip("esd", "0011", emotion, "train", f"0011_{number:06}")
        clip("esd", "0012", emotion, f"0012_{number:06}")
    _write_iemocap(root / "iemocap", clip)
    _write_meld(root / "meld", clip)
    return root


def _write_iemocap(root: Path, clip) -> None:
    for session in (1, 2):
        dialog = f"Ses0{session}F_impro01"
        lines = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]", ""]
        for sex in "FM":
            for number, label in enumerate(("neu", "hap", "exc", "ang", "fru", "xxx")):
                name = f"{dialog}_{sex}{number:03}"
                lines.append(f"[6.2901 - 8.2357]\t{name}\t{label}\t[2.5, 2.5, 2.5]")
                lines.append("C-E2:\tNeutral;\t()")
                clip("iemocap", f"Session{session}", "sentences", "wav", dialog, name)
        table = (
            root / f"Session{session}" / "dialog" / "EmoEvaluation" / f"{dialog}.txt"
        )
        table.parent.mkdir(parents=True)
        table.write_text("\n".join(lines) + "\n")


def _write_meld(root: Path, clip) -> None:
    root.mkdir()
    header = (
        "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season"
    )
    parts = {
        "train": "train_splits",
        "dev": "dev_splits_complete",
        "test": "output_repeated_splits_test",
    }
    for part, folder in parts.items():
        rows = [header]
        for number, emotion in enumerate(("neutral", "joy", "anger")):
            speaker = ("Ross", "Joey")[number % 2]
            rows.append(f'{number},"Oh, no",{speaker},{emotion},x,0,{number},8')
            clip("meld", folder, f"dia0_utt{number}")
        (root / f"{part}_sent_emo.csv").write_text("\n".join(rows) + "\n")
