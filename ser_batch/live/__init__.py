"""Calls that are still going on: the same rows as of recordings, as soon as possible.

packets -> Listening (VAD, crosstalk) -> GrowingSpeech (what is settled)
-> segments with their waveforms -> scores -> events
"""
