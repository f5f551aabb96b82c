"""The spool keeps ends over the death of a process, and nobody shares it."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from actors.executing import spool as spool_module
from actors.executing.spool import Spool
from scheduler.errors import ConfigurationError


def opened(folder: Path) -> tuple[Spool, list[bytes]]:
    spool = Spool(folder)
    return spool, spool.open()


def reopened(folder: Path, spool: Spool) -> list[bytes]:
    spool.close()
    again, lines = opened(folder)
    again.close()
    return lines


def test_lines_come_back_in_order(tmp_path):
    spool, found = opened(tmp_path / "state")
    assert [] == found
    spool.append([b"one", b"two"])
    spool.append([b"three"])
    assert [b"one", b"two", b"three"] == reopened(tmp_path / "state", spool)


def test_a_torn_last_line_is_dropped_and_the_next_one_is_whole(tmp_path):
    spool, _ = opened(tmp_path)
    spool.append([b"one"])
    spool.close()
    with (tmp_path / "ends.jsonl").open("ab") as file:
        file.write(b"tor")
    spool, found = opened(tmp_path)
    assert [b"one"] == found
    spool.append([b"two"])
    assert [b"one", b"two"] == reopened(tmp_path, spool)


def test_rewriting_replaces_all_and_appending_goes_on(tmp_path):
    spool, _ = opened(tmp_path)
    spool.append([b"one", b"two"])
    spool.rewrite([b"two"])
    spool.append([b"three"])
    assert len(b"two\nthree\n") == spool.size
    assert [b"two", b"three"] == reopened(tmp_path, spool)


def test_rewriting_to_nothing_empties_the_file(tmp_path):
    spool, _ = opened(tmp_path)
    spool.append([b"one"])
    spool.rewrite([])
    assert 0 == (tmp_path / "ends.jsonl").stat().st_size == spool.size
    spool.close()


def test_a_second_executor_is_refused(tmp_path):
    spool, _ = opened(tmp_path)
    with pytest.raises(ConfigurationError, match="in use by another executor"):
        Spool(tmp_path).open()
    spool.close()
    opened(tmp_path)[0].close()


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="cannot be used for state"):
        Spool(tmp_path / "file" / "state").open()


def test_a_full_disk_is_a_trouble_and_leaves_whole_lines(tmp_path, monkeypatch):
    spool, _ = opened(tmp_path)
    spool.append([b"one"])
    write = os.write
    monkeypatch.setattr(spool_module.os, "write", lambda file, block: write(file, block[:2]))
    spool.append([b"lost"])
    assert "cannot be written" in (spool.trouble or "")
    monkeypatch.undo()
    spool.append([b"two"])
    assert spool.trouble is None
    assert [b"one", b"two"] == reopened(tmp_path, spool)


@pytest.mark.parametrize("seed", range(5))
def test_whatever_is_cut_off_the_end_the_lines_before_it_are_kept(tmp_path, seed):
    rng = random.Random(seed)
    lines = [bytes(rng.choices(b"abc{}", k=rng.randint(1, 30))) for _ in range(20)]
    spool, _ = opened(tmp_path)
    spool.append(lines)
    size = rng.randint(0, spool.size)
    spool.close()
    os.truncate(tmp_path / "ends.jsonl", size)
    spool, found = opened(tmp_path)
    spool.close()
    assert lines[: len(found)] == found
    assert sum(len(line) + 1 for line in found) <= size
    assert len(found) == len(lines) or size < sum(len(line) + 1 for line in lines[: len(found) + 1])


def test_what_was_appended_survives_a_kill(tmp_path):
    code = (
        "import os, pathlib, signal, sys\n"
        "from actors.executing.spool import Spool\n"
        "spool = Spool(pathlib.Path(sys.argv[1])); spool.open(); spool.append([b'one', b'two'])\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert -9 == ended.returncode
    spool, found = opened(tmp_path)
    spool.close()
    assert [b"one", b"two"] == found
