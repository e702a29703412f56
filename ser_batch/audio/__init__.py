"""A file becomes blocks of waveform, front to back, on an exact clock."""
