"""The command line in this process, without a server."""

from collections.abc import Callable
from pathlib import Path

import pytest

from scheduler.cli.main import main

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    monkeypatch.chdir(tmp_path)
    for variable in ("DATABASE_URL", "AMQP_URL"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("SCHEDULER_DATA_DIR", str(tmp_path / "state"))

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        written = capsys.readouterr()
        return int(ended.value.code or 0), written.out, written.err

    return run
