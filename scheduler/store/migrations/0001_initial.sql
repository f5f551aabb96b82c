-- Every row of a tenant carries the tenant's name. Times are instants (timestamptz); a row that
-- still owes something says when to look at it again in sweep_at: there is no outbox table.

CREATE TABLE tenants (
    name        text PRIMARY KEY,
    revision    bigint NOT NULL DEFAULT 0,  -- counts changes of definitions; what caches compare
    paused_at   timestamptz,
    paused_by   text,
    suspended_at timestamptz,             -- no firing starts, nothing of its backlog is offered
    suspend_note text,
    weight      integer NOT NULL DEFAULT 1 CHECK (weight BETWEEN 1 AND 1000),  -- its share of a pool among tenants
    max_jobs    integer CHECK (max_jobs >= 0),  -- this and the next two are quotas; null: none
    max_runs_per_minute integer CHECK (max_runs_per_minute >= 0),
    max_storage_bytes bigint CHECK (max_storage_bytes >= 0),
    storage_bytes bigint NOT NULL DEFAULT 0,  -- of its rows, as last measured
    database    text,                     -- where the DSN of its own database is found; null: it lives here
    broker      text CHECK (broker IS NULL OR database IS NOT NULL),  -- where the URL of a vhost of its own is found
    created_at  timestamptz NOT NULL DEFAULT now()
);

-- Whose rows a role that works for one tenant at a time may see now; null: nobody's.
CREATE FUNCTION current_tenant() RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
AS $$ SELECT nullif(current_setting('app.tenant', true), '') $$;

-- Runs that a tenant with a quota has started in a minute.
CREATE TABLE tenant_starts (
    tenant      text PRIMARY KEY REFERENCES tenants,
    minute      timestamptz NOT NULL,
    runs        integer NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE pools (
    name         text PRIMARY KEY,
    queue_limit  integer NOT NULL DEFAULT 1000 CHECK (queue_limit > 0),
    paused_at    timestamptz,             -- gets no offers
    handlers     text[] NOT NULL DEFAULT '{}',  -- an executor joins only if it has these
    labels       text[] NOT NULL DEFAULT '{}',  -- and these, each key=value
    created_at   timestamptz NOT NULL DEFAULT now()
);
INSERT INTO pools (name) VALUES ('default');

CREATE TABLE jobs (
    id          uuid PRIMARY KEY,
    tenant      text NOT NULL REFERENCES tenants,
    name        text NOT NULL,
    version     integer NOT NULL CHECK (version > 0),
    source      text,
    enabled     boolean NOT NULL DEFAULT true,
    paused_at   timestamptz,
    pause_note  text,
    paused_by   text,                     -- as in audit.actor
    resumed_at  timestamptz,              -- failed runs are counted from here
    deleted_at  timestamptz,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT jobs_name_is_unique UNIQUE (tenant, name)
);

CREATE TABLE job_versions (
    job_id      uuid NOT NULL REFERENCES jobs,
    version     integer NOT NULL,
    tenant      text NOT NULL,
    spec        jsonb NOT NULL,
    applied_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (job_id, version)
);

-- Business calendars. The days of a version are data, holidays included; versions never change.
CREATE TABLE calendars (
    tenant      text NOT NULL REFERENCES tenants,
    name        text NOT NULL,            -- of the definitions file, or the code of a country a trigger names
    version     integer NOT NULL CHECK (version > 0),
    source      text,
    deleted_at  timestamptz,
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, name)
);

CREATE TABLE calendar_versions (
    tenant      text NOT NULL,
    name        text NOT NULL,
    version     integer NOT NULL,
    spec        jsonb NOT NULL,
    data        jsonb NOT NULL,
    last_day    date,                     -- where its data end; null: nowhere
    applied_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, name, version),
    FOREIGN KEY (tenant, name) REFERENCES calendars
);

CREATE TABLE triggers (
    id            uuid PRIMARY KEY,
    tenant        text NOT NULL,
    job_id        uuid NOT NULL REFERENCES jobs,
    job_version   integer NOT NULL,         -- that of jobs: a tick must not read a row of it for each trigger
    key           text NOT NULL,            -- id of the definitions file, or kind plus hash of its text
    kind          text NOT NULL,
    spec          jsonb NOT NULL,
    enabled       boolean NOT NULL DEFAULT true,
    active        boolean NOT NULL DEFAULT true,  -- enabled, not removed, and neither job nor tenant held
    anchor_at     timestamptz NOT NULL,     -- zero of `every`: the time of the first apply
    last_at       timestamptz NOT NULL,     -- every instant up to here is in the ledger
    next_at       timestamptz,              -- null: fires no more
    fired         integer NOT NULL DEFAULT 0,  -- counted against max_fires
    held_until    timestamptz,              -- instants up to here fell into a pause
    held_as       text,                     -- their verdict; null: paused
    tzdata        text,                     -- version of the zone data that computed next_at
    trouble       text,                     -- why it cannot be planned; looked at again at next_at
    removed_at    timestamptz,
    calendar      text GENERATED ALWAYS AS
        (coalesce(spec #>> '{calendar,calendar}', spec #>> '{calendar,country}')) STORED,
    calendar_version integer,               -- the one that next_at was worked out by
    CONSTRAINT triggers_key_is_unique UNIQUE (job_id, key)
);
CREATE INDEX triggers_due ON triggers (next_at) WHERE active AND next_at IS NOT NULL;
CREATE INDEX triggers_of_calendar ON triggers (tenant, calendar) WHERE calendar IS NOT NULL;
CREATE INDEX triggers_in_trouble ON triggers (tenant) WHERE trouble IS NOT NULL;

CREATE INDEX triggers_of_events ON triggers (tenant)
    WHERE kind NOT IN ('cron', 'every', 'at', 'calendar') AND removed_at IS NULL;

-- Endpoints that others send events to; a secret is a reference, read by who verifies.
CREATE TABLE webhooks (
    tenant      text NOT NULL REFERENCES tenants,
    name        text NOT NULL,
    spec        jsonb NOT NULL,
    source      text,
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, name)
);

-- Of all tenants, for who receives requests before anybody knows whose they are, and sees one tenant's rows alone.
CREATE FUNCTION all_webhooks() RETURNS TABLE (tenant text, name text, spec jsonb)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = scheduler, pg_temp AS $$
    SELECT w.tenant, w.name, w.spec FROM webhooks AS w;
$$;
REVOKE EXECUTE ON FUNCTION all_webhooks() FROM PUBLIC;

-- Which tenants have a database of their own, where its DSN is found, and that of their vhost if they have one: for who has
-- to know before it can see them.
CREATE FUNCTION all_databases() RETURNS TABLE (name text, database text, broker text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = scheduler, pg_temp AS $$
    SELECT t.name, t.database, t.broker FROM tenants AS t WHERE t.database IS NOT NULL;
$$;
REVOKE EXECUTE ON FUNCTION all_databases() FROM PUBLIC;

-- What happened outside, and what people asked for: each with one verdict.
CREATE TABLE events (
    id            uuid PRIMARY KEY,
    tenant        text NOT NULL,
    source        text NOT NULL,
    topic         text NOT NULL,
    sender_id     text,                     -- what its sender calls it; null: nothing
    subject       text,
    headers       jsonb,                    -- what its sender said beside the data; null: nothing
    data          jsonb NOT NULL,
    for_triggers  uuid[],                   -- only these may fire for it; null: all whose topic it has
    depth         smallint NOT NULL DEFAULT 0,  -- how many runs one after the other led to it
    occurred_at   timestamptz,              -- as its sender says
    received_at   timestamptz NOT NULL DEFAULT now(),
    verdict       text,                     -- null: not decided yet, the Dispatcher owes it
    reason        text,
    decided_at    timestamptz,
    sweep_at      timestamptz,
    CONSTRAINT events_decided_means_verdict CHECK ((verdict IS NULL) = (decided_at IS NULL)),
    CONSTRAINT events_undecided_are_swept CHECK ((verdict IS NULL) = (sweep_at IS NOT NULL))
) WITH (fillfactor = 80);
CREATE INDEX events_to_sweep ON events (sweep_at) WHERE sweep_at IS NOT NULL;
CREATE INDEX events_of_tenant ON events (tenant, received_at DESC, id DESC);
-- Those that still take up others, by trigger and key.
CREATE INDEX events_gathering ON events (for_triggers, subject) WHERE verdict IS NULL AND source = 'gathered';

-- By what an event is known when it comes again.
CREATE TABLE event_keys (
    tenant      text NOT NULL,
    source      text NOT NULL,
    key         text NOT NULL COLLATE "C",
    event_id    uuid NOT NULL,
    expires_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant, source, key)
) WITH (fillfactor = 90);
CREATE INDEX event_keys_to_expire ON event_keys (expires_at);

-- What is as some trigger waits for it to be, since began_at: it is told once, and again when it was over.
CREATE TABLE conditions (
    tenant      text NOT NULL,
    trigger_id  uuid NOT NULL REFERENCES triggers,
    wanted      jsonb NOT NULL,
    subject     text NOT NULL,              -- which run, executor, pool, machine or database
    began_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (trigger_id, wanted, subject)
);

-- Who decides, and when each was last alive: by it one knows that it is the first, or the last.
CREATE TABLE dispatchers (
    id          uuid PRIMARY KEY,
    joined_at   timestamptz NOT NULL DEFAULT now(),
    seen_at     timestamptz NOT NULL DEFAULT now(),
    stopped_at  timestamptz
) WITH (fillfactor = 50);

-- Triggers that watch a folder: which Watcher does, and from when on its files are news.
CREATE TABLE watches (
    trigger_id    uuid PRIMARY KEY,
    tenant        text NOT NULL,
    basis         text NOT NULL,            -- what it looks at: other words, and it begins anew
    since         timestamptz,              -- files that are older are no news at its first look; null: it rests
    based_at      timestamptz,              -- of its first look; null: it has not looked yet
    owner         uuid,                     -- the Watcher that works it
    host          text,
    holds         integer NOT NULL DEFAULT 0,  -- how often it went from one to another
    leased_until  timestamptz NOT NULL,
    trouble       text                      -- why its folder cannot be looked at; null: it can
) WITH (fillfactor = 50);

-- Each file as it was when it had settled last.
CREATE TABLE watched_files (
    trigger_id  uuid NOT NULL REFERENCES watches ON DELETE CASCADE,
    path        bytea NOT NULL,             -- below the folder
    tenant      text NOT NULL,
    size        bigint NOT NULL,
    mtime_ns    bigint NOT NULL,
    inode       bigint NOT NULL,            -- this and the next: 0, the system does not say
    born_ns     bigint NOT NULL,
    PRIMARY KEY (trigger_id, path)
) WITH (fillfactor = 90);

-- The ledger: exactly one row and one verdict for each planned instant of a trigger. An
-- uninterrupted stretch of merged, misfired or paused instants is one row (fires_at … to_at, count).
CREATE TABLE firings (
    id               uuid PRIMARY KEY,
    tenant           text NOT NULL,
    kind             text NOT NULL,
    trigger_id       uuid,
    event_id         uuid,
    job_id           uuid NOT NULL,
    job_version      integer NOT NULL,
    calendar_version integer,               -- of the trigger's calendar; null: it has none
    fires_at         timestamptz NOT NULL,
    to_at            timestamptz,
    count            integer NOT NULL DEFAULT 1 CHECK (count > 0),
    wall_time        text NOT NULL,         -- what the user's clock showed, without offset; of an event its id
    zone             text NOT NULL,
    tzdata           text,                  -- version of the zone data that computed it; null: no schedule did
    params           jsonb,
    retry_of         uuid,
    traceparent      text,                  -- null: its flow has a trace of its own
    verdict          text,                  -- null: not decided yet, the Dispatcher owes it
    reason           text,
    run_id           uuid,
    blocking_run_id  uuid,
    planned_at       timestamptz NOT NULL DEFAULT now(),
    decided_at       timestamptz,
    sweep_at         timestamptz,
    held_rank        smallint,              -- held by pacing: the rank of its job's priority
    start_until      timestamptz,           -- not decided until later than this, it is misfired
    hold_key         text,                  -- what its trigger debounces or throttles by; null: it does neither
    CONSTRAINT firings_instant_is_unique UNIQUE (trigger_id, fires_at, wall_time),
    CONSTRAINT firings_decided_means_verdict CHECK ((verdict IS NULL) = (decided_at IS NULL)),
    CONSTRAINT firings_undecided_are_swept CHECK ((verdict IS NULL) = (sweep_at IS NOT NULL)),
    CONSTRAINT firings_held_are_undecided CHECK (held_rank IS NULL OR verdict IS NULL),
    CONSTRAINT firings_started_means_run CHECK ((verdict = 'started') <= (run_id IS NOT NULL))
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX firings_event_is_unique ON firings (event_id, job_id, trigger_id) NULLS NOT DISTINCT
    WHERE event_id IS NOT NULL;
CREATE INDEX firings_to_sweep ON firings (sweep_at) WHERE sweep_at IS NOT NULL;
CREATE INDEX firings_held ON firings (held_rank, fires_at, id) WHERE held_rank IS NOT NULL;
CREATE INDEX firings_by_key ON firings (trigger_id, hold_key, fires_at) WHERE hold_key IS NOT NULL;
CREATE INDEX firings_of_job ON firings (job_id, fires_at DESC);
-- A firing that starts never enters it: it has no verdict, then that one.
CREATE INDEX firings_not_started ON firings (tenant, verdict, id) WHERE verdict <> 'started';

-- What Tickers share: one row.
CREATE TABLE ticking (
    the_only     boolean PRIMARY KEY DEFAULT true CHECK (the_only),
    paced_until  timestamptz,               -- the budget for missed firings is spent up to here
    per_minute   integer,                   -- how large it is
    tzdata       text                       -- version of the zone data that computed all triggers; null: several
);
INSERT INTO ticking DEFAULT VALUES;

CREATE TABLE tickers (
    id       uuid PRIMARY KEY,
    tzdata   text NOT NULL,
    seen_at  timestamptz NOT NULL
);

-- When the next run of a job with a rate may start: one that is not here, at once.
CREATE TABLE rates (
    job_id   uuid PRIMARY KEY REFERENCES jobs,
    tenant   text NOT NULL,
    next_at  timestamptz NOT NULL
);

-- Targets of http jobs that did not answer properly; one that is not here has no failures.
CREATE TABLE circuits (
    tenant      text NOT NULL,
    target      text NOT NULL,
    failures    integer NOT NULL,         -- in a row
    opened_at   timestamptz,              -- null: closed, runs may start
    open_until  timestamptz,              -- from then on one run may try
    probe_run   uuid,                     -- the one that tries
    PRIMARY KEY (tenant, target),
    CONSTRAINT circuits_open_has_end CHECK ((opened_at IS NULL) = (open_until IS NULL))
) WITH (fillfactor = 70);

CREATE TABLE flows (
    id          uuid PRIMARY KEY,         -- that of its root run
    tenant      text NOT NULL,
    job_id      uuid NOT NULL,
    firing_id   uuid,                     -- null: a backfill of an instant that no trigger had planned
    started_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE runs (
    id                uuid PRIMARY KEY,
    tenant            text NOT NULL,
    job_id            uuid NOT NULL,
    job_version       integer NOT NULL,
    job_name          text NOT NULL,
    flow_id           uuid NOT NULL,
    firing_id         uuid,                 -- null: released by needs, or a backfill of an instant without a row
    fired_at          timestamptz NOT NULL, -- the instant the flow stands for
    state             text NOT NULL,
    pool              text NOT NULL,
    priority          smallint NOT NULL,
    params            jsonb,
    retry_of          uuid,
    traceparent       text,                 -- of the firing of its flow
    -- needs
    needs_open        integer NOT NULL DEFAULT 0,
    needs_met         integer NOT NULL DEFAULT 0,
    needs_unbound     integer NOT NULL DEFAULT 0,  -- upstream runs that a later flow has to bring
    needs_any         boolean NOT NULL DEFAULT false,
    has_downstream    boolean NOT NULL DEFAULT false,  -- its end owes a DAG step, or an event that a trigger waits for
    backfill_id       uuid,                 -- the root of a flow that a backfill started
    turn              text,                 -- null: overlap makes no run of the job wait for another
    release_at        timestamptz,          -- the latest delay of a met need
    limit_key         text,                 -- what it shares a limit with others by; null: no limit holds it
    limit_most        integer,              -- so many with this key may be queued or running
    unique_key        text,                 -- what shortly after it is a duplicate
    -- the attempt in hand: number, fence, lease
    attempt           integer NOT NULL DEFAULT 1,
    losses            integer NOT NULL DEFAULT 0,
    snoozes           integer NOT NULL DEFAULT 0,
    intent            integer NOT NULL DEFAULT 0,  -- how often an offer of it was published
    lease_token       uuid,
    owner             uuid,                 -- claim id
    executor          text,
    boot_id           uuid,
    lease_until       timestamptz,
    cancel_reason     text,
    cancel_at         timestamptz,
    cancel_at_once    boolean NOT NULL DEFAULT false,  -- without grace
    -- life
    created_at        timestamptz NOT NULL DEFAULT now(),
    ready_at          timestamptz,
    queued_at         timestamptz,
    claimed_at        timestamptz,
    finished_at       timestamptz,
    queue_until       timestamptz,          -- timeout.queue: fails when not started by then
    outcome           text,                 -- of the last attempt
    reason            text,
    result            jsonb,
    discarded_at      timestamptz,          -- a dead run somebody has dealt with
    retried_by        uuid,
    sweep_at          timestamptz,          -- by state: wake, offer again, lease end, DAG step owed
    CONSTRAINT runs_state_is_known CHECK (state IN ('waiting', 'ready', 'queued', 'running', 'backing_off',
        'succeeded', 'failed', 'cancelled', 'skipped')),
    CONSTRAINT runs_turn_is_known CHECK (turn IN ('takes', 'awaits')),
    CONSTRAINT runs_limit_has_key CHECK (limit_most IS NULL OR (limit_most > 0 AND limit_key IS NOT NULL)),
    CONSTRAINT runs_final_means_finished CHECK
        ((state IN ('succeeded', 'failed', 'cancelled', 'skipped')) = (finished_at IS NOT NULL)),
    CONSTRAINT runs_running_means_leased CHECK
        ((state = 'running') <= (owner IS NOT NULL AND lease_until IS NOT NULL AND lease_token IS NOT NULL))
) WITH (fillfactor = 70);
CREATE INDEX runs_backlog ON runs (pool, tenant, priority, ready_at, id) WHERE state = 'ready' AND limit_key IS NULL;
CREATE INDEX runs_limited ON runs (pool, tenant, limit_key, priority, ready_at, id)
    WHERE state = 'ready' AND limit_key IS NOT NULL;
CREATE INDEX runs_unique ON runs (job_id, unique_key, created_at) WHERE unique_key IS NOT NULL;
CREATE INDEX runs_holding ON runs (tenant, limit_key) WHERE state IN ('queued', 'running') AND limit_key IS NOT NULL;
CREATE INDEX runs_offered ON runs (pool) WHERE state = 'queued';
CREATE INDEX runs_to_sweep ON runs (sweep_at) WHERE sweep_at IS NOT NULL;
CREATE INDEX runs_to_wake ON runs (sweep_at) WHERE state IN ('waiting', 'backing_off') AND sweep_at IS NOT NULL;
CREATE INDEX runs_active_of_job ON runs (job_id) WHERE state IN ('ready', 'queued', 'running', 'backing_off');
CREATE INDEX runs_in_line ON runs (job_id, id) WHERE state = 'waiting' AND turn = 'awaits';
CREATE INDEX runs_of_backfill ON runs (backfill_id) WHERE backfill_id IS NOT NULL AND finished_at IS NULL;
CREATE UNIQUE INDEX runs_one_joinable ON runs (job_id) WHERE state = 'waiting' AND needs_unbound > 0;
CREATE INDEX runs_of_flow ON runs (flow_id) WHERE flow_id <> id;  -- the root is found by its id
CREATE INDEX runs_of_job ON runs (job_id, id DESC);
-- A run that waits for no other one and succeeds never enters it.
CREATE INDEX runs_in_rare_states ON runs (state, tenant, id) WHERE state IN ('waiting', 'failed', 'cancelled', 'skipped');
CREATE INDEX runs_dead ON runs (tenant, id) WHERE state = 'failed' AND discarded_at IS NULL AND retried_by IS NULL;

-- One row for each need of a run. Decided once: open → met or unmet.
CREATE TABLE run_edges (
    run_id           uuid NOT NULL,
    upstream_job_id  uuid NOT NULL,
    tenant           text NOT NULL,
    upstream_run_id  uuid,                  -- null: brought by a later flow
    condition        text NOT NULL,
    delay            interval NOT NULL DEFAULT '0',
    state            text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'met', 'unmet')),
    PRIMARY KEY (run_id, upstream_job_id)
);
CREATE INDEX run_edges_of_upstream ON run_edges (upstream_run_id);

-- Flows that found a waiting run of one of their jobs and joined it instead of making their own.
CREATE TABLE flow_joins (
    flow_id    uuid NOT NULL,
    run_id     uuid NOT NULL,
    tenant     text NOT NULL,
    joined_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (flow_id, run_id)
);

-- Instants of the past that somebody has asked to run: how many at once, and how far it has come.
CREATE TABLE backfills (
    id            uuid PRIMARY KEY,
    tenant        text NOT NULL,
    job_id        uuid NOT NULL,
    from_at       timestamptz NOT NULL,
    to_at         timestamptz NOT NULL,
    again         boolean NOT NULL,         -- also what did start
    max_parallel  integer NOT NULL CHECK (max_parallel > 0),
    priority      smallint NOT NULL,
    instants      integer NOT NULL CHECK (instants > 0),
    released      integer NOT NULL DEFAULT 0,  -- the cursor: how many of them have a run
    requested_at  timestamptz NOT NULL DEFAULT now(),
    cancelled_at  timestamptz,              -- nothing more is released
    finished_at   timestamptz,
    reason        text,
    sweep_at      timestamptz,
    CONSTRAINT backfills_release_what_is_there CHECK (released BETWEEN 0 AND instants),
    CONSTRAINT backfills_open_are_swept CHECK ((finished_at IS NULL) = (sweep_at IS NOT NULL))
);
CREATE INDEX backfills_to_sweep ON backfills (sweep_at) WHERE sweep_at IS NOT NULL;

-- The ledger keeps its verdict: an instant has its run here, beside the row that it lies in, if there is one.
CREATE TABLE backfill_instants (
    backfill_id  uuid NOT NULL,
    position     integer NOT NULL,
    tenant       text NOT NULL,
    trigger_id   uuid NOT NULL,
    fires_at     timestamptz NOT NULL,
    wall_time    text NOT NULL,
    zone         text NOT NULL,
    firing_id    uuid,
    job_version  integer NOT NULL,
    in_force     boolean NOT NULL,          -- false: no version was; it is the oldest
    params       jsonb,
    run_id       uuid,
    PRIMARY KEY (backfill_id, position),
    CONSTRAINT backfill_instants_are_unique UNIQUE (trigger_id, fires_at, wall_time, backfill_id)
);
CREATE INDEX backfill_instants_of_firing ON backfill_instants (firing_id) WHERE firing_id IS NOT NULL;

-- Written when an attempt ends; the one in hand is in runs.
CREATE TABLE attempts (
    run_id        uuid NOT NULL,
    attempt       integer NOT NULL,
    tenant        text NOT NULL,
    claim_id      uuid,
    executor      text,
    outcome       text NOT NULL,
    reason        text,
    exit_code     integer,
    signal        integer,
    http_status   integer,
    exception     text,
    output_head   text,
    output_tail   text,
    output_bytes  bigint NOT NULL DEFAULT 0,
    started_at    timestamptz,
    finished_at   timestamptz NOT NULL,
    elapsed_s     double precision,
    cpu_s         double precision,         -- this and the next: null where no process of its own was seen to end
    peak_memory_bytes bigint,
    read_bytes    bigint,
    written_bytes bigint,
    limited_by    text,                     -- cgroup2, cgroup1, sampling; null: it had no resource limits
    metrics       jsonb,                    -- numbers by name that the job's code gave; null: none
    progress      jsonb,                    -- how far it said that it was, the last time; null: it never did
    recorded_at   timestamptz NOT NULL DEFAULT now(),
    late_end      jsonb,                    -- what the executor said after the attempt was given up
    PRIMARY KEY (run_id, attempt)
);

-- What running attempts say of themselves, for who looks now. Lost in a crash of the database, and told again.
CREATE UNLOGGED TABLE live_progress (
    run_id        uuid PRIMARY KEY,
    tenant        text NOT NULL,
    attempt       integer NOT NULL,
    seq           bigint NOT NULL,
    done          double precision NOT NULL,
    total         double precision,
    message       text NOT NULL,
    told_at       timestamptz NOT NULL DEFAULT now(),
    fed_at        timestamptz NOT NULL DEFAULT now(),  -- when the feed had it last
    is_fed        boolean NOT NULL DEFAULT true        -- the feed has had this
) WITH (fillfactor = 70);

-- Pieces of their output, while somebody follows; each goes after a minute.
CREATE UNLOGGED TABLE live_output (
    run_id        uuid NOT NULL,
    attempt       integer NOT NULL,
    starts_at     bigint NOT NULL,          -- the place of its first byte in all that the attempt wrote
    ends_at       bigint NOT NULL,
    tenant        text NOT NULL,
    lease_token   uuid NOT NULL,
    text          text NOT NULL,
    told_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (run_id, attempt, starts_at)
);

-- Ends of runs this database does not know (restored from a backup, say): kept for people to look at.
CREATE TABLE orphan_ends (
    run_id       uuid NOT NULL,
    attempt      integer NOT NULL,
    tenant       text NOT NULL,
    body         jsonb NOT NULL,
    received_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (run_id, attempt)
);

CREATE TABLE executors (
    boot_id      uuid PRIMARY KEY,
    name         text NOT NULL,
    pool         text NOT NULL,
    slots        integer NOT NULL,
    busy         integer NOT NULL,
    handlers     text[] NOT NULL,
    labels       text[] NOT NULL DEFAULT '{}',  -- each key=value
    host         text NOT NULL,
    pid          integer NOT NULL,
    version      text NOT NULL,
    cpu          double precision,          -- what its attempts may demand together; null: it does not say
    memory_bytes bigint,
    disk_bytes   bigint,
    sandboxes    boolean NOT NULL DEFAULT false,  -- it can run isolation: sandbox
    draining     boolean NOT NULL DEFAULT false,  -- it takes nothing new, says it itself
    drain_at     timestamptz,             -- since when somebody wants it to take nothing new
    held         text,                    -- why it is to take nothing new, as of its last heartbeat; null: it may
    started_at   timestamptz NOT NULL DEFAULT now(),
    seen_at      timestamptz NOT NULL DEFAULT now(),
    stopped_at   timestamptz
);
CREATE INDEX executors_alive ON executors (pool) WHERE stopped_at IS NULL;

-- How far each Recorder has read the heartbeats: no lease ends before all of them are past it.
CREATE TABLE recorders (
    id            uuid PRIMARY KEY,
    read_through  timestamptz NOT NULL,
    seen_at       timestamptz NOT NULL,
    stopped_at    timestamptz               -- went in order; what it held unread is still on its way to the others
);

-- What happened, for readers outside: facts of one kind that one statement wrote, compact. A reader takes
-- rows below the oldest transaction that is still open, in this order: none can come before them any more.
CREATE TABLE feed (
    xid      bigint NOT NULL DEFAULT (pg_current_xact_id()::text::bigint),
    n        bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    tenant   text NOT NULL,
    fact     text NOT NULL,               -- run.succeeded, firing.misfired: what the routing key says
    at       timestamptz NOT NULL DEFAULT now(),
    ids      uuid[] NOT NULL,             -- of the runs or firings
    job_ids  uuid[] NOT NULL,
    attempts integer[],                   -- where a run may go on to another; null: its last
    PRIMARY KEY (xid, n)
);
ALTER TABLE feed ALTER ids SET STORAGE EXTERNAL, ALTER job_ids SET STORAGE EXTERNAL;  -- ids cannot be compressed

-- What publishers of the feed share: one row.
CREATE TABLE feeding (
    the_only    boolean PRIMARY KEY DEFAULT true CHECK (the_only),
    xid         bigint NOT NULL DEFAULT 0,  -- everything up to here is published
    n           bigint NOT NULL DEFAULT 0,
    place       integer NOT NULL DEFAULT 0,
    pruned_xid  bigint NOT NULL DEFAULT 0,  -- rows up to here are gone
    pruned_n    bigint NOT NULL DEFAULT 0
);
INSERT INTO feeding DEFAULT VALUES;

-- Why an executor may take nothing new of its pool; null when it may.
CREATE FUNCTION executor_hold(wished_at timestamptz, wanted_pool text, has text[]) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN wished_at IS NOT NULL THEN 'somebody drains it' ELSE (
        SELECT 'pool ' || wanted_pool || ' demands ' || string_agg(word, ', ' ORDER BY word) || ', which it has not'
        FROM pools, LATERAL (SELECT 'handler ' || h AS word, h AS what FROM unnest(handlers) AS h
                             UNION ALL SELECT 'label ' || l, l FROM unnest(labels) AS l) AS demanded
        WHERE name = wanted_pool AND NOT what = ANY (has)) END
$$;

-- Why no executor can take a run of that definition, in words; null when one can. An offer lands on any
-- executor of the pool, so all that are alive have to have the handler, the labels and the sandbox; one that is too
-- small for what it demands hands it back, so one that is large enough will do. silent_s: after so long without a
-- heartbeat one is not alive.
CREATE FUNCTION missing_executor(wanted_pool text, spec jsonb, silent_s double precision) RETURNS text
LANGUAGE sql STABLE AS $$
    WITH alive AS MATERIALIZED (
        SELECT held, held IS NULL AND NOT draining AS may, handlers || labels AS has, sandboxes, cpu, memory_bytes, disk_bytes
        FROM executors
        WHERE pool = wanted_pool AND stopped_at IS NULL AND (held IS NOT NULL OR NOT draining)
          AND seen_at > now() - silent_s * interval '1 second'
    ), demanded AS (
        SELECT 'handler ' || (spec #>> '{run,handler}') AS word, spec #>> '{run,handler}' AS what
        WHERE spec #>> '{run,handler}' IS NOT NULL
        UNION ALL
        SELECT 'label ' || key || '=' || value, key || '=' || value
        FROM jsonb_each_text(coalesce(spec -> 'labels', '{}'))
    ), lacking AS (
        SELECT min(word) FILTER (WHERE NOT EXISTS (SELECT FROM alive WHERE may AND what = ANY (has))) AS by_all,
               min(word) FILTER (WHERE EXISTS (SELECT FROM alive WHERE may AND NOT what = ANY (has))) AS by_some
        FROM demanded
    )
    SELECT CASE WHEN lives = 0 THEN none_has
                WHEN free = 0 THEN 'every live executor of pool ' || wanted_pool || ' is held: ' || why_held
                WHEN by_all IS NOT NULL THEN none_has || ' has ' || by_all
                WHEN by_some IS NOT NULL THEN 'not every live executor of pool ' || wanted_pool || ' has ' || by_some
                WHEN NOT closed THEN none_has || ' can run isolation: sandbox (scheduler doctor says why)'
                WHEN NOT closed_by_all THEN 'not every live executor of pool ' || wanted_pool || ' can run isolation: sandbox'
                WHEN few_cores THEN none_has || ' has ' || cores || ' cores'
                WHEN little_memory THEN none_has || ' has memory of ' || memory
                WHEN little_disk THEN none_has || ' has disk space of ' || disk
                WHEN too_small THEN none_has || ' has both ' || concat_ws(' and ', cores || ' cores', 'memory of ' || memory,
                                                                          'disk space of ' || disk) END
    FROM (SELECT 'no live executor of pool ' || wanted_pool AS none_has,
                 coalesce(spec ->> 'isolation' <> 'sandbox', true) AS open,
                 (spec #>> '{resources,cpu}')::double precision AS cores, spec #>> '{resources,memory}' AS memory,
                 pg_size_bytes(replace(spec #>> '{resources,memory}', 'iB', 'B')) AS bytes,
                 spec #>> '{resources,disk}' AS disk,
                 pg_size_bytes(replace(spec #>> '{resources,disk}', 'iB', 'B')) AS space) AS wanted,
         lacking,
         LATERAL (
             SELECT count(*) AS lives, count(*) FILTER (WHERE may) AS free, min(held) AS why_held,
                    bool_or(open OR sandboxes) FILTER (WHERE may) AS closed,
                    bool_and(open OR sandboxes) FILTER (WHERE may) AS closed_by_all,
                    bool_and(cpu < cores) FILTER (WHERE may) AS few_cores,
                    bool_and(memory_bytes < bytes) FILTER (WHERE may) AS little_memory,
                    bool_and(disk_bytes < space) FILTER (WHERE may) AS little_disk,
                    bool_and(coalesce(cpu < cores, false) OR coalesce(memory_bytes < bytes, false)
                             OR coalesce(disk_bytes < space, false)) FILTER (WHERE may) AS too_small
             FROM alive) AS found
$$;

-- Which class of urgency a run of the backlog is in: that of its priority, and one higher for each
-- five minutes it is ready. 0 is the highest.
CREATE FUNCTION urgency(priority integer, ready_at timestamptz) RETURNS integer
LANGUAGE sql STABLE AS $$
    SELECT greatest(0, priority - floor(extract(epoch FROM now() - ready_at) / 300)::integer)
$$;

-- What each tenant stores: its rows, and its part of what is kept aside of them, without indexes. Of a table
-- with more than so many pages a part is read, and the rest estimated. Who asks sees sizes, not rows.
CREATE FUNCTION stored_bytes(most_pages integer) RETURNS TABLE (tenant text, bytes bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = scheduler, pg_temp AS $$
DECLARE
    found record;
BEGIN
    FOR found IN
        -- Of history there is a table for each day: fewer pages of each will do.
        SELECT c.relname, least(100.0, greatest(0.01, 100.0 * most_pages / CASE WHEN c.relispartition THEN 20 ELSE 1 END
                                                      / greatest(c.relpages, 1)))::real AS percent,
               pg_table_size(c.oid)::float8 / greatest(pg_relation_size(c.oid), 1) AS grown
        FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'tenant' AND NOT a.attisdropped
        WHERE c.relnamespace = 'scheduler'::regnamespace AND c.relkind = 'r' AND pg_relation_size(c.oid) > 0
    LOOP
        RETURN QUERY EXECUTE format(
            'SELECT t.tenant, (sum(pg_column_size(t.*)) * %s * 100 / %s)::bigint FROM %I AS t TABLESAMPLE SYSTEM (%s) '
            'GROUP BY t.tenant', found.grown, found.percent, found.relname, found.percent);
    END LOOP;
END
$$;
REVOKE EXECUTE ON FUNCTION stored_bytes(integer) FROM PUBLIC;

-- Messages that came again and are in hand alone at this moment, or were when their reader ended.
CREATE TABLE messages_in_hand (
    digest    bytea PRIMARY KEY,
    queue     text NOT NULL,
    notes     integer NOT NULL DEFAULT 1,
    noted_at  timestamptz NOT NULL DEFAULT now()
);

-- Keys of the HTTP interface. Of a key only its SHA-256 is kept.
CREATE TABLE api_keys (
    id            uuid PRIMARY KEY,
    tenant        text NOT NULL,
    name          text NOT NULL,
    role          text NOT NULL,
    digest        bytea NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    expires_at    timestamptz,
    revoked_at    timestamptz,
    last_used_at  timestamptz,              -- to the minute
    CONSTRAINT api_keys_name_is_unique UNIQUE (tenant, name),
    CONSTRAINT api_keys_digest_is_unique UNIQUE (digest),
    CONSTRAINT api_keys_digest_is_one CHECK (length(digest) = 32),
    CONSTRAINT api_keys_role_is_known CHECK (role IN ('viewer', 'operator', 'author', 'admin'))
) WITH (fillfactor = 80);

-- Whose key it is, before anybody knows of which tenant: who asks has no right to the table itself.
CREATE FUNCTION use_api_key(wanted bytea) RETURNS TABLE (id uuid, tenant text, name text, role text)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = scheduler, pg_temp AS $$
    UPDATE api_keys AS k SET last_used_at = now()
    WHERE k.digest = wanted AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())
      AND (k.last_used_at IS NULL OR k.last_used_at < now() - interval '1 minute');
    SELECT k.id, k.tenant, k.name, k.role FROM api_keys AS k
    WHERE k.digest = wanted AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now());
$$;
REVOKE EXECUTE ON FUNCTION use_api_key(bytea) FROM PUBLIC;

-- Tokens of the issuer that are refused, whatever their tenant: one by its id (jti), or those of a subject (sub) that
-- were issued until then.
CREATE TABLE revoked_tokens (
    kind        text NOT NULL CHECK (kind IN ('id', 'subject')),
    value       text NOT NULL,
    revoked_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (kind, value)
);

-- A uuid that begins with the milliseconds of now, as those do that programs make (version 7): for rows that
-- several machines write and the database's clock puts in order.
CREATE FUNCTION uuid_by_time() RETURNS uuid LANGUAGE sql VOLATILE PARALLEL SAFE
AS $$
    SELECT encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid()) PLACING
        substring(int8send((extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3) FROM 1 FOR 6), 52, 1), 53, 1),
        'hex')::uuid
$$;

-- Who did what, written with what they did; nobody may change a row, or delete one before its time: see forget_audit.
-- The tenant may be gone.
CREATE TABLE audit (
    id          uuid PRIMARY KEY DEFAULT uuid_by_time(),
    tenant      text NOT NULL,
    at          timestamptz NOT NULL DEFAULT now(),
    actor       text NOT NULL,
    action      text NOT NULL,
    kind        text NOT NULL,            -- of what it was done to
    name        text NOT NULL,            -- of that, or its id
    before      jsonb,
    after       jsonb,
    result      text NOT NULL DEFAULT 'done' CHECK (result IN ('done', 'denied')),
    count       integer NOT NULL DEFAULT 1 CHECK (count > 0),  -- of denials: so many, of which this is the last
    address     text,
    request_id  text
);
CREATE INDEX audit_of_tenant ON audit (tenant, id DESC);
CREATE INDEX audit_of_object ON audit (tenant, name, id DESC);

-- What requests with an Idempotency-Key were answered with; written with what they changed.
CREATE TABLE idempotency_keys (
    tenant      text NOT NULL,
    key         text NOT NULL,
    digest      bytea NOT NULL,           -- of method, address and body
    status      integer NOT NULL,
    headers     jsonb NOT NULL,
    body        bytea NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, key)
);
CREATE INDEX idempotency_keys_to_forget ON idempotency_keys (tenant, created_at);

-- What cursors of lists are signed with; the same for every process.
CREATE TABLE cursor_secret (
    the_only  boolean PRIMARY KEY DEFAULT true CHECK (the_only),
    secret    bytea NOT NULL
);
INSERT INTO cursor_secret (secret) VALUES (uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()));

-- History: what ended and owes nothing, by class (days it is kept, at least) and the day of the run's id. A mover
-- takes it out of runs and attempts once a day; partitions are dropped whole. No foreign key leads into them.
CREATE TABLE past_runs (
    LIKE runs,
    class    smallint NOT NULL,
    edges    jsonb,                         -- its run_edges; null: it needed nothing
    joined   uuid[],                        -- of a root: runs of other flows that its flow joined; null: none
    PRIMARY KEY (id, class)
) PARTITION BY LIST (class);
CREATE INDEX past_runs_of_job ON past_runs (job_id, id DESC);
CREATE INDEX past_runs_ended_otherwise ON past_runs (tenant, state, id) WHERE state <> 'succeeded';

CREATE TABLE past_attempts (
    LIKE attempts,
    class    smallint NOT NULL,
    PRIMARY KEY (run_id, attempt, class)
) PARTITION BY LIST (class);

-- Rows are asked for through the two tables and their policies; of a partition itself nobody but the owner sees any.
DO $$
DECLARE
    class integer;
BEGIN
    FOREACH class IN ARRAY '{7,30,90,365}'::int[] LOOP
        EXECUTE format('CREATE TABLE past_runs_%1$s PARTITION OF past_runs FOR VALUES IN (%1$s) '
                       'PARTITION BY RANGE (id)', class);
        EXECUTE format('CREATE TABLE past_attempts_%1$s PARTITION OF past_attempts FOR VALUES IN (%1$s) '
                       'PARTITION BY RANGE (run_id)', class);
        EXECUTE format('ALTER TABLE past_runs_%s ENABLE ROW LEVEL SECURITY', class);
        EXECUTE format('ALTER TABLE past_attempts_%s ENABLE ROW LEVEL SECURITY', class);
    END LOOP;
END
$$;

-- Their partitions of days.
CREATE TABLE history_days (
    class        smallint NOT NULL,
    day          date NOT NULL,
    generation   integer NOT NULL DEFAULT 1,  -- above 1: runs came after it was dropped
    runs         bigint NOT NULL DEFAULT 0,
    last_id      uuid,                      -- the greatest of its runs
    kept_until   timestamptz NOT NULL DEFAULT '-infinity',
    closed_at    timestamptz,               -- takes nothing more: it is archived, then dropped
    archived_at  timestamptz,
    dropped_at   timestamptz,
    PRIMARY KEY (class, day),
    CONSTRAINT history_days_drop_what_is_closed CHECK (dropped_at IS NULL OR closed_at IS NOT NULL)
) WITH (fillfactor = 70);

-- The daily work on history: one row.
CREATE TABLE retaining (
    the_only     boolean PRIMARY KEY DEFAULT true CHECK (the_only),
    next_at      timestamptz,               -- null: nobody has looked yet
    started_at   timestamptz,
    seen_at      timestamptz,               -- a sign of life of who is at it
    finished_at  timestamptz,               -- of the last one that came to its end
    seconds      double precision,
    done         jsonb NOT NULL DEFAULT '{}',  -- what it moved, archived and removed
    trouble      text                       -- why the last one did not come to its end
) WITH (fillfactor = 50);
INSERT INTO retaining DEFAULT VALUES;

-- The least id of version 7 that can have been made at an instant, and the day that one was made on.
CREATE FUNCTION first_id(at timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT (lpad(to_hex(greatest(0, floor(extract(epoch FROM at) * 1000))::bigint), 12, '0') || repeat('0', 20))::uuid
$$;
CREATE FUNCTION first_id(day date) RETURNS uuid LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT first_id(day::timestamp AT TIME ZONE 'UTC')
$$;
CREATE FUNCTION day_of(id uuid) RETURNS date LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT (to_timestamp(('x' || left(replace(id::text, '-', ''), 12))::bit(48)::bigint / 1000.0) AT TIME ZONE 'UTC')::date
$$;

-- The columns of a table, for what is put together from them.
CREATE FUNCTION columns_of(wanted text) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
    WHERE attrelid = wanted::regclass AND attnum > 0 AND NOT attisdropped
$$;

-- What of these ids is in history alone. Planned anew with them, so that other days are left out.
CREATE FUNCTION only_past(wanted uuid[]) RETURNS uuid[] LANGUAGE sql STABLE AS $$
    SELECT coalesce(array_agg(id), '{}') FROM (SELECT unnest(wanted) EXCEPT SELECT id FROM runs WHERE id = ANY (wanted)) AS f (id)
$$;

-- Runs, wherever they are.
CREATE FUNCTION runs_of(wanted uuid[]) RETURNS SETOF runs LANGUAGE plpgsql STABLE ROWS 50 AS $$
DECLARE
    found bigint;
BEGIN
    RETURN QUERY SELECT * FROM runs WHERE id = ANY (wanted);
    GET DIAGNOSTICS found = ROW_COUNT;
    IF found < cardinality(wanted) THEN
        RETURN QUERY EXECUTE format('SELECT %s FROM past_runs WHERE id = ANY ($1)', columns_of('runs'))
            USING only_past(wanted);
    END IF;
END
$$;

-- Attempts of runs, wherever they are: those of one run are in one place.
CREATE FUNCTION attempts_of(wanted uuid[]) RETURNS SETOF attempts LANGUAGE plpgsql STABLE ROWS 50 AS $$
DECLARE
    past uuid[] := only_past(wanted);
BEGIN
    RETURN QUERY SELECT * FROM attempts WHERE run_id = ANY (wanted);
    IF cardinality(past) > 0 THEN
        RETURN QUERY EXECUTE format('SELECT %s FROM past_attempts WHERE run_id = ANY ($1)', columns_of('attempts'))
            USING past;
    END IF;
END
$$;

-- Needs of runs, wherever they are.
CREATE FUNCTION edges_of(wanted uuid[]) RETURNS SETOF run_edges LANGUAGE plpgsql STABLE ROWS 50 AS $$
DECLARE
    past uuid[] := only_past(wanted);
BEGIN
    RETURN QUERY SELECT * FROM run_edges WHERE run_id = ANY (wanted);
    IF cardinality(past) > 0 THEN
        RETURN QUERY EXECUTE 'SELECT e.* FROM past_runs AS r, jsonb_populate_recordset(null::run_edges, r.edges) AS e '
            'WHERE r.id = ANY ($1)' USING past;
    END IF;
END
$$;

-- A flow that is in history, by the id of its root, and the runs of it that are there. They were made with it.
CREATE FUNCTION past_flow(wanted uuid) RETURNS TABLE (run_id uuid, is_root boolean, joined uuid[])
LANGUAGE plpgsql STABLE ROWS 10 AS $$
BEGIN
    RETURN QUERY EXECUTE 'SELECT id, id = flow_id, joined FROM past_runs '
        'WHERE id = $1 OR (flow_id = $1 AND id BETWEEN $2 AND $3)'
        USING wanted, wanted, first_id(day_of(wanted) + 2);
END
$$;

-- Ids of past runs below `before`, and above `behind` where it is given, newest first. Days are looked through in
-- windows that double, each planned with what it looks for.
CREATE FUNCTION past_page(of_tenant text, of_job uuid, wanted text[], since timestamptz, before uuid, behind uuid, most integer)
RETURNS SETOF uuid LANGUAGE plpgsql STABLE ROWS 100 AS $$
DECLARE
    upper_id uuid;
    lower_id uuid;
    least_id uuid;
    days integer := 1;
    found bigint;
BEGIN
    SELECT least(before, (array_agg(last_id ORDER BY last_id DESC))[1]),
           greatest(behind, first_id(min(day)), first_id(since - interval '1 hour'))
    INTO upper_id, least_id FROM history_days WHERE dropped_at IS NULL AND last_id IS NOT NULL;
    WHILE upper_id > least_id AND most > 0 LOOP
        lower_id := greatest(least_id, first_id(day_of(upper_id) + 1 - days));
        RETURN QUERY EXECUTE 'SELECT id FROM past_runs WHERE tenant = $1 AND id > $2 AND id <= $3 AND id < $4'
            || CASE WHEN of_job IS NULL THEN '' ELSE ' AND job_id = $5' END
            || CASE WHEN wanted IS NULL THEN '' ELSE ' AND state = ANY ($6)' END
            || CASE WHEN since IS NULL THEN '' ELSE ' AND created_at >= $7' END
            || ' ORDER BY id DESC LIMIT $8'
            USING of_tenant, lower_id, upper_id, before, of_job, wanted, since, most;
        GET DIAGNOSTICS found = ROW_COUNT;
        most := most - found;
        upper_id := lower_id;
        days := days * 2;
    END LOOP;
END
$$;

-- The smallest class that is as long as that; what is longer than all is in the longest.
CREATE FUNCTION class_of(span interval) RETURNS smallint LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT CASE WHEN span <= '7 days' THEN 7 WHEN span <= '30 days' THEN 30 WHEN span <= '90 days' THEN 90 ELSE 365 END
$$;

-- Partitions of a class and a day; nothing where they are. Made apart and attached: readers do not wait for it.
CREATE FUNCTION make_history_day(of_class integer, on_day date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = scheduler, pg_temp AS $$
DECLARE
    parent text;
    part text;
BEGIN
    INSERT INTO history_days AS h (class, day) VALUES (of_class, on_day)
    ON CONFLICT (class, day) DO UPDATE
    SET generation = h.generation + 1, runs = 0, last_id = NULL, kept_until = '-infinity', closed_at = NULL,
        archived_at = NULL, dropped_at = NULL
    WHERE h.dropped_at IS NOT NULL;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    FOREACH parent IN ARRAY ARRAY['past_runs', 'past_attempts'] LOOP
        part := format('%s_%s_%s', parent, of_class, to_char(on_day, 'YYYYMMDD'));
        EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS)', part, parent);
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', part);
        EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent || '_' || of_class, part,
                       first_id(on_day), first_id(on_day + 1));
    END LOOP;
END
$$;

-- Drops partitions that are closed and whose time is over.
CREATE FUNCTION drop_history_day(of_class integer, on_day date) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = scheduler, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
    bytes bigint;
    parts text[] := ARRAY[format('past_runs_%s_%s', of_class, to_char(on_day, 'YYYYMMDD')),
                          format('past_attempts_%s_%s', of_class, to_char(on_day, 'YYYYMMDD'))];
BEGIN
    UPDATE history_days SET dropped_at = now()
    WHERE class = of_class AND day = on_day AND closed_at IS NOT NULL AND dropped_at IS NULL AND kept_until <= now();
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    SELECT sum(pg_total_relation_size(part::regclass)) INTO bytes FROM unnest(parts) AS part;
    EXECUTE format('DROP TABLE %I, %I', VARIADIC parts);
    RETURN bytes;
END
$$;

-- Moves flows behind an id that ended more than at_hand ago, and that nobody has in hand or still counts; defaults: how long
-- runs are kept, by state, where their jobs do not say. One mover at a time; null for last: another one is at it.
CREATE FUNCTION move_flows(behind uuid, most integer, at_hand interval, defaults jsonb)
RETURNS TABLE (looked_at integer, last uuid, runs bigint, attempts bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = scheduler, pg_temp SET enable_hashjoin = on AS $$
#variable_conflict use_column
DECLARE
    picked uuid[];
    locked uuid[];
    blocked uuid[] := '{}';
    going record;
    done bigint;
BEGIN
    looked_at := 0; last := behind; runs := 0; attempts := 0;
    picked := ARRAY(SELECT id FROM flows WHERE id > behind AND id < first_id(now() - at_hand) ORDER BY id LIMIT most);
    looked_at := cardinality(picked);
    IF looked_at = 0 THEN
        RETURN NEXT;
        RETURN;
    END IF;
    IF NOT pg_try_advisory_xact_lock(hashtext('scheduler.history')) THEN
        last := NULL;
        RETURN NEXT;
        RETURN;
    END IF;
    last := picked[looked_at];
    locked := ARRAY(SELECT id FROM runs WHERE id = ANY (picked) FOR UPDATE SKIP LOCKED)
           || ARRAY(SELECT id FROM runs WHERE flow_id = ANY (picked) AND flow_id <> id FOR UPDATE SKIP LOCKED);
    SELECT count(*) INTO done FROM (SELECT FROM runs WHERE id = ANY (picked)
                                    UNION ALL SELECT FROM runs WHERE flow_id = ANY (picked) AND flow_id <> id) AS every;
    IF done <> cardinality(locked) THEN
        blocked := ARRAY(SELECT flow_id FROM runs WHERE id = ANY (picked) AND id <> ALL (locked)
                         UNION SELECT flow_id FROM runs
                         WHERE flow_id = ANY (picked) AND flow_id <> id AND id <> ALL (locked));
    END IF;
    FOR going IN
        WITH held AS MATERIALIZED (
            SELECT id, flow_id, job_id, state, finished_at, created_at, sweep_at, unique_key, backfill_id,
                   state = 'failed' AND discarded_at IS NULL AND retried_by IS NULL AS is_dead
            FROM runs WHERE id = ANY (locked)
        ), of_jobs AS MATERIALIZED (
            SELECT d.job_id, v.spec -> 'retention' AS spans, (v.spec #>> '{unique,within}')::interval AS within,
                   j.deleted_at IS NULL AS lives, newest.ids
            FROM (SELECT DISTINCT job_id FROM held) AS d
            LEFT JOIN jobs AS j ON j.id = d.job_id
            LEFT JOIN job_versions AS v ON v.job_id = j.id AND v.version = j.version
            CROSS JOIN LATERAL (
                SELECT ARRAY(SELECT n.id FROM (SELECT r.id, r.state FROM runs AS r WHERE r.job_id = d.job_id
                                               ORDER BY r.id DESC LIMIT 1000) AS n
                             WHERE v.spec ->> 'pause_after' IS NULL OR n.state IN ('succeeded', 'failed')
                             ORDER BY n.id DESC
                             LIMIT greatest(10, (v.spec ->> 'pause_after')::int)) AS ids) AS newest
        ), judged AS MATERIALIZED (
            SELECT h.id, h.flow_id, h.finished_at, class_of(k.kept) AS class,
                   h.finished_at < now() - at_hand AND h.sweep_at IS NULL AND NOT h.flow_id = ANY (blocked)
                   AND (h.finished_at < now() - k.kept
                        OR NOT (h.is_dead OR h.id >= ANY (j.ids[cardinality(j.ids):])))
                   AND NOT coalesce(j.lives AND h.id = j.ids[1], false)
                   AND (h.unique_key IS NULL OR j.within IS NULL OR h.created_at < now() - j.within)
                   AND (h.backfill_id IS NULL OR NOT EXISTS (SELECT FROM backfills AS b
                                                             WHERE b.id = h.backfill_id AND b.finished_at IS NULL))
                   AND NOT EXISTS (SELECT FROM run_edges AS e JOIN runs AS d ON d.id = e.run_id
                                   WHERE e.upstream_run_id = h.id AND d.finished_at IS NULL)
                   AND NOT EXISTS (SELECT FROM firings AS f
                                   WHERE f.sweep_at IS NOT NULL AND f.retry_of = h.id) AS goes
            FROM held AS h JOIN of_jobs AS j USING (job_id)
            CROSS JOIN LATERAL (SELECT coalesce(j.spans ->> h.state, defaults ->> h.state)::interval AS kept) AS k
        ), free AS (
            SELECT flow_id FROM judged GROUP BY flow_id HAVING bool_and(goes)
        )
        SELECT j.class, day_of(j.id) AS day, array_agg(j.id ORDER BY j.id) AS ids, max(j.id::text)::uuid AS last_id,
               max(j.finished_at) + j.class * interval '1 day' AS kept_until, array_agg(DISTINCT j.flow_id) AS flow_ids
        FROM judged AS j JOIN free USING (flow_id) GROUP BY 1, 2
    LOOP
        PERFORM make_history_day(going.class, going.day);
        UPDATE history_days AS h
        SET runs = h.runs + cardinality(going.ids), kept_until = greatest(h.kept_until, going.kept_until),
            last_id = CASE WHEN h.last_id > going.last_id THEN h.last_id ELSE going.last_id END
        WHERE h.class = going.class AND h.day = going.day AND h.closed_at IS NULL;
        CONTINUE WHEN NOT FOUND;
        EXECUTE format(
            'WITH gone AS (DELETE FROM attempts WHERE run_id = ANY ($1) RETURNING *) '
            'INSERT INTO past_attempts (%1$s, class) SELECT %1$s, $2 FROM gone', columns_of('attempts'))
            USING going.ids, going.class;
        GET DIAGNOSTICS done = ROW_COUNT;
        attempts := attempts + done;
        EXECUTE format(
            'WITH gone AS (DELETE FROM runs WHERE id = ANY ($1) RETURNING *) '
            'INSERT INTO past_runs (%1$s, class, edges, joined) SELECT %1$s, $2, '
            '(SELECT jsonb_agg(to_jsonb(e)) FROM run_edges AS e WHERE e.run_id = gone.id), '
            '(SELECT array_agg(j.run_id) FROM flow_joins AS j WHERE gone.flow_id = gone.id AND j.flow_id = gone.id) '
            'FROM gone', columns_of('runs')) USING going.ids, going.class;
        GET DIAGNOSTICS done = ROW_COUNT;
        runs := runs + done;
        DELETE FROM run_edges WHERE run_id = ANY (going.ids);
        DELETE FROM flow_joins WHERE flow_id = ANY (going.ids);
        DELETE FROM flows WHERE id = ANY (going.ids);
    END LOOP;
    RETURN NEXT;
END
$$;

-- Deletes decided firings behind an id that are older than the span and whose runs are kept no longer. The last row counts;
-- before it, archived: what is gone, by tenant, for whoever writes it down before committing.
CREATE FUNCTION forget_firings(behind uuid, most integer, span interval, archived boolean)
RETURNS TABLE (looked_at integer, last uuid, gone bigint, owner text, id uuid, day date, line text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = scheduler, pg_temp SET enable_hashjoin = on AS $$
DECLARE
    picked uuid[];
    kept uuid[];
BEGIN
    picked := ARRAY(SELECT f.id FROM firings AS f WHERE f.id > behind AND f.id < first_id(now() - span) ORDER BY f.id LIMIT most);
    kept := ARRAY(SELECT r.id FROM runs_of(ARRAY(SELECT f.run_id FROM firings AS f
                                                 WHERE f.id = ANY (picked) AND f.run_id IS NOT NULL)) AS r);
    RETURN QUERY
        WITH deleted AS (
            DELETE FROM firings AS f
            WHERE f.id = ANY (picked) AND f.verdict IS NOT NULL
              AND greatest(f.to_at, f.fires_at, f.decided_at) < now() - span
              AND (f.run_id IS NULL OR f.run_id <> ALL (kept))
            RETURNING f.*
        )
        SELECT NULL::integer, NULL::uuid, NULL::bigint, d.tenant, d.id, (d.fires_at AT TIME ZONE 'UTC')::date, to_jsonb(d)::text
        FROM deleted AS d WHERE archived
        UNION ALL
        SELECT cardinality(picked), picked[cardinality(picked)], count(*), NULL, NULL, NULL, NULL FROM deleted
        ORDER BY 4, 5;
END
$$;

-- Deletes decided events of a tenant, received at an instant or later, that are older than the span and started nothing
-- that the ledger still has; returns what forget_firings does.
CREATE FUNCTION forget_events(of_tenant text, since timestamptz, most integer, span interval, archived boolean)
RETURNS TABLE (looked_at integer, last timestamptz, gone bigint, owner text, id uuid, day date, line text)
LANGUAGE sql SECURITY DEFINER SET search_path = scheduler, pg_temp AS $$
    WITH old AS MATERIALIZED (
        SELECT id, received_at FROM events WHERE tenant = of_tenant AND received_at >= since AND received_at < now() - span
        ORDER BY received_at, id LIMIT most
    ), deleted AS (
        DELETE FROM events AS e
        WHERE e.id = ANY (ARRAY(SELECT id FROM old)) AND e.verdict IS NOT NULL
          AND NOT EXISTS (SELECT FROM firings AS f WHERE f.event_id = e.id)
        RETURNING e.*
    )
    SELECT NULL::integer, NULL::timestamptz, NULL::bigint, d.tenant, d.id, (d.received_at AT TIME ZONE 'UTC')::date,
           to_jsonb(d)::text
    FROM deleted AS d WHERE archived
    UNION ALL
    SELECT count(*)::integer, max(received_at), (SELECT count(*) FROM deleted), NULL, NULL, NULL, NULL FROM old
    ORDER BY 4, 5;
$$;

-- Deletes backfills that finished before the span, and ends of unknown runs.
CREATE FUNCTION forget_backfills(span interval) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = scheduler, pg_temp AS $$
DECLARE
    old uuid[] := ARRAY(SELECT id FROM backfills WHERE finished_at < now() - span ORDER BY id LIMIT 20);
BEGIN
    DELETE FROM backfill_instants WHERE backfill_id = ANY (old);
    DELETE FROM backfills WHERE id = ANY (old);
    DELETE FROM orphan_ends WHERE received_at < now() - span;
    RETURN cardinality(old);
END
$$;
-- Deletes what was written down of triggers before its instant, which is still to come, and is not decided; says of
-- each trigger when the first of it was to be, and how many fires that were.
CREATE FUNCTION take_back_firings(of_triggers uuid[], instant timestamptz)
RETURNS TABLE (of_trigger uuid, first_at timestamptz, fires integer)
LANGUAGE sql SECURITY DEFINER SET search_path = scheduler, pg_temp AS $$
    WITH taken AS (
        DELETE FROM firings WHERE id IN (
            SELECT f.id FROM firings AS f
            WHERE f.trigger_id = ANY (of_triggers) AND f.fires_at > instant AND f.fires_at < instant + interval '1 minute'
              AND (f.verdict IS NULL OR f.verdict IN ('skipped_calendar', 'dst_gap'))
            FOR UPDATE SKIP LOCKED)
        RETURNING trigger_id, fires_at, verdict
    )
    SELECT trigger_id, min(fires_at), (count(*) FILTER (WHERE verdict IS NULL))::int FROM taken GROUP BY trigger_id
$$;

-- Deletes the oldest day (UTC) of the audit log that is older than the span as a whole, and returns its entries as JSON,
-- by tenant; nothing when there is none. What is younger than 30 days nobody can delete by it, whatever they ask for.
CREATE FUNCTION forget_audit(span interval) RETURNS TABLE (day date, tenant text, id uuid, line text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = scheduler, pg_temp AS $$
DECLARE
    oldest date := day_of((SELECT a.id FROM audit AS a ORDER BY a.id LIMIT 1));
BEGIN
    IF oldest + 1 <= ((now() - greatest(span, interval '30 days')) AT TIME ZONE 'UTC')::date THEN
        RETURN QUERY
            WITH gone AS (DELETE FROM audit AS a WHERE a.id < first_id(oldest + 1) RETURNING a.*)
            SELECT oldest, gone.tenant, gone.id, to_jsonb(gone)::text FROM gone ORDER BY gone.tenant, gone.id;
    END IF;
END
$$;

REVOKE EXECUTE ON FUNCTION make_history_day(integer, date), drop_history_day(integer, date),
    move_flows(uuid, integer, interval, jsonb), forget_firings(uuid, integer, interval, boolean),
    take_back_firings(uuid[], timestamptz),
    forget_events(text, timestamptz, integer, interval, boolean), forget_backfills(interval),
    forget_audit(interval) FROM PUBLIC;
