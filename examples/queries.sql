-- Queries for DuckDB. Run them from the project folder, after `make demo`:
--     duckdb < examples/queries.sql

-- The emotions of each queue: mean probabilities, weighted by speech time.
SELECT
    queue,
    count(DISTINCT recording_id) AS calls,
    round(sum(end_s - start_s), 1) AS scored_s,
    round(sum(p_angry * (end_s - start_s)) / sum(end_s - start_s), 3) AS angry,
    round(sum(p_happy * (end_s - start_s)) / sum(end_s - start_s), 3) AS happy
FROM 'results/segments/*.parquet'
JOIN 'examples/calls.csv' USING (path)
GROUP BY queue
ORDER BY angry DESC;

-- Where to listen: the customer's ten angriest segments.
SELECT
    path,
    role,
    round(start_s, 1) AS start_s,
    round(end_s, 1) AS end_s,
    label,
    round(p_angry, 2) AS angry
FROM 'results/segments/*.parquet'
WHERE role IS NULL OR role = 'customer'
ORDER BY p_angry DESC
LIMIT 10;

-- Talk, silence and overtalk of each call.
SELECT
    path,
    round(duration_s, 1) AS duration_s,
    round(agent_talk_s / duration_s, 2) AS agent,
    round(customer_talk_s / duration_s, 2) AS customer,
    round(silence_s / duration_s, 2) AS silence,
    round(overtalk_s, 1) AS overtalk_s
FROM 'results/recordings/*.parquet'
WHERE status = 'done'
ORDER BY path;

-- Failed recordings, with the reason.
SELECT path, error
FROM 'results/recordings/*.parquet'
WHERE status = 'failed'
ORDER BY path;
