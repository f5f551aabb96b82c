"""Wrong files and exactly what is said about them."""

# ruff: noqa: E501, ISC004 - a table of texts reads best with one text a line

from pathlib import Path

import pytest

from scheduler.definitions.explain import _LATER_KEYS
from scheduler.definitions.load import load
from scheduler.errors import DefinitionsError

UNITS = "write for instance 500ms, 10s, 5m, 6h, 2d or 1h30m"
KINDS = "a trigger has one of the keys cron, every, at, calendar, event, webhook, file, ended, system, missing, all_of, any_of"
NAME = "must be a name: a-z, 0-9, _ and -, not beginning with _ or -, at most 63 characters"


def job(text):
    return f"jobs:\n  a:\n    run: {{handler: x}}\n    {text}\n"


def run(text):
    return f"jobs:\n  a:\n    run: {text}\n"


GOLDEN = [
    # the file
    ("version: 2\n", ["1:10: version: 2 is not known; allowed: 1"]),
    ("tenent: x\n", ['1:1: tenent: unknown key; did you mean "tenant"?']),
    ("webhooks: {a: {verify: gitub}, b: {verify: github}, c: {verify: none, secrets: [{env: X}]}}\n", [
        '1:24: webhooks.a.verify: "gitub" is not known; did you mean "github"?',
        "1:35: webhooks.b: verify: github needs secrets: one, or two while it is being changed",
        "1:56: webhooks.c: verify: none looks at no secrets; leave them out, or name a scheme",
    ]),
    ("tenant: My Tenant\n", [f'1:9: tenant: {NAME}, found "My Tenant"']),
    ("jobs: {Bad Name: {run: {handler: x}}}\n", [f"1:8: jobs.Bad Name: {NAME}"]),
    ("jobs: {a: }\n", ["1:8: jobs.a: must be a mapping with the keys of a job, run at least"]),
    ("pools: {p: {queue_limit: 0}}\n", ["1:26: pools.p.queue_limit: must be at least 1, found 0"]),
    ("pools: {p: {limit: 1}}\n", [
        '1:13: pools.p.limit: unknown key; did you mean "queue_limit"?',
    ]),
    ("pools: {p: {labels: {gpu: [1]}}}\n", ["1:27: pools.p.labels.gpu: must be text, found a list"]),
    (job("labels: {gpu: a b}"), [
        '4:19: jobs.a.labels.gpu: must be a label: letters, digits, . _ and -, in the key also /, at most 63 characters'
        ', found "a b"'
    ]),
    (job("labels: [gpu]"), ["4:13: jobs.a.labels: must be a mapping, found a list"]),
    # run
    ("jobs:\n  a: {}\n", ["2:3: jobs.a.run: is missing"]),
    (run("{comand: [x]}"), ['3:11: jobs.a.run.comand: unknown key; did you mean "command"?']),
    (run("{shell: x}"), ["3:11: jobs.a.run.shell: is not supported by this version"]),
    (run("{}"), ["3:10: jobs.a.run: give exactly one of command, script, python, http, publish, handler; found none"]),
    (run('{handler: x, python: "a:b"}'), [
        "3:10: jobs.a.run: give exactly one of command, script, python, http, publish, handler; found python and handler"
    ]),
    (run("{command: x y}"), ['3:20: jobs.a.run.command: must be a list, found "x y"']),
    (
        run('{command: ["a\\0b"]}'),
        ["3:21: jobs.a.run.command[0]: contains NUL or half of a surrogate pair, which is not allowed"],
    ),
    (
        "version: 1\njobs:\n  a: {run: {command: [x]}, triggers: [{cron: ''}]}\n",
        ['3:46: jobs.a.triggers[0].cron: must not be empty, found ""'],
    ),
    (run("{command: []}"), ["3:20: jobs.a.run.command: must have at least 1 entries, found a list"]),
    (run("{command: [sleep, 0.5]}"), ["3:28: jobs.a.run.command[1]: must be text; put 0.5 in quotes"]),
    (run("{python: backup}"), ["3:19: jobs.a.run.python: 'backup' is not module:function, as in backup_jobs:verify"]),
    (run("{script: {file: x, text: y}}"), ["3:19: jobs.a.run.script: give exactly one of file and text"]),
    (run('{http: {url: "ftp://x", meth: GET}}'), [
        "3:23: jobs.a.run.http.url: 'ftp://x' is no address; it starts with http:// or https://",
        '3:34: jobs.a.run.http.meth: unknown key; did you mean "method"?',
    ]),
    # job keys
    (job("priority: hihg"), ['4:15: jobs.a.priority: "hihg" is not known; did you mean "high"?']),
    (job("overlap: queue"), [
        '4:14: jobs.a.overlap: "queue" is not known; did you mean "queue_one"?'
    ]),
    (job("isolation: sandboxed"), [
        '4:16: jobs.a.isolation: "sandboxed" is not known; did you mean "sandbox"?'
    ]),
    (job("resources: {memory: 512, cpu: 0%, pids: 0, network: private}"), [
        "4:25: jobs.a.resources.memory: 512 has no unit; write for instance 512MiB",
        "4:35: jobs.a.resources.cpu: must be at least 1% of a core, and at most 4096 cores",
        "4:45: jobs.a.resources.pids: must be at least 1, found 0",
        '4:57: jobs.a.resources.network: "private" is not known; allowed: none, host',
    ]),
    (job("retention: {succeeded: 400d}"), ["4:28: jobs.a.retention.succeeded: must be at most 365d"]),
    (job("retention: {lost: 7d}"), ["4:17: jobs.a.retention.lost: unknown key; allowed: succeeded, failed, cancelled, skipped"]),
    (run('{http: {url: "https://example.com"}}\n    resources: {cpu: 1}'), [
        "2:3: jobs.a: resources are limits of processes; run: http needs isolation: process"
    ]),
    (job("timeout: 30"), [f"4:14: jobs.a.timeout.hard: 30 has no unit; {UNITS}"]),
    (job("timeout: {soft: 5m, hard: 5m}"), ["4:14: jobs.a.timeout: soft must be shorter than hard"]),
    (job("retry: {attempts: '3', backof: fixed}"), [
        '4:23: jobs.a.retry.attempts: must be a whole number, found "3"',
        '4:28: jobs.a.retry.backof: unknown key; did you mean "backoff"?',
    ]),
    (job("enabled: yes"), ['4:14: jobs.a.enabled: must be true or false, found "yes"']),
    (job("overlap: allow\n    max_running: 2"), [
        "2:3: jobs.a: max_running has no meaning with overlap: allow; leave one of them out"
    ]),
    (job("env: {1A: x, B: }"), [
        "4:11: jobs.a.env.1A: must be the name of an environment variable: letters, digits and _, "
        "not beginning with a digit",
        "4:21: jobs.a.env.B: must be text, not empty",
    ]),
    (job("secrets: {X: {env: A, file: b}}"), ["4:18: jobs.a.secrets.X: give exactly one of env and file"]),
    (job("timezone: Asia/Tokio"), [
        "4:15: jobs.a.timezone: 'Asia/Tokio' is no time zone; allowed are IANA names such as Asia/Tokyo or UTC; "
        "did you mean Asia/Tokyo?"
    ]),
    # triggers
    (job("triggers: [{cron: '61 * * * *'}]"), [
        "4:23: jobs.a.triggers[0].cron: minute field: '61' is out of range; "
        "allowed are 0-59, *, ranges, lists, steps, H"
    ]),
    (job("triggers: [{cron: '0 0 2 * * *'}, {cron: '0 0 30 2 *'}, {cron: '0 0 LW * *'}]"), [
        "4:23: jobs.a.triggers[0].cron: '0 0 2 * * *' has 6 fields; allowed are 5 (minute hour day month weekday), "
        "or 6 with `seconds: true`, seconds first; there is no year",
        "4:46: jobs.a.triggers[1].cron: '0 0 30 2 *' never fires: no day of the calendar matches its day, month and "
        "weekday fields",
        "4:68: jobs.a.triggers[2].cron: day field: 'LW' is not supported in cron; a `calendar` trigger says it, with "
        "holidays too; allowed are 1-31, *, ranges, lists, steps, H, L, ?",
    ]),
    (job("triggers: [{every: 0s}, {every: -5m}, {every: 0 months}]"), [
        "4:24: jobs.a.triggers[0].every: '0s' is shorter than 100ms, the shortest interval",
        f"4:37: jobs.a.triggers[1].every: -5m is negative; {UNITS}",
        "4:51: jobs.a.triggers[2].every: '0 months' is not within 1 to 1200 months",
    ]),
    (job("triggers: [{at: 9999-12-31T00:00:00Z}, {every: 1h, jitter: 25h}]"), [
        "4:21: jobs.a.triggers[0].at[0]: '9999-12-31T00:00:00Z' has a year that is not planned for; "
        "allowed are 2 to 9989",
        "4:64: jobs.a.triggers[1].jitter: must be at most 1d",
    ]),
    (job("triggers: [{every: 1h, starts_at: '2027-01-01 09:00', ends_at: '2026-01-01T00:00:00Z', timezone: Tokyo}]"), [
        "4:68: jobs.a.triggers[0].ends_at: 2026-01-01T00:00:00+00:00 is earlier than starts_at, which is "
        "2027-01-01T09:00:00",
        "4:102: jobs.a.triggers[0].timezone: 'Tokyo' is no time zone; allowed are IANA names such as Asia/Tokyo or "
        "UTC; did you mean Asia/Tokyo?",
    ]),
    (job("dst: {gab: skip, fold: twice}"), [
        '4:11: jobs.a.dst.gab: unknown key; did you mean "gap"?',
        '4:28: jobs.a.dst.fold: "twice" is not known; allowed: first, second, both',
    ]),
    (job("triggers: [{every: 5}, {every: 5s, debounce: 1s}]"), [
        f"4:24: jobs.a.triggers[0].every: 5 has no unit; {UNITS}",
        "4:40: jobs.a.triggers[1].debounce: unknown key; allowed: id, timezone, params, starts_at, ends_at, "
        "max_fires, enabled, catch_up, jitter, dst, every, anchor",
    ]),
    (job("triggers: [{all_of: [{event: {topics: x}}, {webhook: a}, {cron: x}, {event: {topic: a}, id: b}]}]"), [
        "4:34: jobs.a.triggers[0].all_of[0].event.topic: is missing",
        '4:35: jobs.a.triggers[0].all_of[0].event.topics: unknown key; did you mean "topic"?',
        "4:62: jobs.a.triggers[0].all_of[2]: must be a mapping with one of the keys event, webhook, ended, system, "
        "found a mapping",
        "4:73: jobs.a.triggers[0].all_of[3]: a part has its kind and where; id may stand beside the list of parts",
    ]),
    (job("triggers: [{system: {on: run_long}}, {missing: {by: 9am}}, {ended: {job: a, state: died}}]"), [
        "4:25: jobs.a.triggers[0].system: on: run_long needs after, for instance after: 1h",
        """4:57: jobs.a.triggers[1].missing.by: '9am' is no time of day; write for instance "09:00\"""",
        '4:88: jobs.a.triggers[2].ended.state: "died" is not known; did you mean "failed"?',
    ]),
    (job("triggers: [{ended: x}, {crn: x}, {}, {cron: '* * * * *', every: 5s}, daily]"), [
        '4:24: jobs.a.triggers[0].ended: must be a mapping, found "x"',
        '4:29: jobs.a.triggers[1].crn: unknown key; did you mean "cron"?',
        f"4:38: jobs.a.triggers[2]: has no kind; {KINDS}",
        "4:42: jobs.a.triggers[3]: a trigger has one kind, found cron and every; make them entries of their own",
        f'4:74: jobs.a.triggers[4]: must be a mapping: {KINDS}, found "daily"',
    ]),
    (job("triggers: [{at: 2026-02-30T10:00:00Z}, {at: 12:30}]"), [
        "4:21: jobs.a.triggers[0].at[0]: '2026-02-30T10:00:00Z' does not exist: day is out of range for month",
        "4:49: jobs.a.triggers[1].at[0]: '12:30' is no time; write for instance 2026-03-01T02:00:00Z "
        "or 2026-03-01 02:00",
    ]),
    (job("triggers: [{every: 5s}, {every: 5s}]"), [
        "2:3: jobs.a: the same trigger is given twice: every-9c03210c01e2; give each trigger an id of its own"
    ]),
    # references
    (job("needs: [b, {job: a1, wen: failed}]"), [
        "4:13: jobs.a.needs[0].job: there is no job b; allowed: a",
        '4:26: jobs.a.needs[1].wen: unknown key; did you mean "when"?',
    ]),
    (job("needs: [b]") + "  b: {run: {handler: x}, needs: [{job: a}]}\n", [
        "5:34: jobs.b.needs[0]: a cycle of needs, so none of these can start: a → b → a"
    ]),
    (job("") + "chains:\n  c: [a, a]\n", [
        "6:10: chains.c[1]: a cycle of needs, so none of these can start: a → a"
    ]),
    (job("") + "chains: {c: [a, reprot]}\n  report: {run: {handler: x}}\n", [
        "6:3: syntax: not YAML: did not find expected key"
    ]),
    ("chains: {c: [a, repot]}\njobs: {a: {run: {handler: x}}, report: {run: {handler: x}}}\n", [
        '1:17: chains.c[1]: there is no job repot; did you mean "report"?'
    ]),
    # templates
    (run('{command: [echo, "{{ parms.x }}", "{{ run.idd }}", "{{ results.q }}", "{{ x( }}", "{{ event.id }}"]}'), [
        '3:27: jobs.a.run.command[1]: parms.x is not defined; did you mean "params"?',
        '3:44: jobs.a.run.command[2]: run.idd is not defined; did you mean "id"?',
        "3:61: jobs.a.run.command[3]: results.q is not defined; the job needs no other, so there are no results",
        "3:80: jobs.a.run.command[4]: wrong syntax in a template: unexpected '}', expected ')'; for two braces as text write {{ '{{' }}",
        "3:92: jobs.a.run.command[5]: event.id is not defined; there is one in flows that an event starts, and "
        "this can be in none of them",
    ]),
    (job("triggers: [{every: 5s, params: {x: 1}}, {every: 6s}]\n    env: {X: '{{ params.x }}'}"), [
        "5:14: jobs.a.env.X: params.x is not defined; give it in params, or use the filter default"
    ]),
    (job("params: {a: '{{ params.b }}'}"), [
        "4:17: jobs.a.params.a: params.b is not defined; allowed: run, results"
    ]),
    # places in defaults, and several problems of several kinds at once
    ("defaults:\n  retry: {attempts: 0}\njobs:\n  a: {run: {handler: x}}\n  b: {run: {handler: x}}\n", [
        "2:21: defaults.retry.attempts: must be at least 1, found 0"
    ]),
    ("jobs:\n  a: &x {run: {handler: x}, timout: 5m, needs: [zz]}\n  a: {}\nversion: 010\n", [
        "2:6: jobs.a: anchors are not allowed (&x); write the value out",
        '2:29: jobs.a.timout: unknown key; did you mean "timeout"?',
        "2:49: jobs.a.needs[0].job: there is no job zz; allowed: a",
        "3:3: jobs.a: the key is given twice, in line 2 and here in line 3",
        "4:10: version: 010 has a leading zero; put it in quotes if text is meant",
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "lines"), GOLDEN)
def test_a_wrong_file_gets_exactly_these_lines(tmp_path, monkeypatch, text, lines):
    monkeypatch.chdir(tmp_path)
    Path("f.yaml").write_text(text, encoding="utf-8")

    with pytest.raises(DefinitionsError) as caught:
        load([Path("f.yaml")])

    assert caught.value.problems == [f"f.yaml:{line}" for line in lines]


def test_no_key_that_there_is_counts_as_one_of_a_later_version() -> None:
    assert {} == {
        model: keys & set(model.model_fields) for model, keys in _LATER_KEYS.items() if keys & set(model.model_fields)
    }
