"""A job that tells what happens to it: one line in the ledger when it starts and one when it ends.

Run as ``python -S -I ledger_job.py LEDGER [hold=SECONDS] [until=PATH] [fail=ATTEMPTS]`` with the
environment that jobs get. It sleeps for ``hold``, waits until the file ``until`` exists, and exits 1
in its first ``fail`` attempts. Each line is one write to a file opened for appending, so that lines
of many jobs never mix; it uses nothing of the scheduler.
"""

import os
import sys
import time


def main(ledger: str, *options: str) -> int:
    given = dict(option.split("=", 1) for option in options)
    environment = [os.environ[f"SCHEDULER_{name}"] for name in ("TENANT", "JOB", "FIRED_AT", "RUN_ID", "ATTEMPT")]
    mark = f"{os.getpid()} {os.urandom(4).hex()}"

    def tell(event: str) -> None:
        line = f"v1 {time.monotonic_ns()} {' '.join(environment)} {event} {mark}\n"
        file = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        os.write(file, line.encode())
        os.close(file)

    tell("start")
    time.sleep(float(given.get("hold", "0")))
    while "until" in given and not os.path.exists(given["until"]):  # noqa: PTH110 - no imports it can do without
        time.sleep(0.02)
    if int(environment[-1]) <= int(given.get("fail", "0")):
        return 1
    tell("finish")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
