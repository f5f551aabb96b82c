"""A named point kills the process where it is told to, and nowhere else."""

import os
import subprocess
import sys

import pytest

CODE = """
from scheduler.crash import crash_point as at
for n in 'abab': at(f'x.{n}'); at('y', n); print(n, end='', flush=True)
"""


@pytest.mark.parametrize(
    ("wish", "code", "passed"),
    [
        (None, 0, "abab"),
        ("x.b", -9, "a"),
        ("x.b:2", -9, "aba"),
        ("x.b:3", 0, "abab"),
        ("x", 0, "abab"),
        ("y@b", -9, "a"),
        ("y@b:2", -9, "aba"),
        ("y@c", 0, "abab"),
        ("y", 0, "abab"),
        ("x.b@a", 0, "abab"),
    ],
)
def test_the_process_dies_at_the_point_that_is_named(wish, code, passed):
    environment = {name: value for name, value in os.environ.items() if name != "CRASH_AT"}
    if wish is not None:
        environment["CRASH_AT"] = wish
    ended = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, check=False)
    assert (code, passed) == (ended.returncode, ended.stdout)
