import json
from base64 import b64encode, urlsafe_b64encode
from urllib.parse import quote, quote_plus

import pytest

from scheduler.ports import Ended
from scheduler.sandbox.masking import Mask
from scheduler.sandbox.output import HEAD_BYTES, TAIL_BYTES, OutputBuffer
from schemas.vocabulary import Outcome

VALUE = 'p4ss w/ord+??>>é"\\'


@pytest.mark.parametrize("value", ["s3cret-value", "s3cret-value1", "s3cret-value12", "s3cret??>>value"])
@pytest.mark.parametrize("encode", [b64encode, urlsafe_b64encode])
def test_a_value_that_is_encoded_alone_leaves_nothing_of_its_last_bytes(value, encode):
    text = encode(value.encode()).decode()

    assert Mask([value]).text(f"{text} {text.rstrip('=')}") == "*** ***"


@pytest.mark.parametrize(
    "said",
    [
        VALUE,
        quote(VALUE, safe=""),
        quote(VALUE),
        quote_plus(VALUE),
        json.dumps(VALUE),
        json.dumps(VALUE, ensure_ascii=False),
        *(b64encode(f"{user}:{VALUE}!".encode()).decode() for user in ("a", "ab", "abc")),
        urlsafe_b64encode(VALUE.encode()).decode(),
    ],
)
def test_a_value_is_masked_however_programs_print_it(said):
    masked = Mask([VALUE]).text(f"before {said} after")

    assert masked.startswith("before ")
    assert masked.endswith(" after")
    assert "***" in masked
    assert said.strip('"') not in masked
    assert len(masked) < len(f"before {said} after")


def test_all_that_is_said_of_an_attempt_is_masked():
    buffer = OutputBuffer()
    buffer.feed(b"key canary-1\n")
    ended = Ended(
        Outcome.FAILED,
        reason="no canary-1",
        exception="canary-1",
        result={"canary-1": ["canary-1", 1, None, {"a": "xcanary-1x"}]},
        output=buffer.finish(),
    )

    masked = Mask(["canary-1"]).ended(ended)

    assert "canary" not in repr(masked)
    assert masked.result == {"***": ["***", 1, None, {"a": "x***x"}]}
    assert masked.output.total_bytes == 13


def test_what_the_bounds_of_the_output_left_of_a_value_is_masked():
    value = "0123456789abcdefghij"
    buffer = OutputBuffer()
    buffer.feed(b"x" * (HEAD_BYTES - 8) + value.encode())
    buffer.feed(b"y" * TAIL_BYTES + value.encode() + b"z" * (TAIL_BYTES - 7))

    masked = Mask([value]).ended(Ended(Outcome.SUCCEEDED, output=buffer.finish())).output

    assert masked.head == "x" * (HEAD_BYTES - 8) + "***"
    assert masked.tail == "***" + "z" * (TAIL_BYTES - 7)


def test_a_line_of_a_key_file_is_masked_and_short_ones_are_not():
    mask = Mask(["-----BEGIN KEY-----\nAAAABBBBCCCCDDDD\nend\n"])

    assert mask.text("AAAABBBBCCCCDDDD the end") == "*** the end"


def test_values_too_short_to_search_for_change_nothing():
    ended = Ended(Outcome.SUCCEEDED, result={"a": "1"})

    assert Mask(["1", ""]).ended(ended) is ended
