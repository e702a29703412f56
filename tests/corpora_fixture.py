"""Tiny corpora in the layouts of their publishers."""

from pathlib import Path

import numpy as np
import soundfile

RATE = 8000
RAVDESS_ACTORS = (2, 3, 5, 6, 8, 17, 10)


def write_clip(path: Path, seed: int, extension: str = ".wav", seconds: float = 0.4) -> Path:
    """A short noise, written under the path's name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).normal(0, 0.1, int(seconds * RATE))
    file = path.with_name(path.name + extension)
    soundfile.write(file, noise, RATE)
    return file


def write_corpora(root: Path) -> Path:
    """A few clips of each published corpus, in a folder of its own."""
    seed = 0

    def clip(*parts: str, extension: str = ".wav") -> None:
        nonlocal seed
        seed += 1
        write_clip(root.joinpath(*parts), seed, extension)

    for actor in RAVDESS_ACTORS:
        for emotion in range(1, 9):
            clip("ravdess", f"Actor_{actor:02}", f"03-01-{emotion:02}-01-01-01-{actor:02}")
        for emotion in range(1, 7):
            clip("ravdess-song", f"Actor_{actor:02}", f"03-02-{emotion:02}-01-01-01-{actor:02}")
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
        clip("savee", "KL", f"{emotion}01")  # some copies keep a folder for each speaker
    for speaker in ("03", "08", "09", "10", "11"):
        for letter in "WLEAFTN":
            clip("emodb", "wav", f"{speaker}a01{letter}a")
    rows = ["file_id\temotion\traw_text\tnormalized_text\tspeaker_id\tgender\tage"]
    for number, speaker in enumerate(("AB0", "CD0", "EF0", "GH0", "IJ0")):
        for emotion in ("anger", "fear", "happiness", "neutral", "sadness", "surprised"):
            rows.append(f"{speaker}_{emotion}_1.wav\t{emotion}\tx\tx\t{speaker}\t{'fe' * (number % 2)}male\t30")
            clip("nemo", "samples", f"{speaker}_{emotion}_1", extension=".flac")
    (root / "nemo" / "data.tsv").write_text("\n".join(rows) + "\n")
    return root
