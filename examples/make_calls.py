"""Make the calls in examples/calls with a speech synthesiser: anyone may use them.

    python examples/make_calls.py            # needs espeak-ng on the PATH

Each call is a script of turns, with the agent on the left channel and the customer on
the right. Turns may overlap. A caller who loses patience speaks faster, higher and with
more effort.
"""

import io
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from scipy.signal import butter, lfilter

SAMPLE_RATE = 8000
CALLS = Path(__file__).parent / "calls"
AGENT, CUSTOMER = 0, 1
VOICES = {AGENT: "en-gb+m3", CUSTOMER: "en-us+f5"}
TREBLE_HZ = 1200


@dataclass(frozen=True)
class Mood:
    """How a voice sounds.

    `speed` is in words per minute, `pitch` and `loudness` as espeak-ng and full scale
    have them. More effort means more treble (`treble`), a waveform that is driven
    harder (`drive`), and a rough voice (`roughness`, at `rough_hz`).
    """

    speed: int = 165
    pitch: int = 45
    loudness: float = 0.3
    range: str = "medium"
    treble: float = 0.0
    drive: float = 0.5
    roughness: float = 0.0
    rough_hz: float = 40.0


EVEN = Mood()
CALM = Mood(128, 30, 0.25)
CHEERFUL = Mood(180, 66, 0.4)
TENSE = Mood(185, 55, 0.4, "high", 1.5, 1.5)
ANGRY = Mood(233, 73, 0.8, "x-high", 5.1, 4.7, 0.4)


@dataclass(frozen=True)
class Turn:
    """Who says what, in which mood, how long after the last turn.

    `pause_s` is in seconds; negative: before the end of the last turn.
    """

    who: int
    text: str
    mood: Mood = EVEN
    pause_s: float = 0.4


BILLING = [
    Turn(AGENT, "Good morning, billing department, how can I help you?"),
    Turn(CUSTOMER, "Hello. I have a question about my bill. "
         "I have been charged twice for March.", CALM, 0.5),
    Turn(AGENT, "I am sorry to hear that. Let me look at your account.", EVEN, 0.6),
    Turn(CUSTOMER, "It says forty two, and I think that it should be twenty one.",
         CALM, 0.8),
    Turn(AGENT, "I can see it here. Have you written to us about it before?", EVEN,
         0.5),
    Turn(CUSTOMER, "Yes. I have written two letters, and this is my third call.",
         TENSE, 0.4),
    Turn(AGENT, "Then the request is still open. It can take another six weeks.",
         EVEN, 0.5),
    Turn(CUSTOMER, "Still open? I want my money back, and I want it today!", ANGRY,
         0.3),
    Turn(AGENT, "I understand that. I would need to", EVEN, 0.3),
    Turn(CUSTOMER, "No! I have heard that three times. This is not acceptable!",
         ANGRY, -0.7),
    Turn(AGENT, "I am sorry.", EVEN, 0.4),
    Turn(CUSTOMER, "Nobody ever calls me back! I want my money, and I want it now!",
         ANGRY, 0.3),
    Turn(CUSTOMER, "No! Not next week. I want to talk to your manager, today!",
         ANGRY, 0.4),
    Turn(AGENT, "I have just approved the refund. You will have it tomorrow.", EVEN,
         0.9),
]  # fmt: skip
DELIVERY = [
    Turn(AGENT, "Parcel service, you are speaking with Robin."),
    Turn(CUSTOMER, "Hi! I just wanted to say that the parcel has arrived.", CHEERFUL),
    Turn(AGENT, "That is good to hear. Is everything as you expected?"),
    Turn(CUSTOMER, "Oh yes, it is wonderful, thank you so much!", CHEERFUL, 0.3),
]  # fmt: skip
VOICEMAIL = [
    Turn(CUSTOMER, "Hello, it is me again. Please call me back when you can. "
         "It is about the water.", CALM, 0.5)
]  # fmt: skip


def speak(turn: Turn) -> np.ndarray:
    """One turn as a waveform at `SAMPLE_RATE`."""
    mood = turn.mood
    text = f'<speak><prosody range="{mood.range}">{turn.text}</prosody></speak>'
    command = [
        "espeak-ng", "-m", "-v", VOICES[turn.who], "-s", str(mood.speed),
        "-p", str(mood.pitch), "--stdout", text,
    ]  # fmt: skip
    wav = subprocess.run(command, check=True, capture_output=True).stdout
    waveform, rate = soundfile.read(io.BytesIO(wav), dtype="float32")
    waveform = soxr.resample(waveform, rate, SAMPLE_RATE)
    return mood.loudness * with_effort(waveform, mood)


def with_effort(waveform: np.ndarray, mood: Mood) -> np.ndarray:
    """Return a waveform with a peak of 1 as if it were spoken with more effort."""
    b, a = butter(1, TREBLE_HZ, "high", fs=SAMPLE_RATE)
    brighter = waveform + mood.treble * lfilter(b, a, waveform)
    brighter /= np.abs(brighter).max()
    t = np.arange(len(brighter)) / SAMPLE_RATE
    rough = brighter * (1 + mood.roughness * np.sin(2 * np.pi * mood.rough_hz * t))
    driven = np.tanh(mood.drive * rough)
    return driven / np.abs(driven).max()


def call(turns: list[Turn], seed: int) -> np.ndarray:
    """Return a call as (samples, 2), with a little line noise on both channels."""
    placed, end = [], 0.5
    for turn in turns:
        waveform = speak(turn)
        start = max(0.0, end + turn.pause_s)
        end = start + len(waveform) / SAMPLE_RATE
        placed.append((int(start * SAMPLE_RATE), turn.who, waveform))
    out = np.random.default_rng(seed).normal(
        0, 0.0008, (int((end + 0.5) * SAMPLE_RATE), 2)
    )
    for start, who, waveform in placed:
        out[start : start + len(waveform), who] += waveform
    return out


def main() -> None:
    """Write all calls."""
    for folder in ("billing", "delivery"):
        (CALLS / folder).mkdir(parents=True, exist_ok=True)
    soundfile.write(
        CALLS / "billing" / "1001.wav", call(BILLING, 1), SAMPLE_RATE, subtype="ULAW"
    )
    soundfile.write(
        CALLS / "delivery" / "2001.ogg",
        call(DELIVERY, 2),
        SAMPLE_RATE,
        format="OGG",
        subtype="OPUS",
    )
    soundfile.write(
        CALLS / "delivery" / "2002.wav",
        call(VOICEMAIL, 3)[:, CUSTOMER],
        SAMPLE_RATE,
        subtype="GSM610",
    )
    soundfile.write(
        CALLS / "billing" / "1002-silent.wav",
        np.zeros((4 * SAMPLE_RATE, 2)),
        SAMPLE_RATE,
        subtype="ULAW",
    )
    # A recorder whose disk failed leaves the first bytes of a header.
    (CALLS / "billing" / "1003-broken.wav").write_bytes(
        (CALLS / "billing" / "1001.wav").read_bytes()[:20]
    )


if __name__ == "__main__":
    main()
