import pytest

from scheduler.sandbox.output import HEAD_BYTES, TAIL_BYTES, OutputBuffer, one_line


def fed(*chunks: bytes) -> OutputBuffer:
    buffer = OutputBuffer()
    for chunk in chunks:
        buffer.feed(chunk)
    return buffer


def test_nothing_written_is_no_output():
    assert fed().finish() is None


def test_all_that_fits_is_in_head():
    text = b"x" * (HEAD_BYTES + TAIL_BYTES)

    output = fed(text[:5], text[5:]).finish()

    assert (text.decode(), "", len(text)) == (output.head, output.tail, output.total_bytes)


def test_one_byte_more_is_cut_in_the_middle():
    text = bytes(65 + number % 26 for number in range(HEAD_BYTES + TAIL_BYTES + 1))

    output = fed(text).finish()

    assert output.head.encode() == text[:HEAD_BYTES]
    assert output.tail.encode() == text[-TAIL_BYTES:]
    assert output.total_bytes == len(text)


def test_much_output_is_kept_in_little_memory():
    buffer = fed(b"first")
    for number in range(2000):
        buffer.feed(b"%08d" % number * 1000)

    assert len(buffer._head) + len(buffer._tail) < 8 * TAIL_BYTES
    output = buffer.finish()
    assert output.head.startswith("first")
    assert output.tail.endswith("00001999")
    assert output.total_bytes == 5 + 2000 * 8000


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"a\x00b", "a\ufffdb"),
        (b"a\xffb", "a\ufffdb"),
        (b"\xed\xa0\x80", "\ufffd\ufffd\ufffd"),
        ("grün €".encode(), "grün €"),
    ],
)
def test_output_becomes_storable_text(raw, text):
    assert fed(raw).finish().head == text


@pytest.mark.parametrize("character", ["ü", "€", "😀"])
@pytest.mark.parametrize("offset", range(4))
def test_a_character_cut_by_the_bounds_is_left_out(character, offset):
    output = fed(b"a" * offset + character.encode() * 40_000).finish()

    assert set(output.head + output.tail) <= {"a", character}


@pytest.mark.parametrize(
    ("text", "line"),
    [("two\nlines\x00\x1b[31m", "two lines [31m"), ("lone \ud800", "lone ?"), ("", ""), ("y" * 400, "y" * 299 + "…")],
)
def test_a_reason_is_one_short_line(text, line):
    assert one_line(text) == line
