"""Loading the voice activity detector of a configuration."""

from ser_batch.config.options import VadConfig
from ser_batch.speech.vad import Vad


def load_vad(config: VadConfig) -> Vad:
    """Return the detector that the configuration names.

    Raises:
        UsageError: its model cannot be loaded.
    """
    if config.engine == "pyannote":
        # Imported on demand, as pyannote.audio takes seconds and imports all of torch.
        from ser_batch.speech.pyannote import PyannoteVad

        return PyannoteVad(config)
    # On demand as well: the parent of decoding processes needs no detector.
    from ser_batch.speech.silero import SileroVad

    return SileroVad()
