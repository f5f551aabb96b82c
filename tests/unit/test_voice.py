"""What an attempt says while it runs: progress that can be stored, output in pieces that tell no secret."""

import math
import threading

import pytest

from scheduler.sandbox.left_files import progress_left
from scheduler.sandbox.masking import Mask
from scheduler.sandbox.output import HEAD_BYTES, TAIL_BYTES, OutputBuffer, live_piece
from scheduler.sandbox.results import PROGRESS_BYTES, progress_line, progress_of
from scheduler.voice import Piece, Told, Voice, told_of

SECRET = "correct horse battery"


def told_in_pieces(mask: Mask, chunks: list[bytes], most: int = 16 * 1024) -> list[Piece]:
    """Return the pieces that a follower gets who looks after each chunk, and at the end."""
    buffer, voice, pieces, position = OutputBuffer(), Voice(), [], 0
    voice.mask, voice.output = mask, lambda *args, **how: live_piece(buffer, *args, **how)
    for chunk in [*chunks, b""]:
        buffer.feed(chunk)
        while (piece := voice.piece(position, most, final=not chunk)) is not None:
            pieces.append(piece)
            position = piece.until
    return pieces


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 13, 40])
def test_a_secret_in_pieces_of_any_size_is_masked(size):
    raw = f"a {SECRET}, {SECRET[:9]}, é€😀 {SECRET}".encode()

    pieces = told_in_pieces(Mask([SECRET]), [raw[at : at + size] for at in range(0, len(raw), size)])

    assert "".join(piece.text for piece in pieces) == f"a ***, {SECRET[:9]}, é€😀 ***"
    assert [piece.at for piece in pieces[1:]] == [piece.until for piece in pieces[:-1]]
    assert pieces[-1].until == len(raw)


def test_a_shorter_secret_that_begins_a_longer_one_waits_for_the_rest():
    pieces = told_in_pieces(Mask(["hunter", "hunter22-and-more"]), [b"x hunter", b"22-and-more y"])

    assert "".join(piece.text for piece in pieces) == "x *** y"


def test_a_secret_longer_than_a_piece_is_masked_whole():
    long = "".join(chr(97 + number * number % 23) for number in range(3000))  # it repeats itself

    pieces = told_in_pieces(Mask([long]), [b"<", long.encode(), b">"], most=512)

    assert "".join(piece.text for piece in pieces) == "<***>"


def test_after_a_gap_the_end_of_a_secret_is_not_told():
    buffer = OutputBuffer()
    buffer.feed(b"." * HEAD_BYTES)
    for _ in range(5):
        buffer.feed(b"." * (TAIL_BYTES - len(SECRET) + 8) + SECRET.encode())
    begin = buffer.since(HEAD_BYTES, 1)[0]

    piece = live_piece(buffer, Mask([SECRET]), HEAD_BYTES, 10**6, final=True)

    assert piece.at == begin > HEAD_BYTES
    assert not any(SECRET[at:] in piece.text for at in range(len(SECRET) - 4))


def test_what_is_no_longer_kept_shows_as_a_gap():
    buffer = OutputBuffer()
    for number in range(100_000):
        buffer.feed(b"%07d\n" % number)

    piece = live_piece(buffer, None, HEAD_BYTES, 64, final=False)

    assert piece.at > HEAD_BYTES
    assert piece.text.startswith(f"{piece.at // 8:07d}\n")
    assert piece.until - piece.at == 64
    assert live_piece(buffer, None, buffer.total_bytes, 64, final=True) is None


def test_a_reader_sees_whole_chunks_while_a_thread_writes():
    buffer = OutputBuffer()
    writer = threading.Thread(target=lambda: [buffer.feed(b"%07d\n" % number) for number in range(30_000)])
    writer.start()
    position, seen = 0, []
    while writer.is_alive() or position < buffer.total_bytes:
        at, raw = buffer.since(position, 10**6)
        seen.append((at, raw))
        position = at + len(raw)
    writer.join()

    assert all(raw == b"" or int(raw[(-at) % 8 :][:7]) == -(-at // 8) for at, raw in seen)


@pytest.mark.parametrize(
    ("value", "told"),
    [((3, 10, "rows"), Told(3, 10, "rows")), ((0, None, ""), Told(0)),
     ([0.5, 1, "a\x1b[2J\n b"], Told(0.5, 1, "a [2J b")), ((1, 2, "x" * 500), Told(1, 2, "x" * 200))],
)  # fmt: skip
def test_what_is_progress(value, told):
    assert told_of(value) == told
    assert progress_of(progress_line(told)) == told


@pytest.mark.parametrize(
    "value",
    [(-1, None, ""), (math.nan, 1, ""), (1, math.inf, ""), (True, 1, ""), ("1", 2, ""), (1, 2, None), (1, 2), "123",
     None, {}, (10**400, None, "")],
)  # fmt: skip
def test_what_is_none(value):
    assert told_of(value) is None


@pytest.mark.parametrize("message", ["😀" * 200, '"' * 200, "\\" * 200])
def test_the_longest_message_fits_where_a_child_writes_it(message):
    told = Told(1e300, 1e-300, message)

    assert len(progress_line(told)) == PROGRESS_BYTES
    assert progress_of(progress_line(told)) == told


@pytest.mark.parametrize("line", [b"", b"\0" * 20, b"{{{", b"[1]", b"[[[[", b'["a", 1, ""]'])
def test_a_line_that_says_nothing(line):
    assert progress_of(line) is None


@pytest.mark.parametrize(
    ("text", "told"),
    [("3/10 copying\n", Told(3, 10, "copying")), ("1/4\n2 of 4 second\n", Told(2, 4, "second")), ("30%", Told(30, 100)),
     ("7", Told(7)), ("7 files", Told(7, None, "files")), ("2/4 done\nhalf a li", Told(2, 4, "done")),
     ("x" * 3000 + "\n2.5 / 4", Told(2.5, 4)), ("soon", None), ("", None), ("-1/4", None), ("1/0 x", Told(1, 0, "x"))],
)  # fmt: skip
def test_progress_of_a_command(tmp_path, text, told):
    path = tmp_path / "progress"
    path.write_text(text)

    assert progress_left(path) == told


def test_a_file_that_is_not_there_or_is_none(tmp_path):
    (tmp_path / "link").symlink_to("/etc/hostname")

    assert progress_left(tmp_path / "absent") is None
    assert progress_left(tmp_path / "link") is None


def test_the_words_of_progress_are_masked():
    voice = Voice()
    voice.mask = Mask([SECRET])
    voice.hear(Told(1, 2, f"with {SECRET}"))

    assert voice.look() == Told(1, 2, "with ***")


def test_the_last_look_is_kept_when_the_source_goes():
    voice = Voice()
    voice.source = lambda: Told(3, 3)

    voice.end()

    assert (voice.look(), voice.source) == (Told(3, 3), None)
