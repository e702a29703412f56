-- Who holds the floor, region by region; turns.py says what the words mean.
--
-- In:  $$speech     rows of the speech table
--      $$cut_in_s   a constant of turns.py
-- Out: turns       each region with until_s (how far speech has reached before it), holder
--                  (the channel that got there), pause_s, is_turn, is_interruption, is_response
timed AS (
    SELECT *, round(start_s * 1e6)::BIGINT AS start_us, round(end_s * 1e6)::BIGINT AS end_us FROM $speech
),
regions AS (
    SELECT
        *,
        -- End, length (ms, up to 65 s) and channel in one number: one running maximum instead of several. Of two that end
        -- together, the one that began first has got further.
        max(end_us * 16777216 + least((end_us - start_us) // 1000, 65535) * 256 + (255 - channel)) OVER (
            PARTITION BY recording_id ORDER BY start_us * 256 + channel
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS furthest,
        furthest // 16777216 AS until_us,
        255 - (furthest % 256)::INT AS holder
    FROM timed
),
turns AS (
    SELECT
        *,
        (start_us - coalesce(until_us, 0)) / 1e6 AS pause_s,
        holder IS NULL OR (holder != channel AND end_us > until_us) AS is_turn,
        holder IS NOT NULL AND is_turn AND pause_s <= -$cut_in_s AS is_interruption,
        holder IS NOT NULL AND is_turn AND pause_s >= 0 AS is_response
    FROM regions
)
