"""Trace context: what is taken from callers, and the ids that follow from a run."""

import re
from uuid import UUID

import pytest

from scheduler.domain.trace import TRACEPARENT, read_traceparent, span_id_of, trace_id_of, traceparent_of
from scheduler.ids import uuid7
from tests.unit.test_run_lines import CLOCK

GIVEN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
FLOW, RUN = UUID("018f0000-0000-7000-8000-000000000004"), UUID("018f0000-0000-7000-8000-0000000000f2")


@pytest.mark.parametrize(
    ("sent", "taken"),
    [
        (GIVEN, GIVEN),
        (f" {GIVEN}\n", GIVEN),
        (f"cc{GIVEN[2:]}-more", GIVEN),
        (f"{GIVEN}-more", None),
        (f"ff{GIVEN[2:]}", None),
        (f"01{GIVEN[2:]}", None),
        (GIVEN.upper(), None),
        ("00-00000000000000000000000000000000-b7ad6b7169203331-01", None),
        ("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", None),
        ("", None),
        (None, None),
        (7, None),
        (b"00", None),
        ("x" * 10_000, None),
    ],
)
def test_what_callers_send(sent: object, taken: str | None) -> None:
    assert read_traceparent(sent) == taken


def test_a_flow_without_a_trace_is_one_itself() -> None:
    assert trace_id_of(FLOW, None) == FLOW.hex
    assert traceparent_of(FLOW, RUN, 1, None) == f"00-{FLOW.hex}-80000000000000f3-00"


def test_a_given_trace_goes_on_with_its_flags_and_a_span_of_the_attempt() -> None:
    first, second = (traceparent_of(FLOW, RUN, attempt, GIVEN) for attempt in (1, 2))

    assert first[:35] == second[:35] == GIVEN[:35]
    assert first[-2:] == second[-2:] == "01"
    assert len({GIVEN[36:52], first[36:52], second[36:52]}) == 3


def test_every_id_of_ours_makes_a_valid_one() -> None:
    for attempt in (1, 2, 1_000_000):
        run = uuid7(CLOCK)
        assert re.fullmatch(TRACEPARENT, traceparent_of(run, run, attempt, None))
        assert span_id_of(run, 0) != span_id_of(run, attempt)
