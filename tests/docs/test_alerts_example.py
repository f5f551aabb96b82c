"""The example of alerts: a backup that fails is told to a chat and by mail, with everything in one process."""

import json
import re
import shutil
import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from tests.support.cli import Cli, end, status, until
from tests.support.services import free_port

FOLDER = Path(__file__).parents[2] / "examples" / "alerts"


class Chat(BaseHTTPRequestHandler):
    """Takes what is posted."""

    posts: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        self.posts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"])
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class Mails(socketserver.StreamRequestHandler):
    """As much of a mail server as takes a mail."""

    mails: ClassVar[list[str]] = []

    def handle(self) -> None:
        self.wfile.write(b"220 here\r\n")
        while line := self.rfile.readline():
            word = line[:4].strip().upper()
            if word == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                self.mails.append(b"".join(iter(self.rfile.readline, b".\r\n")).decode())
            self.wfile.write(b"221 bye\r\n" if word == b"QUIT" else b"250 well\r\n")


@pytest.fixture
def servers() -> Iterator[tuple[int, int]]:
    """The ports of a chat and a mail server."""
    Chat.posts, Mails.mails = [], []
    with HTTPServer(("127.0.0.1", 0), Chat) as chat, socketserver.TCPServer(("127.0.0.1", 0), Mails) as mail:
        threads = [threading.Thread(target=server.serve_forever, args=(0.05,)) for server in (chat, mail)]
        for thread in threads:
            thread.start()
        yield chat.server_port, mail.server_address[1]
        for server in (chat, mail):
            server.shutdown()
        for thread in threads:
            thread.join()


@pytest.mark.timeout(240)
@pytest.mark.slow
def test_a_backup_that_fails_is_told_by_chat_and_by_mail(tmp_path: Path, servers: tuple[int, int]) -> None:
    chat, mail = servers
    for name in ("jobs.yaml", "send_mail.py"):
        shutil.copy(FOLDER / name, tmp_path)
    jobs = tmp_path / "jobs.yaml"
    text = jobs.read_text().replace('MAIL_PORT: "25"', f'MAIL_PORT: "{mail}"').replace("within: 1m", "within: 15s")
    jobs.write_text(text)
    cli = Cli(tmp_path)
    cli.environment |= {
        "CHAT_WEBHOOK": f"http://127.0.0.1:{chat}/hook",
        "SCHEDULER_ALLOW_NETWORKS": "127.0.0.0/8",
        "PYTHONPATH": cli.environment["PYTHONPATH"],
    }
    port = free_port()
    process = cli.begin("up", "jobs.yaml", "--port", str(port))
    try:
        until(lambda: status(port, "/readyz") == 200, "ready")
        cli("trigger", "backup-orders", "--wait", code=1)
        cli("trigger", "backup-orders", "--wait", code=1)
        until(lambda: Mails.mails and Chat.posts, "both")
        until(lambda: len(cli.json("runs", "--job", "mail-oncall")["runs"]) == 1, "the mail's run")
    finally:
        assert end(process) == 0

    assert [True] == [re.match(r"backup-orders failed: .*3", said) is not None for said in Chat.posts], (
        "the second is throttled"
    )
    (sent,) = Mails.mails
    assert "To: oncall@example.com" in sent
    assert "Subject: 2 runs failed" in sent
