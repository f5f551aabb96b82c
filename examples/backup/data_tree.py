"""Makes the data tree of the demo: a few hundred small files, and names that break careless programs."""

import os
import random
from pathlib import Path
from typing import Final

ORDERS: Final = 240
LARGE_BYTES: Final = 3 * 1024 * 1024
SEED: Final = 1

ODD_NAMES: Final = (
    b"two words.txt",
    b" leading and trailing ",
    b"-rf",
    b"--checkpoint-action=exec=false",
    b"new\nline.txt",
    b"tab\there.txt",
    b"back\\slash.txt",
    b"'single' \"double\".txt",
    b"$(false).txt",
    b"`false`;&|<>*?[x].txt",
    b"{{ run.id }}.txt",
    b"#hash %percent.txt",
    b".hidden",
    "Zo\u00eb composed.txt".encode(),
    "Zoe\u0308 decomposed.txt".encode(),
    "\u65e5\u672c\u8a9e \U0001f4be.txt".encode(),
    "right-to-left \u05e9\u05dc\u05d5\u05dd.txt".encode(),
    b"latin-1 \xe9\xff.txt",  # no UTF-8
    b"n" * 255,
)


def make_data_tree(root: Path) -> None:
    """Fill the new folder ``root``; the same on each call."""
    rng = random.Random(SEED)
    for number in range(ORDERS):
        folder = root / "orders" / f"{number % 12 + 1:02d}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"order-{number:04d}.json").write_bytes(rng.randbytes(rng.randrange(64, 4096)).hex().encode())
    odd = root / "odd names"
    odd.mkdir()
    for name in ODD_NAMES:
        (odd / os.fsdecode(name)).write_bytes(rng.randbytes(32) + name)
    (root / "empty.dat").touch()
    (root / "large.bin").write_bytes(rng.randbytes(LARGE_BYTES))
    (root / "empty folder").mkdir()
    (root / "link").symlink_to("large.bin")
    (root / "dangling link").symlink_to("nowhere")
