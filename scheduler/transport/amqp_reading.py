"""Reads the head of a message whatever its publisher has written there.

pamqp gives up on properties that cannot be (a time beyond the year 9999, an id that is no UTF-8, tables in tables a
thousand deep), and aiormq ends the connection then. So one such message, of whoever may publish, would end every
connection it is delivered to, and come again to the next.
"""

import struct
from collections.abc import Callable
from typing import Any, Final, cast

import pamqp.frame
from pamqp.header import ContentHeader

from scheduler.domain.published import UNREADABLE

_HEAD: Final = struct.Struct(">HHQ")
_LONGEST_REASON: Final = 200
_frames: Final[Any] = pamqp.frame
_read: Final = cast("Callable[[bytes], ContentHeader]", _frames._unmarshal_header_frame)  # noqa: SLF001 - see above


def read_head(data: bytes) -> ContentHeader:
    """Return the head of a message; one whose properties cannot be read has ``UNREADABLE`` in place of them."""
    try:
        return _read(data)
    except Exception as error:  # noqa: BLE001 - whatever it is, the connection must go on
        cause = error.__cause__ or error
        head = ContentHeader(body_size=_HEAD.unpack_from(data)[2])
        head.properties.headers = {UNREADABLE: f"{type(cause).__name__}: {cause}"[:_LONGEST_REASON]}
        return head


def read_leniently() -> None:
    """Have pamqp read heads so, in all of this process: aiormq has no place to say it for one connection."""
    _frames._unmarshal_header_frame = read_head  # noqa: SLF001 - held by tests/integration/test_amqp_reach_in.py
