"""What a job can learn of its executor, and of the jobs of other tenants, through /proc.

Root reads everything, so the executor runs as another user; the capability only opens a private checkout.
"""

import asyncio
import json
import os
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXECUTOR = """
import asyncio, json, os, sys
from dataclasses import replace
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import structlog
from scheduler.ports import StopRequest
from scheduler.sandbox.bubblewrap import Opened, find_bubblewrap
from scheduler.sandbox.protection import protect_process
from schemas.work import SecretRef
from tests.support.attempts import a_place, an_attempt, python, shell
LOOK = '''
for process in /proc/[0-9]*; do
    if (: < $process/mem) 2>/dev/null; then echo mem $(cat $process/comm); fi
    cat $process/environ 2>/dev/null | tr '\\\\0' '\\\\n' | grep canar[y]
done
true
'''
structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))  # what it prints is for the test
async def main():
    protect_process()
    async with a_place(Path(sys.argv[2]), bubblewrap=find_bubblewrap(Opened())) as place:
        (place.code_dir / "jobs.py").write_text("import os\\ndef works(): return len(os.environ['TOKEN'])\\n")
        with_secret = python("jobs:works", secrets={"TOKEN": SecretRef(env="HELD")})
        ended = await place.runner.run(with_secret, replace(an_attempt(), tenant="other"), StopRequest())
        waiting = len(place.runner._processes._children._warm)
        seen = await place.run(shell(LOOK, isolation=sys.argv[3]))
        print(json.dumps([os.getuid(), ended.result, waiting, seen.outcome, seen.output.head if seen.output else ""]))
asyncio.run(main())
"""
# Nobody else's number: the servers of other tests run as "nobody", and their memory would be open too.
UNPRIVILEGED = [
    "setpriv", "--reuid=61987", "--regid=61987", "--clear-groups", "--bounding-set=-all,+dac_read_search",
    "--inh-caps=-all,+dac_read_search", "--ambient-caps=+dac_read_search", "--",
] if os.geteuid() == 0 else []  # fmt: skip


@pytest.mark.parametrize("isolation", ["process", "sandbox"])
async def test_executor_launcher_wardens_and_waiting_processes_keep_their_memory_to_themselves(isolation):
    environment = {"PATH": os.environ["PATH"], "DATABASE_URL": "postgresql://canary", "HELD": "canary of a tenant"}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # one that others may enter
        Path(folder).chmod(0o777)
        argv = [*UNPRIVILEGED, sys.executable, "-c", EXECUTOR, str(ROOT), folder, isolation]

        executor = await asyncio.create_subprocess_exec(*argv, env=environment, stdout=asyncio.subprocess.PIPE, cwd="/")
        told, _ = await asyncio.wait_for(executor.communicate(), 30)

    uid, of_the_secret, waiting, outcome, seen = json.loads(told)
    assert uid != 0
    assert (of_the_secret, waiting, outcome) == (len("canary of a tenant"), 1, "succeeded")
    # Its own shell; the subshells that look; in a sandbox bubblewrap above it, which knows nothing else.
    assert set(seen.splitlines()) <= {"mem sh", "mem bwrap"}
    assert "mem sh" in seen
