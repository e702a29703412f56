-- One row of figures for each recording of some parts; calls.py defines the terms.
--
-- In:  _recordings, _speech, _segments   the rows of the selected recordings
--      selected                          when each recording began
--      $$turns                           turns.sql, over _speech
--      $$role, $$distress, ...           whose emotions, and sums over the labels,
--                                        which differ between models
--      $$onset, ...                      the constants of calls.py
-- Out: _calls, _quarters, _episodes

-- Who speaks when.
CREATE OR REPLACE TEMP TABLE _timing AS
WITH $turns
SELECT
    recording_id AS timed_id,
    min(start_s) AS first_s,
    max(end_s) AS last_s,
    max(pause_s) AS longest_pause_s,
    count(*) FILTER (pause_s >= $hold_s) AS pause_holds,
    coalesce(sum(pause_s) FILTER (pause_s >= $hold_s), 0) AS pause_hold_s,
    count(*) FILTER (is_non_talk) AS pause_non_talks,
    coalesce(sum(pause_s) FILTER (is_non_talk), 0) AS pause_non_talk_s,
    coalesce(max(pause_s) FILTER (is_non_talk), 0) AS longest_pause_non_talk_s,
    count(*) FILTER (is_turn) AS turns,
    count(*) FILTER (is_turn AND role = 'agent') AS agent_turns,
    count(*) FILTER (is_turn AND role = 'customer') AS customer_turns,
    count(*) FILTER (is_backchannel) AS backchannels,
    count(*) FILTER (is_backchannel AND role = 'agent') AS agent_backchannels,
    count(*) FILTER (is_backchannel AND role = 'customer') AS customer_backchannels,
    count(*) FILTER (is_interruption) AS interruptions,
    count(*) FILTER (is_interruption AND role = 'agent') AS agent_interruptions,
    count(*) FILTER (is_interruption AND role = 'customer') AS customer_interruptions,
    sum(overlap_s) FILTER (is_interruption) AS interruption_s,
    sum(overlap_s) FILTER (is_interruption AND role = 'agent') AS agent_interruption_s,
    sum(overlap_s) FILTER (is_interruption AND role = 'customer')
        AS customer_interruption_s,
    count(*) FILTER (is_attempt) AS attempts,
    count(*) FILTER (is_attempt AND role = 'agent') AS agent_attempts,
    count(*) FILTER (is_attempt AND role = 'customer') AS customer_attempts,
    sum(overlap_s) FILTER (is_attempt) AS attempt_s,
    sum(overlap_s) FILTER (is_attempt AND role = 'agent') AS agent_attempt_s,
    sum(overlap_s) FILTER (is_attempt AND role = 'customer') AS customer_attempt_s,
    count(*) FILTER (is_response) AS responses,
    count(*) FILTER (is_response AND role = 'agent') AS agent_responses,
    count(*) FILTER (is_response AND role = 'customer') AS customer_responses,
    count(*) FILTER (is_response AND offset_s > $slow_s) AS slow_responses,
    count(*) FILTER (is_response AND offset_s > $slow_s AND role = 'agent')
        AS agent_slow_responses,
    count(*) FILTER (is_response AND offset_s > $slow_s AND role = 'customer')
        AS customer_slow_responses,
    median(offset_s) FILTER (is_response) AS response_latency_s,
    median(offset_s) FILTER (is_response AND role = 'agent') AS agent_latency_s,
    median(offset_s) FILTER (is_response AND role = 'customer') AS customer_latency_s
FROM (
    -- Before the first speech only holds count: the call may not have been connected.
    SELECT *, pause_s >= $hold_s OR (pause_s > $pause_s AND NOT is_first) AS is_non_talk
    FROM turns
)
GROUP BY recording_id;

-- The segments of one role, with length d and quarter (0 to 3) of the conversation.
CREATE OR REPLACE TEMP VIEW _scored AS
SELECT
    s.*,
    end_s - start_s AS d,
    $distress AS distress, $angry AS angry, $fearful AS fearful,
    least(
        3, floor(((start_s + end_s) / 2 - first_s) / (last_s - first_s) * 4)
    )::INT AS quarter
FROM _segments s
JOIN _timing t ON t.timed_id = s.recording_id
WHERE role = $role OR (role IS NULL AND $role = 'customer');

-- Emotions in seconds: probabilities weighted by the length of their segments.
CREATE OR REPLACE TEMP TABLE _sums AS
SELECT
    recording_id,
    quarter,
    sum(d) AS scored_s,
    -- A model without labels does not abstain: it has no confidence either.
    CASE WHEN count(confidence) > 0 THEN
        coalesce(sum(d) FILTER (label IS NULL), 0)
    END AS abstained_s,
    $probabilities_s
    -- As predicted by the model (0 to 1); NULL if it does not predict any.
    sum(d * (2 * arousal - 1)) AS predicted_arousal,
    sum(d * (2 * valence - 1)) AS predicted_valence,
    max(greatest(distress, angry, fearful)) AS hottest,
    -- The segment of highest weight among those that are not faint; of ties, the first.
    max({
        'loud': distress >= $faint, 'weight': d * distress, 'before': -start_s,
        'distress': distress
    }) AS heaviest
FROM _scored
GROUP BY recording_id, quarter;

CREATE OR REPLACE TEMP VIEW _by_quarter AS
SELECT
    *,
    $distress_s AS distress_s, $angry_s AS angry_s, $fearful_s AS fearful_s,
    coalesce(predicted_valence, $valence_s) AS valence_s,
    coalesce(predicted_arousal, $arousal_s) AS arousal_s
FROM _sums;

-- A call with little scored speech is too short to be divided into quarters.
CREATE OR REPLACE TEMP VIEW _quarters AS
SELECT quarter, sum(COLUMNS('(?s)^.*_s$$')) AS '\0'
FROM _by_quarter
SEMI JOIN (
    SELECT recording_id
    FROM _by_quarter
    GROUP BY recording_id
    HAVING sum(scored_s) >= 4 * $min_quarter_s
) USING (recording_id)
GROUP BY quarter;

CREATE OR REPLACE TEMP TABLE _emotion AS
SELECT
    recording_id,
    sum(COLUMNS('(?s)^.*_s$$')) AS '\0',
    sum(COLUMNS('^(scored|distress|valence)_s$$')) FILTER (quarter = 0) AS 'q1_\0',
    sum(COLUMNS('^(scored|distress|valence)_s$$')) FILTER (quarter = 1) AS 'q2_\0',
    sum(COLUMNS('^(scored|distress|valence)_s$$')) FILTER (quarter = 2) AS 'q3_\0',
    sum(COLUMNS('^(scored|distress|valence)_s$$')) FILTER (quarter = 3) AS 'q4_\0',
    max(heaviest) AS heaviest
FROM _by_quarter
GROUP BY recording_id;

CREATE OR REPLACE TEMP MACRO of_emotion(emotion, of) AS
    CASE emotion
        WHEN 'distress' THEN of.distress WHEN 'angry' THEN of.angry ELSE of.fearful
    END;

-- Episodes of each emotion: hysteresis on the probability, smoothed over each segment
-- and its two neighbours. Blocks between long gaps are processed independently.
CREATE OR REPLACE TEMP TABLE _episodes AS
WITH blocks AS (
    SELECT
        recording_id, channel, role, start_s, end_s, d, distress, angry, fearful,
        sum(after_gap::INT) OVER (
            PARTITION BY recording_id, channel ORDER BY start_s
        ) AS block
    FROM (
        SELECT
            *,
            coalesce(
                start_s - lag(end_s) OVER (
                    PARTITION BY recording_id, channel ORDER BY start_s
                ) >= $episode_gap_s,
                false
            ) AS after_gap
        FROM _scored
        -- A mean reaches the threshold only if one of its terms does: skip other calls,
        -- which are the majority.
        SEMI JOIN (
            SELECT recording_id FROM _by_quarter WHERE hottest >= $onset
        ) USING (recording_id)
    )
),
smooth AS (
    SELECT
        recording_id, channel, role, block, start_s, end_s, d,
        {'distress': d * distress, 'angry': d * angry, 'fearful': d * fearful} AS p_s,
        sum(d * COLUMNS('^(distress|angry|fearful)$$')) OVER near
            / sum(d) OVER near AS '\1'
    FROM blocks
    WINDOW near AS (
        PARTITION BY recording_id, channel, block ORDER BY start_s
        ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING
    )
),
-- Between the thresholds, the previous state continues.
inside AS (
    SELECT
        recording_id, channel, role, block, start_s, end_s, d, p_s,
        last_value(CASE
            WHEN COLUMNS('^(distress|angry|fearful)$$') >= $onset THEN 1
            WHEN COLUMNS('^(distress|angry|fearful)$$') < $offset THEN 0
        END IGNORE NULLS) OVER (
            PARTITION BY recording_id, channel, block ORDER BY start_s
        ) AS '\1'
    FROM smooth
),
-- The number of an episode is the count of segments outside any episode before it.
numbered AS (
    SELECT
        recording_id, channel, role, block, start_s, end_s, d, p_s,
        CASE WHEN COLUMNS('^(distress|angry|fearful)$$') = 1 THEN
            sum(CASE WHEN COLUMNS('^(distress|angry|fearful)$$') = 0 THEN 1 ELSE 0 END)
            OVER (PARTITION BY recording_id, channel, block ORDER BY start_s)
        END AS '\1'
    FROM inside
),
within AS (
    SELECT *, of_emotion(emotion, p_s) / d AS p
    FROM numbered UNPIVOT (episode FOR emotion IN (distress, angry, fearful))
),
-- Smoothing extends episodes beyond their ends: trim them to the first and last segment
-- of sufficient probability.
edged AS (
    SELECT
        *,
        min(CASE WHEN p >= $offset THEN start_s END) OVER episode AS first_s,
        max(CASE WHEN p >= $offset THEN end_s END) OVER episode AS last_s
    FROM within
    WINDOW episode AS (PARTITION BY recording_id, channel, block, emotion, episode)
)
SELECT
    recording_id, channel, role, emotion,
    min(start_s) AS start_s, max(end_s) AS end_s, sum(d) AS scored_s,
    max(p) AS peak, sum(of_emotion(emotion, p_s)) / sum(d) AS mean
FROM edged
WHERE start_s >= first_s AND end_s <= last_s
GROUP BY recording_id, channel, role, block, emotion, episode
HAVING sum(d) >= $episode_s;

CREATE OR REPLACE TEMP VIEW _calls AS
SELECT
    r.recording_id, r.path, r.input_root, s.started_at, s.time_from, r.duration_s,
    r.channels, r.status, r.error, r.notes,
    -- Only agents may have been scored, although the report is about customers.
    coalesce(
        r.not_scored,
        CASE WHEN by_role AND e.scored_s IS NULL THEN 'customer_silent' END
    ) AS not_scored,
    CASE WHEN done THEN list_sum(channel_talk_s) END AS talk_s,
    r.agent_talk_s, r.customer_talk_s, r.silence_s, r.overtalk_s,
    CASE WHEN done THEN coalesce(last_s - first_s, 0) END AS conversation_s,
    CASE
        WHEN done THEN greatest(coalesce(longest_pause_s, 0), tail_s)
    END AS longest_silence_s,
    CASE WHEN done THEN coalesce(pause_holds, 0) + tail_is_hold::INT END AS holds,
    CASE WHEN done THEN coalesce(pause_hold_s, 0) + tail_hold_s END AS hold_s,
    CASE
        WHEN done THEN coalesce(pause_non_talks, 0) + tail_is_hold::INT
    END AS non_talks,
    CASE WHEN done THEN coalesce(pause_non_talk_s, 0) + tail_hold_s END AS non_talk_s,
    CASE
        WHEN done THEN greatest(coalesce(longest_pause_non_talk_s, 0), tail_hold_s)
    END AS longest_non_talk_s,
    CASE WHEN apart THEN spoken[1] >= 1 AND spoken[2] < 1 END AS one_sided,
    CASE WHEN two_sided THEN
        coalesce(COLUMNS('^(turns|backchannels|(slow_)?responses)$$'), 0)
    END AS '\0',
    CASE WHEN apart THEN
        coalesce(COLUMNS('^(interruption|attempt)(s|_s)$$'), 0)
    END AS '\0',
    CASE WHEN two_sided THEN t.response_latency_s END AS response_latency_s,
    CASE WHEN by_role THEN
        coalesce(COLUMNS(
            '^(agent|customer)_(turns|backchannels|(slow_)?responses)$$'
        ), 0)
    END AS '\0',
    CASE WHEN apart AND by_role THEN
        coalesce(COLUMNS('^(agent|customer)_(interruption|attempt)(s|_s)$$'), 0)
    END AS '\0',
    CASE WHEN by_role THEN COLUMNS('^(agent|customer)_latency_s$$') END AS '\0',
    CASE WHEN done THEN r.segments END AS segments,
    e.* EXCLUDE (recording_id, heaviest, ends_scored, angry_s, fearful_s),
    CASE
        WHEN ends_scored THEN q4_valence_s / q4_scored_s - q1_valence_s / q1_scored_s
    END AS valence_change,
    CASE WHEN ends_scored THEN
        q1_distress_s / q1_scored_s < $offset AND q4_distress_s / q4_scored_s >= $onset
    END AS escalated,
    CASE WHEN ends_scored THEN
        q1_distress_s / q1_scored_s >= $onset AND q4_distress_s / q4_scored_s < $offset
    END AS recovered,
    CASE
        WHEN e.distress_s IS NOT NULL
        THEN coalesce(p.hot_s, 0) / (scored_s + $rank_s)
    END AS concern,
    CASE
        WHEN longest IS NULL THEN e.heaviest.distress ELSE longest.peak
    END AS peak_distress,
    CASE
        WHEN peak_distress >= $faint
        THEN abs(coalesce(longest.before, e.heaviest.before))
    END AS peak_at_s,
    CASE WHEN e.distress_s IS NOT NULL THEN coalesce(p.episodes, 0) END AS episodes,
    CASE WHEN e.distress_s IS NOT NULL THEN coalesce(p.episode_s, 0) END AS episode_s,
    CASE
        WHEN e.angry_s IS NOT NULL THEN coalesce(p.angry_episodes, 0)
    END AS angry_episodes,
    CASE
        WHEN e.fearful_s IS NOT NULL THEN coalesce(p.fearful_episodes, 0)
    END AS fearful_episodes
FROM (
    SELECT
        *,
        status = 'done' AS done,
        -- Within one channel, most speech of both at once is not found.
        done AND len(channel_talk_s) >= 2 AS apart,
        apart OR (done AND diarization_confidence IS NOT NULL) AS two_sided,
        two_sided AND agent_talk_s IS NOT NULL AS by_role,
        list_reverse_sort(channel_talk_s) AS spoken
    FROM _recordings
) r
JOIN selected s USING (recording_id)
LEFT JOIN _timing t ON t.timed_id = r.recording_id
LEFT JOIN (
    SELECT
        *,
        q1_scored_s >= $min_quarter_s AND q4_scored_s >= $min_quarter_s AS ends_scored
    FROM _emotion
) e ON e.recording_id = r.recording_id
LEFT JOIN (
    SELECT
        recording_id,
        count(*) FILTER (emotion = 'distress') AS episodes,
        coalesce(sum(scored_s) FILTER (emotion = 'distress'), 0) AS episode_s,
        count(*) FILTER (emotion = 'angry') AS angry_episodes,
        count(*) FILTER (emotion = 'fearful') AS fearful_episodes,
        sum(mean * scored_s) FILTER (emotion != 'fearful') AS hot_s,
        -- The episode of most distress; of ties, the first.
        max({'weight': mean * scored_s, 'before': -start_s, 'peak': peak})
            FILTER (emotion = 'distress') AS longest
    FROM _episodes
    GROUP BY recording_id
) p ON p.recording_id = r.recording_id,
LATERAL (
    SELECT
        r.duration_s - coalesce(t.last_s, 0) AS tail_s,
        tail_s >= $hold_s AS tail_is_hold,
        CASE WHEN tail_is_hold THEN tail_s ELSE 0 END AS tail_hold_s
);
