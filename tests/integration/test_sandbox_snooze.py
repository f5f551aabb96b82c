"""Attempts that ask to be run later: handlers, python functions, commands."""

import pytest

from scheduler.handlers import HandlerContext, handler
from schemas.vocabulary import Outcome
from tests.support.attempts import a_place, calling, python, shell


@handler("patient")
async def patient(ctx: HandlerContext, params: dict[str, object]) -> None:
    ctx.log("looked")
    ctx.snooze(300, "no file yet")


@handler("wrong")
def wrong(ctx: HandlerContext, params: dict[str, object]) -> None:
    ctx.snooze(float("nan"))


async def test_a_handler_and_a_python_function_snooze(tmp_path):
    async with a_place(tmp_path, patient, wrong) as place:
        (place.code_dir / "work.py").write_text("def wait(ctx):\n    ctx.snooze(2.5, 'no file yet')\n")
        ended = await place.run(calling("patient"))
        child = await place.run(python("work:wait"))
        raised = await place.run(calling("wrong"))

    assert (ended.outcome, ended.retry_after_s, ended.reason) == (Outcome.SNOOZED, 300, "no file yet")
    assert ended.output.head == "looked\n"
    assert (child.outcome, child.retry_after_s, child.reason) == (Outcome.SNOOZED, 2.5, "no file yet")
    assert (raised.outcome, raised.exception) == (Outcome.FAILED, "ValueError")


@pytest.mark.parametrize(
    ("text", "outcome", "seconds", "reason"),
    [
        ('echo "5m no file yet" >"$SCHEDULER_SNOOZE"', Outcome.SNOOZED, 300, "no file yet"),
        ('printf 90s >"$SCHEDULER_SNOOZE"', Outcome.SNOOZED, 90, None),
        ('echo 5m >"$SCHEDULER_SNOOZE"; exit 3', Outcome.FAILED, None, "exit code 3"),
        ('echo soon >"$SCHEDULER_SNOOZE"', Outcome.FAILED, None, "cannot be snoozed: "),
        ('ln -s /etc/hostname "$SCHEDULER_SNOOZE"', Outcome.FAILED, None, "cannot be snoozed: "),
        ('mkfifo "$SCHEDULER_SNOOZE"', Outcome.FAILED, None, "cannot be snoozed: it is not a regular file"),
    ],
)
async def test_a_script_snoozes_by_a_file_and_an_exit_code_of_0(tmp_path, text, outcome, seconds, reason):
    async with a_place(tmp_path) as place:
        ended = await place.run(shell(text))

    assert (ended.outcome, ended.retry_after_s) == (outcome, seconds)
    assert ended.reason is None if reason is None else ended.reason.startswith(reason)
