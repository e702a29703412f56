"""The sides of a recording: one number for a channel, or for a voice within it.

Within reports, the column `channel` of speech and segments contains the number of a
side, so that whatever is measured between channels is measured between voices as well.
"""

CHANNELS = 8
"""No recording has more."""


def sides_sql(rows: str, recordings: str = "") -> str:
    """Return SQL for rows of `speech` or `segments` with the side as `channel`.

    Args:
        rows: the rows, as SQL to select from.
        recordings: if given, speech that could be any voice's is left out of channels
            whose voices were told apart in these recordings.
    """
    side = f"channel + {CHANNELS} * (1 + coalesce(speaker, -1))"
    selected = f"SELECT * REPLACE (({side})::SMALLINT AS channel) FROM {rows}"
    if recordings:
        told_apart = (
            f"SELECT recording_id FROM {recordings} "
            "WHERE diarization_confidence IS NOT NULL"
        )
        selected += f" WHERE speaker IS NOT NULL OR recording_id NOT IN ({told_apart})"
    return f"({selected})"


def channels_sql(rows: str) -> str:
    """Return SQL for rows with sides, with channel and speaker in their place."""
    speaker = f"CASE WHEN channel >= {CHANNELS} THEN channel // {CHANNELS} - 1 END"
    return (
        f"(SELECT * REPLACE ((channel % {CHANNELS})::SMALLINT AS channel), "
        f"({speaker})::SMALLINT AS speaker FROM {rows})"
    )


def channel_of(side: int) -> int:
    """Return the channel of a side."""
    return side % CHANNELS


def speaker_of(side: int) -> int | None:
    """Return the number of a side's voice; None if it is a whole channel.

    >>> speaker_of(1), speaker_of(8), speaker_of(17)
    (None, 0, 1)
    """
    return None if side < CHANNELS else side // CHANNELS - 1


def side_name(side: int) -> str:
    """Return the name of a side whose role is unknown.

    >>> side_name(1), side_name(8)
    ('channel 1', 'speaker 1')
    """
    speaker = speaker_of(side)
    return f"channel {side}" if speaker is None else f"speaker {speaker + 1}"
