"""A Watcher that has more folders than inotify watches, as a program: only a process of its own can be so poor.

It prints why it polls, and the files that were events.
"""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from structlog.testing import capture_logs

from tests.support.watching import watch_stage

WATCHES = 2
_POOR = f'echo {WATCHES} >/proc/sys/user/max_inotify_watches && exec "$@"'


def watch_poorly(dsn: str, base: Path) -> Any:
    """Return what the program printed that watches ``base``/in in a user namespace with ``WATCHES`` inotify watches."""
    program = [sys.executable, "-m", "tests.support.few_watches", dsn, str(base)]
    enter = ["unshare", "--user", "--map-root-user", "sh", "-c", _POOR, "sh"]
    root = Path(__file__).parents[2]
    done = subprocess.run([*enter, *program], cwd=root, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


async def main(dsn: str, base: Path) -> None:
    folders = [base / "in", *(base / "in" / str(number) for number in range(WATCHES + 1))]
    for folder in folders:
        folder.mkdir()
    with capture_logs() as lines:
        async with watch_stage(dsn, base) as stage:
            await stage.apply({"path": "in", "settle": "200ms", "recursive": True})
            await stage.watcher()
            await stage.watching()
            for folder in folders:
                (folder / "new").touch()
            found = await stage.events(len(folders))
    reasons = [line["reason"] for line in lines if line["event"] == "watch.polled"]
    print(json.dumps({"reasons": reasons, "found": sorted(found)}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
