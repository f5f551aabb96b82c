"""Makes sure that the programs of RabbitMQ and PostgreSQL, and bubblewrap, are on the machine.

Run as ``python -m tests.support.services_programs``.

Nothing to do when they are there, or servers are given (TEST_AMQP_URL, TEST_DATABASE_URL). Else,
as root on Debian, their packages are installed, with their automatic start and the making of a
cluster refused, so that no server appears that was not there before.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.support.services import ServicesError
from tests.support.services_postgres import programs
from tests.support.services_rabbit import sbin

_POLICY = Path("/usr/sbin/policy-rc.d")
_CLUSTERS = Path("/etc/postgresql-common/createcluster.conf")


def missing() -> list[str]:
    """Return the Debian packages whose programs the tests need and do not find."""
    wanted = [] if sbin() or "TEST_AMQP_URL" in os.environ else ["rabbitmq-server"]
    wanted += [] if shutil.which("bwrap") else ["bubblewrap"]
    return wanted if programs() or "TEST_DATABASE_URL" in os.environ else [*wanted, "postgresql"]


def ensure() -> None:
    """Install what is missing, or raise ServicesError with one paragraph about it."""
    packages = missing()
    if not packages:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise ServicesError(
            f"The tests run against real servers and in real sandboxes, and the programs of {' and '.join(packages)} "
            f"are not on this machine. Install them (on Debian, as root: apt-get install {' '.join(packages)}), or run "
            "`make test` as root and it does so itself, or start Docker, or set TEST_AMQP_URL and TEST_DATABASE_URL to "
            "servers that may be filled with test data; the tests that kill servers need the programs in any case."
        )
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    keep_ours = ["-o", "Dpkg::Options::=--force-confold"]
    with ExitStack() as stack:
        stack.enter_context(for_a_while(_POLICY, "#!/bin/sh\nexit 101\n", mode=0o755))
        stack.enter_context(for_a_while(_CLUSTERS, "create_main_cluster = false\n", mode=0o644))
        for command in (["update", "-q"], ["install", "-q", "-y", "--no-install-recommends", *keep_ours, *packages]):
            subprocess.run(["apt-get", *command], env=environment, check=True)
    if still := missing():
        raise ServicesError(f"apt-get installed {' '.join(packages)}, and yet the programs of {still} are not found.")


@contextmanager
def for_a_while(path: Path, text: str, *, mode: int) -> Iterator[None]:
    """Give a file this content for the length of the block; then what was there before, or nothing."""
    before = path.read_bytes() if path.exists() else None
    before_mode = path.stat().st_mode if before is not None else 0
    made = [folder for folder in path.parents if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    try:
        yield
    finally:
        shipped = path.with_name(f"{path.name}.dpkg-dist")
        if before is not None:
            path.write_bytes(before)
            path.chmod(before_mode)
        elif shipped.exists():
            shipped.replace(path)
        else:
            path.unlink()
            for folder in made:
                if not any(folder.iterdir()):
                    folder.rmdir()


if __name__ == "__main__":
    try:
        ensure()
    except (ServicesError, subprocess.CalledProcessError) as error:
        sys.exit(str(error))
