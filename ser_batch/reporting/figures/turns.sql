-- Turn-taking; turns.py defines the terms.
--
-- In:  $$speech        rows of the speech table
--      $$join_s, ...   the constants of turns.py
-- Out: turns          each stretch of speech of one channel, with pause_s (since any
--                     channel spoke), is_backchannel; holder (the channel that has the
--                     floor when it begins), offset_s, overlap_s; is_turn, is_response,
--                     is_interruption, is_attempt
timed AS (
    SELECT
        *,
        round(start_s * 1e6)::BIGINT AS start_us,
        round(end_s * 1e6)::BIGINT AS end_us
    FROM $speech
),
begun AS (
    SELECT
        *,
        coalesce(
            start_us - lag(end_us) OVER channel_in_time >= $join_s * 1e6, true
        ) AS begins
    FROM timed
    WINDOW channel_in_time AS (PARTITION BY recording_id, channel ORDER BY start_us)
),
numbered AS (
    SELECT
        *,
        sum(begins::INT) OVER (
            PARTITION BY recording_id, channel ORDER BY start_us
        ) AS stretch
    FROM begun
),
stretches AS (
    SELECT
        recording_id, channel, any_value(role) AS role,
        min(start_us) AS start_us, max(end_us) AS end_us
    FROM numbered
    GROUP BY recording_id, channel, stretch
),
-- The speech before and after each stretch. If two begin together, the longer one comes
-- first.
near AS (
    SELECT
        *,
        end_us - start_us <= $backchannel_s * 1e6 AS is_short,
        max(end_us) OVER before AS until_us,
        last_value(
            CASE WHEN end_us - start_us > $backchannel_s * 1e6 THEN channel END
            IGNORE NULLS
        ) OVER before AS speaker,
        CASE
            WHEN lead(channel) OVER in_time != channel THEN lead(start_us) OVER in_time
        END AS other_us
    FROM stretches
    WINDOW
        in_time AS (PARTITION BY recording_id ORDER BY start_us, end_us DESC, channel),
        before AS (
            PARTITION BY recording_id ORDER BY start_us, end_us DESC, channel
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        )
),
marked AS (
    SELECT
        *,
        first_value(other_us IGNORE NULLS) OVER after AS resumed_us,
        -- Earlier stretches of this channel have ended, so any that reaches end_us
        -- belongs to another channel.
        is_short AND coalesce(
            until_us >= end_us
            OR (speaker != channel AND resumed_us <= end_us + $resume_s * 1e6),
            false
        ) AS is_backchannel
    FROM near
    WINDOW after AS (
        PARTITION BY recording_id ORDER BY start_us, end_us DESC, channel
        ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING
    )
),
-- The stretch that has reached furthest. Its end (40 bits), start (inverted: the
-- earliest wins) and channel are packed into one number, so that a single running
-- maximum finds all three.
reached AS (
    SELECT
        *,
        max(CASE WHEN NOT is_backchannel THEN
            (end_us::HUGEINT << 48)
            + ((1::BIGINT << 40) - 1 - start_us) * 256
            + 255 - channel
        END) OVER (
            PARTITION BY recording_id ORDER BY start_us, end_us DESC, channel
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS furthest
    FROM marked
),
held AS (
    SELECT
        *,
        255 - (furthest & 255)::INT AS holder,
        (furthest >> 48)::BIGINT AS held_until_us,
        (1::BIGINT << 40) - 1
            - ((furthest >> 8) & ((1::HUGEINT << 40) - 1))::BIGINT AS held_since_us,
        NOT is_backchannel AND holder != channel AS meets_another
    FROM reached
),
turns AS (
    SELECT
        recording_id, channel, role, holder, is_backchannel,
        start_us / 1e6 AS start_s,
        end_us / 1e6 AS end_s,
        until_us IS NULL AS is_first,
        (start_us - coalesce(until_us, 0)) / 1e6 AS pause_s,
        (start_us - held_until_us) / 1e6 AS offset_s,
        (least(end_us, held_until_us) - start_us) / 1e6 AS overlap_s,
        NOT is_backchannel AND (
            holder IS NULL OR (holder != channel AND end_us > held_until_us)
        ) AS is_turn,
        coalesce(is_turn AND offset_s < $hold_s, false) AS is_response,
        coalesce(
            meets_another
            AND overlap_s >= $cut_in_s
            AND start_us - held_since_us >= $spoken_s * 1e6,
            false
        ) AS talks_over,
        talks_over AND is_turn AS is_interruption,
        talks_over AND NOT is_turn AS is_attempt
    FROM held
)
