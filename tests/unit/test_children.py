"""What an executor hears of a child, whatever it says to the child's warden meanwhile."""

import asyncio
import json
import os
import socket

import pytest

from scheduler.sandbox.children import Child
from scheduler.sandbox.output import OutputBuffer


@pytest.fixture
async def warden_and_child():
    warden, control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    control.setblocking(False)
    output_fd, write_fd = os.pipe()
    os.set_blocking(output_fd, False)
    os.close(write_fd)
    loop = asyncio.get_running_loop()
    futures = (loop.create_future(), loop.create_future(), loop.create_future())
    child = Child(control, output_fd, None, OutputBuffer(), *futures)
    yield warden, child
    child.close()


async def test_a_kill_that_comes_too_late_takes_nothing_from_what_the_warden_said(warden_and_child):
    warden, child = warden_and_child
    used = {"cpu_s": 0.5, "peak_memory_bytes": 4096, "read_bytes": 0, "written_bytes": 0, "limited_by": "cgroup2"}
    for message in ({"started": 7}, {"ended": 0}, {"gone": 3, "usage": {**used, "disk_bytes": None}}):
        warden.send(json.dumps(message).encode())
    child.kill()
    warden.close()

    child.follow()

    assert await asyncio.wait_for(child.gone, 5) == 3
    assert (child.pid, child.ended.result()) == (7, 0)
    assert child.usage is not None
    assert child.usage.limited_by == "cgroup2"
