"""Requests byte by byte, for what no client library would send."""

import json
import socket
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class RawAnswer:
    status: int
    """0: the connection was closed without an answer."""
    body: Any = None


def exchange(port: int, *parts: bytes, close: bool = False) -> RawAnswer:
    """Send ``parts`` on one connection and return the answer; ``close``: end it instead of waiting for one."""
    with socket.create_connection(("127.0.0.1", port), timeout=40) as link:
        for part in parts:
            try:
                link.sendall(part)
            except OSError:  # it was answered, and closed, before all was sent
                break
        if close:
            return RawAnswer(0)
        return read_answer(link)


def read_answer(link: socket.socket) -> RawAnswer:
    data = b""
    while b"\r\n\r\n" not in data:
        try:
            more = link.recv(65536)
        except OSError:
            more = b""
        if not more:
            return RawAnswer(0)
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    while lengths and len(body) < lengths[0]:
        body += link.recv(65536)
    return RawAnswer(int(head[9:12]), json.loads(body) if body else None)


def request(path: str, headers: dict[str, str], body: bytes, *, length: bool = True) -> bytes:
    """Return a POST; without ``length`` the body is sent in chunks."""
    given = {"Host": "localhost", **headers}
    if length:
        given["Content-Length"] = str(len(body))
    else:
        given["Transfer-Encoding"] = "chunked"
        pieces = [body[at : at + 50_000] for at in range(0, len(body), 50_000)]
        body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    head = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body
