"""Audio decoding: a file as blocks of waveform, in order, on an exact clock."""
