"""The frames we write ourselves are those the specification's own reader reads back."""

import pamqp.frame
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands
from pamqp.body import ContentBody

from scheduler.ports import Out
from scheduler.transport import amqp_frames

short = st.text(max_size=60).filter(lambda text: len(text.encode()) <= 255)
field_names = short.filter(lambda text: len(text.encode()) <= 128)
header_values = st.text(max_size=50) | st.booleans() | st.integers(-(2**63), 2**63 - 1)
messages = st.builds(
    Out,
    exchange=short,
    key=short,
    body=st.binary(max_size=300),
    message_id=st.none() | short,
    headers=st.dictionaries(field_names, header_values, max_size=4),
    persistent=st.booleans(),
    content_type=st.none() | short,
)


def read(raw: bytes) -> list[object]:
    frames = []
    while raw:
        size, channel, frame = pamqp.frame.unmarshal(raw)
        assert channel == 7
        frames.append(frame)
        raw = raw[size:]
    return frames


@given(messages, st.none() | short, st.integers(16, 400))
def test_a_publish_reads_back_as_it_was_meant(message: Out, user: str | None, frame_max: int) -> None:
    method = amqp_frames.publish_method(message.exchange, message.key, 7)
    content = amqp_frames.content(amqp_frames.properties(message, user), message.body, 7, frame_max)

    publish, header, *parts = read(method + content)

    props = header.properties
    assert (publish.exchange, publish.routing_key) == (message.exchange, message.key)
    assert header.body_size == len(message.body)
    assert b"".join(part.value for part in parts) == message.body
    assert all(isinstance(part, ContentBody) and len(part.value) + 8 <= frame_max for part in parts)
    assert props.delivery_mode == (2 if message.persistent else 1)
    assert (props.headers or {}) == message.headers
    assert (props.message_id, props.content_type, props.user_id) == (message.message_id, message.content_type, user)


@pytest.mark.parametrize(
    "message",
    [Out("x" * 256, "k", b""), Out("x", "k" * 256, b""), Out("x", "k", b"", message_id="é" * 128)],
)
def test_what_amqp_cannot_carry_is_refused_here(message: Out) -> None:
    with pytest.raises(ValueError, match="at most 255"):
        amqp_frames.properties(message, None)


def test_a_header_that_cannot_be_sent_is_refused_here() -> None:
    with pytest.raises(ValueError, match="headers of k"):
        amqp_frames.properties(Out("x", "k", b"", headers={"n": 2**70}), None)


def test_a_header_whose_name_would_be_cut_is_refused_here() -> None:
    with pytest.raises(ValueError, match="has more than 128 bytes"):
        amqp_frames.properties(Out("x", "k", b"", headers={"é" * 65: 1}), None)


def test_settling_frames_name_their_tags() -> None:
    ack, nack = read(amqp_frames.ack(9, 7, multiple=True) + amqp_frames.requeue(8, 7, multiple=False))

    assert isinstance(ack, commands.Basic.Ack)
    assert (ack.delivery_tag, ack.multiple) == (9, True)
    assert isinstance(nack, commands.Basic.Nack)
    assert (nack.delivery_tag, nack.multiple, nack.requeue) == (8, False, True)
