"""The private server: ends with its owner, keeps its data, lets nobody else in."""

import asyncio
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from scheduler.clock import SystemClock
from scheduler.embedded.account import account_for
from scheduler.embedded.ownership import DataDirLock
from scheduler.embedded.postgres import PrivatePostgres
from scheduler.embedded.sockets import find_running
from scheduler.errors import ConfigurationError, ConflictError
from tests.support.embedded import gone, owner_process, query, said, server_pid, socket_folder, until, watchers_of


async def test_the_database_belongs_to_a_role_that_is_no_superuser(private_postgres: PrivatePostgres):
    assert (
        await query(private_postgres.dsn, "SELECT current_user || '@' || current_database()")
    ) == "scheduler@scheduler"
    assert (await query(private_postgres.dsn, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user")) is False
    assert "" == await query(private_postgres.dsn, "SHOW listen_addresses")
    assert ("on", "on") == (
        await query(private_postgres.dsn, "SHOW fsync"),
        await query(private_postgres.dsn, "SHOW synchronous_commit"),
    )


async def test_a_command_finds_a_running_server_and_only_a_running_one(
    data_dir: Path, private_postgres: PrivatePostgres
):
    while_up = find_running(data_dir)
    used = private_postgres.dsn

    await private_postgres.stop()

    assert (used, None) == (while_up, find_running(data_dir))
    assert not socket_folder(used).exists()


async def test_what_was_committed_is_there_after_stop_and_start(private_postgres: PrivatePostgres):
    await query(private_postgres.dsn, "CREATE TABLE kept AS SELECT 7 AS n")

    await private_postgres.stop()
    await private_postgres.start()

    assert 7 == await query(private_postgres.dsn, "SELECT n FROM kept")


async def test_a_second_owner_is_refused_and_told_by_whom(data_dir: Path, private_postgres: PrivatePostgres):
    with pytest.raises(ConflictError, match=f"process {os.getpid()}$"):
        await PrivatePostgres(data_dir, SystemClock()).start()

    assert 1 == await query(private_postgres.dsn, "SELECT 1")


async def test_what_was_given_free_is_waited_for_until_the_last_process_lets_go(data_dir: Path):
    data_dir.mkdir()
    given_free = await DataDirLock.take(data_dir, data_dir / "postgres", SystemClock())
    last_process = os.dup(given_free.descriptor)
    given_free.release()

    taking = asyncio.create_task(DataDirLock.take(data_dir, data_dir / "postgres", SystemClock()))
    done, _ = await asyncio.wait([taking], timeout=0.1)
    os.close(last_process)

    assert set() == done
    (await taking).release()


async def test_the_owner_learns_that_the_server_died_and_starts_it_again(
    data_dir: Path, private_postgres: PrivatePostgres
):
    await query(private_postgres.dsn, "CREATE TABLE kept AS SELECT 7 AS n")
    lost = private_postgres.lost()

    os.kill(server_pid(data_dir), signal.SIGKILL)
    async with asyncio.timeout(20):
        await lost.wait()
    await private_postgres.start()

    assert 7 == await query(private_postgres.dsn, "SELECT n FROM kept")
    assert not private_postgres.lost().is_set()


async def test_a_stop_is_no_loss(private_postgres: PrivatePostgres):
    await private_postgres.stop()
    await private_postgres.stop()

    assert not private_postgres.lost().is_set()


async def test_sigkill_of_the_owner_ends_the_server_and_keeps_its_data(data_dir: Path):
    with owner_process(data_dir) as owner:
        assert said(owner)
        pid = server_pid(data_dir)

        owner.kill()

        await until(lambda: gone(pid))
        assert find_running(data_dir) is None
    with owner_process(data_dir) as owner:
        assert 2 == await query(said(owner), "SELECT sum(n) FROM kept")


@pytest.mark.parametrize("with_server", [False, True], ids=["server-survives", "server-killed-too"])
async def test_sigkill_of_owner_and_watcher_is_mended_by_the_next_start(data_dir: Path, *, with_server: bool):
    with owner_process(data_dir) as owner:
        assert said(owner)
        pid = server_pid(data_dir)
        for doomed in [owner.pid, *watchers_of(owner), *([pid] if with_server else [])]:
            os.kill(doomed, signal.SIGKILL)
        owner.wait()

    with owner_process(data_dir) as owner:
        assert 2 == await query(said(owner), "SELECT sum(n) FROM kept")
        assert gone(pid)


async def test_a_process_id_given_to_somebody_else_is_not_touched(data_dir: Path, private_postgres: PrivatePostgres):
    await private_postgres.stop()
    account = account_for(data_dir / "postgres")  # whose processes the server may signal
    with subprocess.Popen([*account.prefix(), "sleep", "60"]) as stranger:
        left = data_dir / "postgres/postmaster.pid"
        left.write_text(f"{stranger.pid}\n{data_dir}/postgres\n0\n5432\n/tmp\n\n0 0\nready   \n")
        shutil.chown(left, account.uid, account.gid)

        assert find_running(data_dir) is None
        await private_postgres.start()

        assert stranger.poll() is None
        assert 1 == await query(private_postgres.dsn, "SELECT 1")
        stranger.kill()


async def test_a_socket_directory_that_others_may_enter_is_refused(private_postgres: PrivatePostgres):
    folder = socket_folder(private_postgres.dsn)
    await private_postgres.stop()
    folder.mkdir(mode=0o700)
    folder.chmod(0o755)

    with pytest.raises(ConfigurationError, match="in the way"):
        await private_postgres.start()

    assert 0o755 == folder.stat().st_mode & 0o777
    folder.rmdir()


async def test_data_of_a_version_that_is_not_here_is_refused_in_one_line(
    data_dir: Path, private_postgres: PrivatePostgres
):
    await private_postgres.stop()
    (data_dir / "postgres/PG_VERSION").write_text("12\n")

    with pytest.raises(ConfigurationError, match=r"made by PostgreSQL 12, this machine has 18.*") as refused:
        await private_postgres.start()

    assert refused.value.exit_code == 78
    assert "\n" not in str(refused.value)


async def test_a_start_that_was_killed_while_making_the_cluster_is_made_again(data_dir: Path):
    (data_dir / "postgres.new").mkdir(parents=True)
    (data_dir / "postgres.new/PG_VERSION").write_text("18\n")
    server = PrivatePostgres(data_dir, SystemClock())

    await server.start()

    assert 1 == await query(server.dsn, "SELECT 1")
    await server.stop()


async def test_no_mode_above_the_data_changes_and_the_path_may_be_long(tmp_path: Path):
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True, mode=0o700)
    modes = {path: path.stat().st_mode for path in [deep, *deep.parents]}
    server = PrivatePostgres(deep / "state", SystemClock())

    await server.start()

    assert 1 == await query(server.dsn, "SELECT 1")
    assert len(os.fsencode(socket_folder(server.dsn))) < 86
    assert modes == {path: path.stat().st_mode for path in modes}
    await server.stop()
