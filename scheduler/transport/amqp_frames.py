"""The bytes of the frames we write ourselves: publishes, acks and nacks.

Hand-made because pamqp's general encoder costs as much as all the rest of a publish. The layout is
that of the AMQP 0-9-1 specification, sections 4.2.3 to 4.2.6.
"""

import struct
from typing import Any, Final

import pamqp.frame
from pamqp import commands, encode

from scheduler.ports import Out

_FRAME_END: Final = b"\xce"
_FRAME_OVERHEAD: Final = 8
_METHOD, _HEADER, _BODY = 1, 2, 3
_BASIC: Final = 60
_PUBLISH: Final = 40
_MAX_SHORT: Final = 255
_MAX_FIELD_NAME: Final = 128

_CONTENT_TYPE: Final = 1 << 15
_HEADERS: Final = 1 << 13
_DELIVERY_MODE: Final = 1 << 12
_MESSAGE_ID: Final = 1 << 7
_USER_ID: Final = 1 << 4


def publish_method(exchange: str, key: str, channel: int, *, mandatory: bool = False) -> bytes:
    """Return the method frame of a publish."""
    flags = b"\x01" if mandatory else b"\x00"
    arguments = struct.pack(">HHH", _BASIC, _PUBLISH, 0) + _short(exchange) + _short(key) + flags
    return struct.pack(">BHI", _METHOD, channel, len(arguments)) + arguments + _FRAME_END


def properties(message: Out, user_id: str | None) -> bytes:
    """Return the flags and properties of ``message`` as they stand in its header frame.

    Raises:
        ValueError: a name, key or id is longer than AMQP allows, or a header cannot be sent.
    """
    for text in (message.exchange, message.key):
        _short(text)
    flags = _DELIVERY_MODE
    listed = [b"\x02" if message.persistent else b"\x01"]
    if message.headers:
        flags |= _HEADERS
        listed.insert(0, _table(message))
    if message.content_type is not None:
        flags |= _CONTENT_TYPE
        listed.insert(0, _short(message.content_type))
    if message.message_id is not None:
        flags |= _MESSAGE_ID
        listed.append(_short(message.message_id))
    if user_id is not None:
        flags |= _USER_ID
        listed.append(_short(user_id))
    return flags.to_bytes(2, "big") + b"".join(listed)


def content(props: bytes, body: bytes, channel: int, frame_max: int) -> bytes:
    """Return the header frame and the body frames, each at most ``frame_max`` bytes long."""
    header = struct.pack(">BHIHHQ", _HEADER, channel, 12 + len(props), _BASIC, 0, len(body)) + props + _FRAME_END
    size = len(body)
    most = frame_max - _FRAME_OVERHEAD if frame_max else max(size, 1)
    if size <= most:
        return header + _body_frame(body, channel) if size else header
    return header + b"".join(_body_frame(body[at : at + most], channel) for at in range(0, size, most))


def ack(tag: int, channel: int, *, multiple: bool) -> bytes:
    return pamqp.frame.marshal(commands.Basic.Ack(delivery_tag=tag, multiple=multiple), channel)


def requeue(tag: int, channel: int, *, multiple: bool) -> bytes:
    """Return the nack that gives messages back to their queue."""
    return pamqp.frame.marshal(commands.Basic.Nack(delivery_tag=tag, multiple=multiple, requeue=True), channel)


def _body_frame(part: bytes, channel: int) -> bytes:
    return struct.pack(">BHI", _BODY, channel, len(part)) + part + _FRAME_END


def _short(text: str) -> bytes:
    raw = text.encode()
    if len(raw) > _MAX_SHORT:
        raise ValueError(f"{text[:40]!r}… has {len(raw)} bytes, at most {_MAX_SHORT} can be sent")
    return bytes([len(raw)]) + raw


def _table(message: Out) -> bytes:
    for name in message.headers:
        if len(name.encode()) > _MAX_FIELD_NAME:  # pamqp would cut it without a word
            raise ValueError(f"headers of {message.key}: {name[:40]!r}… has more than {_MAX_FIELD_NAME} bytes")
    try:
        table: dict[str, Any] = dict(message.headers)
        return encode.field_table(table)
    except (TypeError, ValueError, OverflowError, struct.error) as error:
        raise ValueError(f"headers of {message.key}: {error}") from None
