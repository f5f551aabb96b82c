-- name: record_ticker
INSERT INTO tickers (id, tzdata, seen_at) VALUES ($1, $2, now())
ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at;

-- name: forget_tickers
DELETE FROM tickers WHERE id = $1 OR seen_at < now() - interval '1 hour';

-- name: look_around
-- The newest zone data of a Ticker that is alive, and the data that computed what is stored.
SELECT (SELECT max(tzdata) FROM tickers WHERE seen_at > now() - $1::float8 * interval '1 second') AS newest,
       (SELECT tzdata FROM ticking) AS stored;

-- name: mark
UPDATE ticking SET tzdata = $1;

-- name: mark_done
-- Unless somebody has stored something of other data meanwhile.
UPDATE ticking SET tzdata = $1 WHERE tzdata = $2;

-- name: mark_mixed
UPDATE ticking SET tzdata = NULL WHERE tzdata <> $1;

-- name: lock_outdated
-- Triggers whose next instant other zone data have computed, or that are planned beyond $4, with their last rows of
-- the ledger. One that is locked is being planned.
SELECT t.id, t.tenant, t.last_at, t.next_at, t.trouble, t.anchor_at, t.calendar_version, j.version AS job_version,
       ARRAY(SELECT (f.wall_time, f.fires_at) FROM firings AS f
             WHERE f.trigger_id = t.id AND f.verdict IS DISTINCT FROM 'superseded'
             ORDER BY f.fires_at DESC LIMIT 10) AS ledger
FROM triggers AS t JOIN jobs AS j ON j.id = t.job_id
WHERE t.id > $3 AND (t.next_at IS NOT NULL OR t.last_at > $4) AND t.removed_at IS NULL AND t.tzdata IS DISTINCT FROM $1
ORDER BY t.id LIMIT $2 FOR UPDATE OF t SKIP LOCKED;

-- name: take_back
-- What is written down of these triggers beyond $2: as if it had not been. The cursor goes back to the row before,
-- where that is of the same definition and calendar; else nothing is made up for that the new data place earlier.
UPDATE triggers AS t
SET last_at = least(t.last_at, coalesce(
        (SELECT CASE WHEN f.job_version = t.job_version AND f.calendar_version IS NOT DISTINCT FROM t.calendar_version
                     THEN coalesce(f.to_at, f.fires_at) END
         FROM firings AS f
         WHERE f.trigger_id = t.id AND f.fires_at < b.first_at AND f.verdict IS DISTINCT FROM 'superseded'
         ORDER BY f.fires_at DESC LIMIT 1),
        b.first_at - interval '1 microsecond')),
    next_at = least(t.next_at, b.first_at), fired = t.fired - b.fires
FROM take_back_firings($1::uuid[], $2) AS b WHERE t.id = b.of_trigger
RETURNING t.id;

-- name: recompute
UPDATE triggers AS t SET last_at = new.last_at, next_at = new.next_at, tzdata = $4
FROM unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[]) AS new (id, last_at, next_at) WHERE t.id = new.id;
