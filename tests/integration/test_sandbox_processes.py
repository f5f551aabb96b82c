"""Commands, scripts and python functions as child processes: ends, results, output, time limits."""

import asyncio
import resource

import pytest

from schemas.vocabulary import Outcome
from schemas.work import ScriptWork, SecretRef
from tests.support.attempts import a_place, an_order, command, python, shell

JOBS = """
import asyncio, os, sys, time
def add(a, b=2): return {"sum": a + b}
def whole(params, ctx): return [params, ctx.job, ctx.results, ctx.secrets]
async def later(text):
    await asyncio.sleep(0); print("seen", text); return text
def fails(): raise LookupError("no such\\nthing")
def leaves(): sys.exit(7)
def leaves_well(): sys.exit(0)
def huge(): return "x" * 70_000
def odd(): return object()
def dies(): os.kill(os.getpid(), 9)
def noisy(): os.pwrite(3, b"{{{" * 400, 0); os._exit(0)
"""


@pytest.fixture
async def place(tmp_path):
    async with a_place(tmp_path) as opened:
        (opened.code_dir / "jobs.py").write_text(JOBS)
        yield opened


async def test_a_command_succeeds_with_its_output(place):
    ended = await place.run(command("echo", "hello"))

    assert (ended.outcome, ended.exit_code, ended.reason) == (Outcome.SUCCEEDED, 0, None)
    assert ended.output.head == "hello\n"


async def test_an_exit_code_is_a_failure(place):
    ended = await place.run(command("sh", "-c", "exit 3"))

    assert (ended.outcome, ended.exit_code, ended.signal, ended.reason) == (Outcome.FAILED, 3, None, "exit code 3")


async def test_a_death_by_signal_is_a_failure(place):
    ended = await place.run(command("sh", "-c", "kill -SEGV $$"))

    assert (ended.outcome, ended.exit_code, ended.signal, ended.reason) == (
        Outcome.FAILED,
        None,
        11,
        "ended by SIGSEGV",
    )


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        (command("no-such-program"), "there is no program no-such-program"),
        (command("/etc/passwd"), "Permission denied"),
        (command("true", cwd="/no/such/dir"), "/no/such/dir: No such file"),
        (command("tools/../../x"), "outside the code directory"),
        (command("echo", "a\0b"), "NUL"),
        (command("true", env={"A=B": "x"}), "name of an environment variable"),
        (command("true", env={"A": "\0"}), "NUL"),
        (command("true", secrets={"KEY": SecretRef(env="NOT_SET_ANYWHERE")}), "NOT_SET_ANYWHERE"),
        (command("true", isolation="inline"), "isolation inline"),
        (command("true", "x" * 3_000_000), "Argument list too long"),
        (shell("true", cwd="/etc/passwd"), "Not a directory"),
        (an_order(ScriptWork(kind="script", file="../outside.sh")), "outside the code directory"),
        (an_order(ScriptWork(kind="script", file="absent.sh")), "no file absent.sh"),
        (an_order(ScriptWork(kind="script", text="x", interpreter="/bin/sh")), "not the name of a program"),
        (
            an_order(
                ScriptWork(
                    kind="script",
                )
            ),
            "exactly one of file and text",
        ),
        (python("os:system"), "no module os below"),
        (python("jobs:absent"), "no function absent"),
        (python("jobs"), "module:function"),
    ],
)
async def test_what_cannot_be_started_fails_with_a_reason(place, order, reason):
    ended = await place.run(order)

    assert ended.outcome is Outcome.FAILED
    assert reason in ended.reason


async def test_arguments_are_inert(place, tmp_path):
    hostile = [f"; touch {tmp_path}/owned", "$(id)", "`id`", "--help", "-n", "a b\nc", "*", ""]

    ended = await place.run(command("printf", "<%s>", *hostile))

    assert ended.output.head == "".join(f"<{text}>" for text in hostile)
    assert not (tmp_path / "owned").exists()


async def test_scripts_by_text_by_file_and_by_interpreter(place):
    (place.code_dir / "job.sh").write_text("#!/bin/bash\n[[ $BASH_VERSION ]] && echo bash\n")

    by_text = await place.run(shell("read -r line < /dev/null; echo shell $SCHEDULER_JOB"))
    by_file = await place.run(an_order(ScriptWork(kind="script", file="job.sh")))
    by_interpreter = await place.run(an_order(ScriptWork(kind="script", text="print(6 * 7)", interpreter="python3")))

    assert [by_text.output.head, by_file.output.head, by_interpreter.output.head] == ["shell probe\n", "bash\n", "42\n"]


async def test_a_command_hands_back_a_result(place):
    good = await place.run(shell('echo \'{"rows": 3}\' > "$SCHEDULER_RESULT"'))
    bad = await place.run(shell('echo NaN > "$SCHEDULER_RESULT"'))
    big = await place.run(shell('head -c 70000 /dev/zero > "$SCHEDULER_RESULT"'))
    link = await place.run(shell('ln -s /etc/passwd "$SCHEDULER_RESULT"'))

    assert (good.result, good.reason) == ({"rows": 3}, None)
    assert [ended.result for ended in (bad, big, link)] == [None] * 3
    assert all(ended.outcome is Outcome.SUCCEEDED for ended in (bad, big, link))
    assert all(ended.reason.startswith("result dropped: ") for ended in (bad, big, link))


async def test_python_functions_get_params_and_return_results(place, monkeypatch):
    monkeypatch.setenv("PROBE_SECRET", "s3cret")
    secrets = {"KEY": SecretRef(env="PROBE_SECRET")}

    added = await place.run(python("jobs:add", params={"a": 1}))
    whole = await place.run(python("jobs:whole", params={"x": 1}, results={"up": 2}, secrets=secrets))
    later = await place.run(python("jobs:later", params={"text": "grün"}))

    assert added.result == {"sum": 3}
    assert whole.result == [{"x": 1}, "probe", {"up": 2}, {"KEY": "***"}]  # masked: it was there
    assert (later.result, later.output.head) == ("grün", "seen grün\n")


@pytest.mark.parametrize(
    ("function", "outcome", "exit_code", "exception", "reason"),
    [
        ("fails", Outcome.FAILED, 1, "LookupError", "LookupError: no such thing"),
        ("leaves", Outcome.FAILED, 7, "SystemExit", "SystemExit: 7"),
        ("leaves_well", Outcome.SUCCEEDED, 0, None, None),
        ("huge", Outcome.SUCCEEDED, 0, None, "result dropped: it is larger than 64 KiB"),
        ("odd", Outcome.SUCCEEDED, 0, None, "result dropped: it is not JSON"),
        ("dies", Outcome.FAILED, None, None, "ended by SIGKILL"),
        ("noisy", Outcome.SUCCEEDED, 0, None, "result dropped: the report cannot be read"),
        ("add", Outcome.FAILED, 1, "TypeError", "missing 1 required positional argument: 'a'"),
    ],
)
async def test_ends_of_python_functions(place, function, outcome, exit_code, exception, reason):
    ended = await place.run(python(f"jobs:{function}"))

    assert (ended.outcome, ended.exit_code, ended.exception) == (outcome, exit_code, exception)
    assert reason in ended.reason if reason else ended.reason is None
    if exception == "LookupError":
        assert "jobs.py" in ended.output.head
        assert "sandbox" not in ended.output.head
        assert ended.exception_bases == ("Exception", "BaseException")


async def test_a_gigabyte_of_output_is_counted_not_kept(place):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    ended = await place.run(command("head", "-c", "1G", "/dev/zero"))

    assert ended.output.total_bytes == 2**30
    assert len(ended.output.head) + len(ended.output.tail) == 64 * 1024
    assert set(ended.output.head) == {"\ufffd"}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20 * 1024


async def test_both_streams_come_in_order_and_as_storable_text(place):
    ended = await place.run(shell(r"echo one; echo two >&2; printf 'nul\000 bad\377\n'; echo four > /dev/stderr"))

    assert ended.output.head == "one\ntwo\nnul\ufffd bad\ufffd\nfour\n"


async def test_an_output_held_open_does_not_hold_the_run(place):
    ended = await place.run(shell("sleep 30 & echo done"))

    assert (ended.outcome, ended.output.head) == (Outcome.SUCCEEDED, "done\n")
    assert ended.reason == "processes it left behind were killed: 1"


async def test_a_late_writer_behind_a_pipe_is_heard(place):
    ended = await place.run(shell("(while kill -0 $$ 2>&-; do sleep 0.01; done; echo late) & echo early"))

    assert (ended.output.head, ended.reason) == ("early\nlate\n", None)


async def test_many_at_once(place):
    ends = await asyncio.gather(*(place.run(shell(f"exit {number}")) for number in range(30)))

    assert [ended.exit_code for ended in ends] == list(range(30))
    assert list(place.run_dir.glob("runner-*/*-*")) == []


async def test_a_dead_launcher_is_replaced(place):
    await place.run(command("true"))
    place.runner._processes._children._launcher.kill()
    place.runner._processes._children._launcher.wait()

    ended = await place.run(command("true"))

    assert ended.outcome is Outcome.SUCCEEDED
