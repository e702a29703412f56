"""The columns of the tables, with their units and descriptions."""

from collections.abc import Sequence

import pyarrow as pa

FORMAT = 8
"""Number of the format of results; see docs/contributing/formats.md."""
TABLES = ("recordings", "speech", "segments")


def _field(name: str, type_: pa.DataType, meaning: str, unit: str = "") -> pa.Field:
    return pa.field(
        name,
        type_,
        metadata={"description": meaning, **({"unit": unit} if unit else {})},
    )


def table_schemas(labels: Sequence[str]) -> dict[str, pa.Schema]:
    """Return the schema of each table; `segments` has a probability for each label."""
    text, seconds = pa.string(), pa.float64()
    instant = pa.timestamp("us", tz="UTC")
    recording_id = _field(
        "recording_id", text, "assigned when first seen, and kept when the file moves"
    )
    role = _field("role", text, "agent or customer; null if it is unknown")
    channel = _field("channel", pa.int16(), "channel of the recording, from 0")
    speaker = _field(
        "speaker",
        pa.int16(),
        "voice within the channel, from 0, by first appearance; null if the voices of "
        "the channel were not told apart, or the region could be any voice's",
    )
    start = _field(
        "start_s", seconds, "start, from the beginning of the recording", "s"
    )
    end = _field("end_s", seconds, "end, from the beginning of the recording", "s")
    path = _field(
        "path", text, "path relative to the input root; updated when the file moves"
    )
    metadata = {"format": str(FORMAT)}
    return {
        "recordings": pa.schema(
            [
                recording_id,
                path,
                _field(
                    "input_root", text, "the input in which the recording was found"
                ),
                _field("location", text, "absolute path, with links resolved"),
                _field(
                    "duplicate_of",
                    text,
                    "recording_id of the recording with the same content; else null",
                ),
                _field("size_bytes", pa.int64(), "size of the file", "byte"),
                _field("modified_at", instant, "modification time of the file"),
                _field(
                    "etag", text, "entity tag of an object in a store; null for a file"
                ),
                _field("content_hash", text, "BLAKE2b of the file's bytes"),
                _field("codec", text, "container and codec"),
                _field("sample_rate_hz", pa.int32(), "sample rate of the file", "Hz"),
                _field("channels", pa.int16(), "channels of the file"),
                _field("duration_s", seconds, "length of the decoded audio", "s"),
                _field("status", text, "done, failed or duplicate"),
                _field("error", text, "why the recording failed; null if done"),
                _field("error_kind", text, "the same in one word; null if done"),
                _field("error_detail", text, "a library's message about it, if any"),
                _field(
                    "notes",
                    text,
                    "defects of the audio and how they were handled, and how the "
                    "speakers were named; null if none",
                ),
                _field(
                    "channel_talk_s",
                    pa.list_(seconds),
                    "time in speech of each analysed channel",
                    "s",
                ),
                _field(
                    "level_curves",
                    pa.list_(pa.binary()),
                    "for each analysed channel, the highest level in each of up to 600 "
                    "equal parts of the recording, in bytes from 0 (-60 dBFS and "
                    "below) to 255 (0 dBFS): enough to draw it",
                ),
                _field(
                    "agent_talk_s",
                    seconds,
                    "time in which an agent speaks; null if roles are unknown",
                    "s",
                ),
                _field(
                    "customer_talk_s",
                    seconds,
                    "time in which a customer speaks; null if roles are unknown",
                    "s",
                ),
                _field("silence_s", seconds, "time without speech", "s"),
                _field(
                    "overtalk_s",
                    seconds,
                    "time in which two or more speak; null for mono calls with several "
                    "voices",
                    "s",
                ),
                _field("segments", pa.int32(), "scored segments"),
                _field(
                    "not_scored",
                    text,
                    "why no segment has a label: no_speech, customer_silent (the "
                    "speakers to be scored do not speak), speakers_unknown (the "
                    "customer is unknown), voices_unclear (in a mono call, no "
                    "voice is the customer's for certain), too_short, abstained; null "
                    "if a segment has one, and for failed recordings",
                ),
                _field(
                    "out_of_domain",
                    pa.float32(),
                    "how unlike the training speech its segments are, 0 to 1; null if "
                    "the model does not estimate it",
                ),
                _field(
                    "diarization_confidence",
                    pa.float32(),
                    "where several voices within a channel were told apart: expected "
                    "share of speech given to the right one, 0.5 to 1; else null",
                ),
                _field("model_id", text, "bundle and fingerprint of the model"),
                _field(
                    "config_hash", text, "fingerprint of the options that affect rows"
                ),
                _field("ser_version", text, "version of ser that wrote the row"),
                _field("analyzed_at", instant, "time at which the analysis ended"),
            ],
            metadata,
        ),
        "speech": pa.schema(
            [
                recording_id,
                channel,
                speaker,
                role,
                start,
                end,
                _field(
                    "overlap",
                    pa.bool_(),
                    "whether another voice of the same channel speaks at the same "
                    "time; such speech is not scored",
                ),
            ],
            metadata,
        ),
        "segments": pa.schema(
            [
                recording_id,
                path,
                channel,
                speaker,
                role,
                _field(
                    "segment",
                    pa.int32(),
                    "number of the segment in its recording, from 0, by start, "
                    "channel and speaker",
                ),
                start,
                end,
                _field(
                    "label",
                    text,
                    "most probable emotion; null if the model abstains or has no "
                    "labels",
                ),
                _field(
                    "confidence",
                    pa.float32(),
                    "probability of the most probable emotion; null if the model "
                    "has no labels",
                ),
                *(
                    _field(
                        f"p_{label}", pa.float32(), f"calibrated probability of {label}"
                    )
                    for label in labels
                ),
                _field("level_dbfs", pa.float32(), "RMS level of the segment", "dBFS"),
                _field(
                    "arousal",
                    pa.float32(),
                    "0 (calm) to 1 (aroused); null if the model does not estimate it",
                ),
                _field(
                    "valence",
                    pa.float32(),
                    "0 (unpleasant) to 1 (pleasant); null if the model does not "
                    "estimate it",
                ),
                _field(
                    "dominance",
                    pa.float32(),
                    "0 (submissive) to 1 (dominant); null if the model does not "
                    "estimate it",
                ),
            ],
            metadata,
        ),
    }
