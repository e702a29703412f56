"""Loading the models with which a configuration decodes: VAD and voices."""

from ser_batch.config.options import Config, VadConfig
from ser_batch.speech.diarization import Diarizer
from ser_batch.speech.vad import Vad


def load_vad(config: VadConfig) -> Vad:
    """Return the detector that the configuration names.

    Raises:
        UsageError: its model cannot be loaded.
    """
    if config.engine == "pyannote":
        # Imported on demand, as pyannote.audio takes seconds and imports all of torch.
        from ser_batch.speech.pyannote_vad import PyannoteVad

        return PyannoteVad(config)
    # On demand as well: the parent of decoding processes needs no detector.
    from ser_batch.speech.silero import SileroVad

    return SileroVad()


def load_diarizer(config: Config) -> Diarizer | None:
    """Return what tells voices apart; None if every channel is one speaker's.

    Raises:
        BundleError: the voice model is missing or damaged.
        UsageError: the pyannote pipeline cannot be loaded.
    """
    _, most = config.speakers.range_for(config.score.roles)
    if most < 2:
        return None
    from ser_batch.speech.voice_diarizer import VoiceDiarizer
    from ser_batch.speech.voices import load_voices

    if config.speakers.model is None or config.speakers.engine == "ser":
        return VoiceDiarizer(load_voices())
    # Imported on demand, as for the VAD.
    from ser_batch.speech.pyannote_diarizer import PyannoteDiarizer

    return PyannoteDiarizer(config.speakers.model, load_voices())
