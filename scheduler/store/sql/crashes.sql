-- name: note_message
-- Not synced: what must survive is the end of this process, not that of the server.
INSERT INTO messages_in_hand AS m (digest, queue) VALUES ($1, $2)
ON CONFLICT (digest) DO UPDATE SET notes = m.notes + 1, noted_at = now()
RETURNING notes - 1 AS crashes, set_config('synchronous_commit', 'off', true);

-- name: forget_message
-- With what nobody came back for within a week.
DELETE FROM messages_in_hand
WHERE (digest = $1 OR noted_at < now() - interval '7 days')
  AND set_config('synchronous_commit', 'off', true) = 'off';
