"""What a job wrote, bounded: the first 16 KiB, the last 48 KiB and a count, whatever comes."""

import re
import threading

from scheduler.voice import Masking, Piece
from schemas.facts import Output

HEAD_BYTES = 16 * 1024
TAIL_BYTES = 48 * 1024
REASON_CHARS = 300
# UTF-8: the lowest later byte of a character, and the lowest first byte of one of 2, 3 and 4 bytes.
_CONTINUATION = 0x80
_FIRST_OF_2, _FIRST_OF_3, _FIRST_OF_4 = 0xC0, 0xE0, 0xF0
_NOT_IN_A_LINE = re.compile(r"[\x00-\x1f\x7f\x80-\x9f\u2028\u2029]+")


class OutputBuffer:
    """Collects bytes in order of arrival in constant memory; written by one thread, read by any."""

    __slots__ = ("_head", "_lock", "_tail", "total_bytes")

    def __init__(self) -> None:
        self._head = bytearray()
        self._tail = bytearray()
        self._lock = threading.Lock()
        self.total_bytes = 0

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes; only the first and the last of all that came are kept."""
        with self._lock:
            self.total_bytes += len(chunk)
            room = HEAD_BYTES - len(self._head)
            if room > 0:
                self._head += chunk[:room]
                chunk = chunk[room:]
            if not chunk:
                return
            self._tail += chunk[-TAIL_BYTES:]
            if len(self._tail) > 4 * TAIL_BYTES:
                del self._tail[:-TAIL_BYTES]

    def since(self, position: int, most: int) -> tuple[int, bytes]:
        """Return the kept bytes from ``position`` on, at most ``most``, and where they begin: later, if need be."""
        with self._lock:
            if position < len(self._head):
                return position, bytes(self._head[position : position + most])
            begin = max(position, self.total_bytes - len(self._tail))
            offset = begin - (self.total_bytes - len(self._tail))
            return begin, bytes(self._tail[offset : offset + most])

    def feed_line(self, text: str) -> None:
        self.feed(text.encode("utf-8", "replace") + b"\n")

    def finish(self) -> Output | None:
        """Return what is kept as storable text; None when nothing was written.

        A character cut in two by the bounds is left out on both sides.
        """
        if self.total_bytes == 0:
            return None
        head, tail = bytes(self._head), bytes(self._tail[-TAIL_BYTES:])
        if self.total_bytes <= HEAD_BYTES + TAIL_BYTES:
            return Output(head=storable(head + tail), tail="", total_bytes=self.total_bytes)
        return Output(
            head=storable(_without_cut_end(head)),
            tail=storable(_without_cut_start(tail)),
            total_bytes=self.total_bytes,
        )


def live_piece(buffer: OutputBuffer, mask: Masking | None, position: int, most: int, *, final: bool) -> Piece | None:
    """Read a piece of what is being written; see ``Voice.piece``."""
    begin, raw = buffer.since(position, most)
    final = final and begin + len(raw) >= buffer.total_bytes
    whole = raw if begin == position else _without_cut_start(raw)
    at = begin + len(raw) - len(whole)
    whole = whole if final else _without_cut_end(whole)
    text = storable(whole)
    if mask is not None:
        held = 0 if final else mask.unsettled(text)
        if held:
            whole = whole[: -len(text[-held:].encode())]
            text = text[:-held]
        text = mask.text(text if begin == position else mask.begun_before(text))
    if not whole and len(raw) == most:  # all of it may be the beginning of one long secret
        return live_piece(buffer, mask, position, 4 * most, final=final)
    return Piece(at, at + len(whole), text) if whole else None


def storable(raw: bytes) -> str:
    """Return text that every store takes: invalid UTF-8 (lone surrogates too) and NUL become U+FFFD."""
    return raw.decode("utf-8", "replace").replace("\x00", "\ufffd")


def one_line(text: str) -> str:
    """Return ``text`` as a reason: one storable line of at most 300 characters."""
    line = _NOT_IN_A_LINE.sub(" ", text[: 4 * REASON_CHARS].encode("utf-8", "replace").decode()).strip()
    return line if len(line) <= REASON_CHARS else line[: REASON_CHARS - 1] + "…"


def _without_cut_end(raw: bytes) -> bytes:
    for back in range(1, min(4, len(raw) + 1)):
        byte = raw[-back]
        if byte >= _FIRST_OF_2:  # the first byte of a character that needs more than the ``back`` bytes left
            needed = 2 + (byte >= _FIRST_OF_3) + (byte >= _FIRST_OF_4)
            return raw[:-back] if needed > back else raw
        if byte < _CONTINUATION:
            return raw
    return raw


def _without_cut_start(raw: bytes) -> bytes:
    start = 0
    while start < min(3, len(raw)) and _CONTINUATION <= raw[start] < _FIRST_OF_2:
        start += 1
    return raw[start:]
