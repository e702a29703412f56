"""The crosstalk path from one channel into another, if there is one.

The delay shows whether there is one: crosstalk always arrives with the same delay,
while the delays measured on two people who talk at once do not agree. The effect of the
path on the sound is an impulse response, estimated by least squares.
"""

from collections import deque

import numpy as np
from jaxtyping import Float, Float32

RATE = 8000
"""The sample rate of all samples here, in Hz."""
WINDOW = 4096
"""Samples of the window in which a delay is measured: 512 ms."""
MAX_DELAY = 2048
"""256 ms: echoes of a telephone line arrive up to this long after the speech."""
EARLY, TAPS = 32, 1024
"""The response begins `EARLY` samples before the delay, and lasts 128 ms."""
CONTEXT = MAX_DELAY + TAPS
"""Preceding samples of the source on which an interval of the sink may depend."""
WINDOWS, FEWEST = 200, 5
"""How many delays are kept, and how many must agree."""
SAME = 8
"""Delays within 1 ms agree."""
AGREEING = 0.25
"""The share of windows that must agree.

Far fewer than agree on an echo, and more than agree by chance in double talk.
"""
STRETCHES = 10
"""The number of latest intervals from which the response is estimated."""
PRE_EMPHASIS = 0.9
_FFT = 8192


class CrosstalkPath:
    """The crosstalk path from one channel, the source, into another, the sink."""

    def __init__(self) -> None:
        self._delays: deque[int] = deque(maxlen=WINDOWS)
        self._products: deque[np.ndarray] = deque(maxlen=STRETCHES)
        self._powers: deque[np.ndarray] = deque(maxlen=STRETCHES)

    @property
    def windows(self) -> int:
        """The number of delays known."""
        return len(self._delays)

    def look(
        self, sink: Float32[np.ndarray, " window"], source: Float32[np.ndarray, " both"]
    ) -> None:
        """Measure the delay in a window in which both channels are in speech.

        `source` ends with the sink's window, and begins `MAX_DELAY` before it. The
        cross-correlation is weighted by the square root of its spectrum, between plain
        correlation and PHAT (Knapp & Carter 1976).
        """
        product = np.fft.rfft(_emphasised(sink), _FFT)
        product *= np.conj(np.fft.rfft(_emphasised(source), _FFT))
        weighted = np.fft.irfft(product / np.sqrt(np.abs(product) + 1e-12), _FFT)
        at = np.arange(MAX_DELAY + 1) - MAX_DELAY
        self._delays.append(int(np.abs(weighted[at]).argmax()))

    def delay(self) -> int | None:
        """Return the delay in samples, or None if there is no path."""
        delays = np.array(self._delays)
        if len(delays) < FEWEST:
            return None
        agrees = np.abs(delays[:, None] - delays) <= SAME
        counts = agrees.sum(axis=1)
        best = int(counts.argmax())
        if counts[best] < max(FEWEST, AGREEING * len(delays)):
            return None
        return int(np.median(delays[agrees[best]]))

    def learn(
        self, sink: Float[np.ndarray, " stretch"], source: Float[np.ndarray, " both"]
    ) -> None:
        """Add an interval to the estimate; `source` begins `CONTEXT` samples earlier.

        Intervals in which the sink is loud are given less weight: they contain the
        channel's own speech, which is noise to the estimate.
        """
        weight = 1 / (np.mean(np.square(sink)) + 1e-9)
        n = 1 << (len(source) + CONTEXT).bit_length()
        spectrum = np.conj(np.fft.rfft(source, n))
        product = np.fft.irfft(np.fft.rfft(sink, n) * spectrum, n)
        self._products.append(
            weight * product[np.arange(-EARLY, CONTEXT - EARLY) - CONTEXT]
        )
        power = np.fft.irfft(np.fft.rfft(source[CONTEXT:], n) * spectrum, n)
        self._powers.append(weight * power[np.arange(TAPS) - CONTEXT])

    def response(self, delay: int) -> tuple[Float[np.ndarray, " taps"], float]:
        """Return the impulse response and its gain.

        The response begins `EARLY` samples before the delay. The gain is the power of
        the crosstalk over that of the source. Solves the normal equations of a Wiener
        filter (Haykin, Adaptive Filter Theory).
        """
        # Hardly any recording has crosstalk; the others do not wait for this import.
        from scipy.linalg import solve_toeplitz

        power = np.sum(self._powers, axis=0)
        power[0] = power[0] * 1.0003 + 1e-9
        product = np.sum(self._products, axis=0)[delay : delay + TAPS]
        taps = solve_toeplitz(power, product)
        own = np.convolve(taps, taps[::-1])[TAPS - 1 :]
        return taps, float((own[0] * power[0] + 2 * own[1:] @ power[1:]) / power[0])


def crosstalk_of(
    source: Float[np.ndarray, " both"], taps: Float[np.ndarray, " taps"], delay: int
) -> Float[np.ndarray, " stretch"]:
    """Return the crosstalk of a source, which begins `CONTEXT` samples earlier."""
    first = delay - EARLY
    n = 1 << (len(source) + TAPS).bit_length()
    spectrum = np.fft.rfft(source, n) * np.fft.rfft(taps, n)
    return np.roll(np.fft.irfft(spectrum, n), first)[CONTEXT : len(source)]


def _emphasised(samples: np.ndarray) -> np.ndarray:
    return np.append(0.0, samples[1:] - PRE_EMPHASIS * samples[:-1])
