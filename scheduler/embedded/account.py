"""Which user the private server runs as, and the words in front of its command line.

PostgreSQL refuses to run as root. Started as root it runs under a user id that nobody else has:
``nobody`` and ``postgres`` are shared with other programs, which could then trace it or write to
its files. The number is derived from the data directory, and from then on the directory's owner
is the memory of it.
"""

import hashlib
import os
import pwd
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from scheduler.errors import ConfigurationError

# Free by custom: Debian gives persons ids below 60000, systemd its own up to 65533, and ids for
# containers begin at 100000. The second range is for machines that map only 65536 ids.
_RANGES = (range(70_000, 90_000), range(50_000, 59_000))


@dataclass(frozen=True, slots=True)
class Account:
    """The ids the server runs under; ``switched`` when they are not our own."""

    uid: int
    gid: int
    switched: bool

    def prefix(self, *needed: Path) -> list[str]:
        """Return the command prefix that runs a program under this account.

        CAP_DAC_READ_SEARCH goes along only where one of the ``needed`` files lies below a
        directory that others may not enter (a checkout under /root): nothing is opened for it.
        """
        if not self.switched:
            return []
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            raise ConfigurationError("running as root needs setpriv (util-linux) to start PostgreSQL as another user")
        ids = [f"--reuid={self.uid}", f"--regid={self.gid}", "--clear-groups", "--no-new-privs"]
        if all(_open_to_all(path) for path in needed):
            kept = "-all"
        else:
            kept = "-all,+dac_read_search"
            # access(2), by which initdb looks for its sibling, ignores capabilities without this.
            ids.append("--securebits=+no_setuid_fixup")
        return [setpriv, *ids, f"--inh-caps={kept}", f"--ambient-caps={kept}", f"--bounding-set={kept}", "--"]


def account_for(cluster: Path) -> Account:
    """Return the account for the server whose data directory is ``cluster`` (it may not exist yet)."""
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid(), switched=False)
    try:
        owner = cluster.stat()
    except FileNotFoundError:
        return Account(uid := _free_id(cluster), uid, switched=True)
    if owner.st_uid == 0:
        raise ConfigurationError(f"{cluster} belongs to root, and PostgreSQL does not run as root")
    return Account(owner.st_uid, owner.st_gid, switched=True)


def initdb_account(account: Account) -> Account:
    """Return the account that may run initdb, which insists on a user with a name.

    What it makes is given to ``account`` afterwards.
    """
    if not account.switched:
        try:
            pwd.getpwuid(account.uid)
        except KeyError:
            raise ConfigurationError(
                f"user id {account.uid} has no name on this machine, and initdb insists on one: set DATABASE_URL"
            ) from None
        return account
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        raise ConfigurationError("running as root needs the user 'nobody' to make a new database") from None
    return Account(nobody.pw_uid, nobody.pw_gid, switched=True)


def our_names() -> list[str]:
    """Return the system users that may connect: root, and who runs us."""
    return sorted({"root", pwd.getpwuid(os.geteuid()).pw_name})


def _free_id(cluster: Path) -> int:
    digest = hashlib.sha256(os.fsencode(cluster)).digest()
    mapped = _mapped_ids()
    for numbers in _RANGES:
        if numbers[-1] not in mapped:
            continue
        first = int.from_bytes(digest[:4], "big")
        for step in range(len(numbers)):
            uid = numbers[(first + step) % len(numbers)]
            if not _named(uid):
                return uid
    raise ConfigurationError("no free user id to run PostgreSQL under: set DATABASE_URL")


def _mapped_ids() -> range:
    """Return the user ids that exist in this user namespace, from 0 on without a gap."""
    end = 0
    for line in Path("/proc/self/uid_map").read_text(encoding="ascii").splitlines():
        inside, _, count = map(int, line.split())
        if inside <= end:
            end = max(end, inside + count)
    return range(end)


def _named(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _open_to_all(path: Path) -> bool:
    resolved = path.resolve()
    if not resolved.is_dir() and not resolved.stat().st_mode & stat.S_IROTH:
        return False
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in resolved.parents)
