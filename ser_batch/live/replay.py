"""Recordings and raw audio as if they were calls that are going on."""

import time
from collections.abc import Iterator
from typing import IO

import numpy as np
from jaxtyping import Float32

from ser_batch.audio.decoders import Decoder
from ser_batch.live.encodings import Encoding, decode

PACKET_S = 0.1

Packet = Float32[np.ndarray, "channels samples"]


def packets_of(audio: Decoder, speed: float) -> Iterator[Packet]:
    """Yield a recording in packets, each when it would be complete in a call.

    Args:
        audio: an open recording.
        speed: 1 in real time, 2 twice as fast; 0 as fast as possible.
    """
    size = max(1, round(PACKET_S * audio.sample_rate))
    start, passed = time.monotonic(), 0
    for block in audio:
        for at in range(0, block.shape[1], size):
            packet = block[:, at : at + size]
            passed += packet.shape[1]
            if speed:
                due = start + passed / audio.sample_rate / speed
                time.sleep(max(0.0, due - time.monotonic()))
            yield packet


def raw_packets(
    stream: IO[bytes], sample_rate: int, channels: int, encoding: Encoding
) -> Iterator[Packet]:
    """Yield raw audio, with its channels interleaved, as it comes.

    Bytes at the end that are no whole frame are left out.
    """
    frame = channels * encoding.sample_bytes
    size = max(1, round(PACKET_S * sample_rate)) * frame
    rest = b""
    # `read1` returns what is there, and waits only if there is nothing.
    read = getattr(stream, "read1", stream.read)
    while data := read(size):
        data = rest + data
        whole = len(data) - len(data) % frame
        rest = data[whole:]
        samples = decode(data[:whole], encoding)
        if len(samples):
            yield samples.reshape(-1, channels).T
