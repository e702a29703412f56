"""The voice activity detector that a configuration names."""

from ser_batch.config.options import VadConfig
from ser_batch.speech.silero import SileroVad
from ser_batch.speech.vad import Vad


def load_vad(config: VadConfig) -> Vad:
    """Return the detector that the configuration names.

    Raises:
        UsageError: its model cannot be loaded.
    """
    if config.engine == "pyannote":
        # On demand: pyannote.audio takes seconds to import and brings all of torch.
        from ser_batch.speech.pyannote import PyannoteVad

        return PyannoteVad(config)
    return SileroVad()
