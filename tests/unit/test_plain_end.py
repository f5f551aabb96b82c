"""An end that the database refuses is made storable without losing what decides about the run."""

import json
from pathlib import Path

from scheduler.domain.plain_end import plain_end
from schemas.facts import AttemptFinished
from schemas.registry import parse
from schemas.vocabulary import Outcome

GOLDEN = Path(__file__).parents[1] / "contract/golden/attempt.finished.v1.json"


def an_end(**fields: object) -> AttemptFinished:
    fact = parse(json.loads(GOLDEN.read_text()))
    assert isinstance(fact, AttemptFinished)
    return fact.model_copy(update=fields)


def test_what_cannot_be_stored_is_gone_and_what_retries_look_at_stays() -> None:
    end = an_end(outcome=Outcome.FAILED, reason="nul \0 here", exit_code=75, exception="My\0Error", result={"a": "\0"})

    plain = plain_end(end, "no\0 such text")

    assert "\0" not in plain.model_dump_json()
    assert "\\u0000" not in plain.model_dump_json()
    assert (Outcome.FAILED, 75, None, None) == (plain.outcome, plain.exit_code, plain.result, plain.output)
    assert "My\N{REPLACEMENT CHARACTER}Error" == plain.exception
    assert "refused: no" in (plain.reason or "")
    assert "nul" in (plain.reason or "")
    assert (end.run_id, end.lease_token, end.end_seq) == (plain.run_id, plain.lease_token, plain.end_seq)


def test_texts_are_cut_and_numbers_beyond_the_column_left_out() -> None:
    plain = plain_end(an_end(reason="x" * 10_000, exit_code=2**40, exception=None), "out of range")

    assert len(plain.reason or "") == 500
    assert plain.exit_code is None
    assert plain.exception is None
