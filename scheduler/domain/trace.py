"""W3C trace context: whose trace a flow belongs to, and which of its spans an attempt is.

Nothing of it is drawn or stored where nobody gave a trace: the trace is then the flow's own id, and the span of
an attempt follows from its run and number. Whoever computes them finds the same.
"""

import re
from typing import Final
from uuid import UUID

TRACEPARENT: Final = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_LOW: Final = (1 << 64) - 1
_NOT_SAMPLED: Final = "00"
_SAMPLED: Final = "01"


def read_traceparent(text: object) -> str | None:
    """Return the ``traceparent`` in what a caller sent; None for none and for what is not one, as W3C asks.

    Of a version to come, the part that version 00 knows is taken.
    """
    if not isinstance(text, str):
        return None
    text = text.strip()
    if len(text) > 55 and text[2:3] == "-" and text[55] == "-" and text[:2] not in {"00", "ff"}:  # noqa: PLR2004 - the length of version 00
        text = f"00{text[2:55]}"
    return text if TRACEPARENT.fullmatch(text) else None


def as_header(traceparent: object) -> dict[str, str]:
    """Return what is kept of a caller's ``traceparent``: a mapping with it, or an empty one."""
    trace = read_traceparent(traceparent)
    return {} if trace is None else {"traceparent": trace}


def trace_id_of(flow_id: UUID, traceparent: str | None) -> str:
    """Return the trace of a flow: the one it was given, else its own."""
    return flow_id.hex if traceparent is None else traceparent[3:35]


def span_id_of(run_id: UUID, attempt: int) -> str:
    """Return the span of an attempt; number 0 of the root run stands for the firing of its flow."""
    return f"{(run_id.int & _LOW) ^ attempt:016x}"


def traceparent_of(flow_id: UUID, run_id: UUID, attempt: int, given: str | None, *, sampled: bool = False) -> str:
    """Return what an attempt hands on: to its processes, and with its requests.

    ``sampled``: whether spans are made here; it is said of a trace of the flow's own.
    """
    flags = (_SAMPLED if sampled else _NOT_SAMPLED) if given is None else given[-2:]
    return f"00-{trace_id_of(flow_id, given)}-{span_id_of(run_id, attempt)}-{flags}"
