"""Make the calls in examples/calls with a speech synthesiser: anyone may use them.

    python examples/make_calls.py            # needs espeak-ng on the PATH

Each call is a script of turns, with the agent on the left channel and the customer on
the right. Turns may overlap. A voice gets louder, faster and higher as its caller loses
patience.
"""

import io
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

SAMPLE_RATE = 8000
CALLS = Path(__file__).parent / "calls"
AGENT, CUSTOMER = 0, 1


@dataclass(frozen=True)
class Turn:
    """Who says what, how long after the last turn (in s; negative: before its end)."""

    who: int
    text: str
    pause_s: float = 0.4
    speed: int = 165
    pitch: int = 45
    loudness: float = 0.3


BILLING = [
    Turn(AGENT, "Good morning, billing department, how can I help you?"),
    Turn(CUSTOMER, "Hello. I have been charged twice for March.", 0.5, 160, 40),
    Turn(AGENT, "I am sorry to hear that. Let me look at your account.", 0.6),
    Turn(CUSTOMER, "This is the third time I am calling about it!", 0.8, 190, 60, 0.5),
    Turn(AGENT, "I understand. I can see that the request is still open.", 0.3),
    Turn(
        CUSTOMER,
        "Still open? I want my money back, and I want it today!",
        -0.5,
        215,
        75,
        0.8,
    ),
    Turn(AGENT, "I have just approved the refund. You will have it tomorrow.", 0.7),
    Turn(CUSTOMER, "Well. Thank you.", 0.9, 150, 40),
]
DELIVERY = [
    Turn(AGENT, "Parcel service, you are speaking with Robin."),
    Turn(
        CUSTOMER,
        "Hi! I just wanted to say that the parcel has arrived.",
        0.4,
        175,
        60,
        0.4,
    ),
    Turn(AGENT, "That is good to hear. Is everything as you expected?", 0.4),
    Turn(CUSTOMER, "Oh yes, it is wonderful, thank you so much!", 0.3, 185, 70, 0.45),
]
VOICEMAIL = [
    Turn(
        CUSTOMER,
        "Hello, it is me again. Please call me back when you can. "
        "It is about the water.",
        0.5,
        140,
        35,
    )
]


def speak(turn: Turn) -> np.ndarray:
    """One turn as a waveform at `SAMPLE_RATE`."""
    voice = "en-gb+f3" if turn.who == AGENT else "en-us+m3"
    command = [
        "espeak-ng",
        "-v",
        voice,
        "-s",
        str(turn.speed),
        "-p",
        str(turn.pitch),
        "--stdout",
        turn.text,
    ]
    wav = subprocess.run(command, check=True, capture_output=True).stdout
    waveform, rate = soundfile.read(io.BytesIO(wav), dtype="float32")
    waveform = soxr.resample(waveform, rate, SAMPLE_RATE)
    return waveform / np.abs(waveform).max() * turn.loudness


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
