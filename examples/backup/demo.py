"""The main job on real input: a backup as a graph of jobs, run by `scheduler up`, then compared with the disk.

    .venv/bin/python examples/backup/demo.py [--folder build/demo] [--check]

It does what you would do: it copies the definitions to a folder with data in it, runs
`scheduler up jobs.yaml --until-idle` there, looks with `scheduler runs` and `scheduler firings`, and
then compares what it was told with what lies on the disk. Exit 0: all is as it should be; else 1.
``--check`` compares again what an earlier demo left in the folder.
"""

import argparse
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from comparison import DETAILED, Check, Seen, compare
from data_tree import make_data_tree
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

HERE: Final = Path(__file__).resolve().parent
BUILD: Final = HERE.parents[1] / "build" / "demo"
SCHEDULER: Final = Path(sys.executable).with_name("scheduler")
FILES: Final = ("jobs.yaml", "backup_jobs.py", "verify.sh")
MARK: Final = ".made-by-demo"
"""In a folder that the demo made and may empty again."""
OBSERVED: Final = "observed.json"
LONGEST_S: Final = 120.0
STOP_S: Final = 20.0
STYLES: Final = {"succeeded": "green", "started": "green", "failed": "red", "timed_out": "red"}


class DemoError(Exception):
    """Something that the demo needs did not work; one line for people."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=BUILD, help="where everything goes; made anew")
    parser.add_argument("--check", action="store_true", help="only compare what an earlier demo left")
    given = parser.parse_args()
    folder: Path = given.folder.resolve()
    console = Console(highlight=False, soft_wrap=True)
    begun = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that nothing is left running
    try:
        if not given.check:
            prepare(folder)
            run(folder, console)
            (folder / OBSERVED).write_text(json.dumps(observe(folder, console), indent=2), encoding="utf-8")
        told = json.loads((folder / OBSERVED).read_text(encoding="utf-8"))
    except (DemoError, OSError) as error:
        console.print(f"demo: {error}", markup=False)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    seen = Seen(told["runs"], told["firings"])
    show_tables(seen, console)
    good = show_checks(compare(folder, seen), console)
    console.print(f"\narchive  {next((folder / 'backups').glob('*.tar.gz'), 'none')}", markup=False)
    console.print(f"report   {folder / 'report.md'}\ntook     {time.monotonic() - begun:.0f} s", markup=False)
    console.print(f"look     {shlex.join(['scheduler', 'up', '--data-dir', str(folder / 'state')])}", markup=False)
    return 0 if good else 1


def prepare(folder: Path) -> None:
    """Make ``folder`` new, with definitions and data."""
    if folder.exists():
        if not (folder / MARK).exists():
            raise DemoError(f"{folder} is there and not the demo's; name another with --folder")
        shutil.rmtree(folder)
    (folder / "data").mkdir(parents=True)
    (folder / MARK).touch()
    for name in FILES:
        shutil.copy(HERE / name, folder / name)
    make_data_tree(folder / "data")


def run(folder: Path, console: Console) -> None:
    """Run `scheduler up` until nothing more will happen; its progress goes to the terminal."""
    argv = command(folder, "up", str(folder / "jobs.yaml"), "--until-idle", "--port", "0")
    say(argv, console)
    console.print("  (the tape is made to fail, so this will end with code 1)", style="dim")
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, env=environment()) as process:
        try:
            code = process.wait(LONGEST_S)
        except BaseException:
            stop(process)
            raise
    if code not in (0, 1):
        raise DemoError(f"scheduler up ended with code {code}")


def observe(folder: Path, console: Console) -> dict[str, Any]:
    """Start `scheduler up` again on what it left, and ask it what happened."""
    with (folder / "up.log").open("wb") as log:
        argv = command(folder, "up", "--port", "0")
        with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment()) as process:
            try:
                wait_until_up(folder, process)
                runs = ask(folder, console, "runs", "--limit", "1000")["runs"]
                firings = ask(folder, console, "firings", "--limit", "1000")["firings"]
                for number, row in enumerate(runs):
                    if row["job"] in DETAILED:
                        runs[number] = ask(folder, console, "run", "show", row["id"])
            finally:
                stop(process)
    return {"runs": sorted(runs, key=lambda row: row["claimed_at"] or ""), "firings": firings[::-1]}


def wait_until_up(folder: Path, process: "subprocess.Popen[bytes]") -> None:
    give_up = time.monotonic() + LONGEST_S
    while subprocess.run(command(folder, "health"), capture_output=True, check=False, env=environment()).returncode:
        if process.poll() is not None or time.monotonic() > give_up:
            raise DemoError(f"scheduler up did not come back; see {folder / 'up.log'}")


def stop(process: "subprocess.Popen[bytes]") -> None:
    """End a `scheduler up` in order; it takes its database with it, also when it has to be killed."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def ask(folder: Path, console: Console, *words: str) -> Any:
    argv = command(folder, *words, "--json")
    say(argv, console)
    answer = subprocess.run(argv, capture_output=True, check=False, env=environment())
    if answer.returncode:
        raise DemoError(f"{' '.join(words)}: {answer.stderr.decode(errors='replace').strip()}")
    return json.loads(answer.stdout)


def environment() -> dict[str, str]:
    """Return the environment without what would lead to another database, broker or setting."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in {"DATABASE_URL", "AMQP_URL"} and not name.startswith("SCHEDULER_")
    }
    level = "warning" if sys.stdout.isatty() else "info"  # a terminal has the live table instead
    return {**kept, "SCHEDULER_LOG_FORMAT": "console", "SCHEDULER_LOG_LEVEL": level}


def command(folder: Path, *words: str) -> list[str]:
    return [str(SCHEDULER), *words, "--data-dir", str(folder / "state")]


def say(argv: list[str], console: Console) -> None:
    console.print(f"$ scheduler {shlex.join(argv[1:])}", style="bold", markup=False)


def show_tables(seen: Seen, console: Console) -> None:
    """Print the runs and the firings."""
    runs = Table("job", "state", "outcome", "attempts", "began (UTC)", "ended (UTC)", title="runs", box=box.SIMPLE_HEAD)
    for row in seen.runs:
        clocks = [_time_of_day(row[name]) for name in ("claimed_at", "finished_at")]
        runs.add_row(row["job"], _styled(row["state"]), _styled(row["outcome"] or ""), str(row["attempt"]), *clocks)
    firings = Table("job", "trigger", "fires at (UTC)", "verdict", "why", title="firings", box=box.SIMPLE_HEAD)
    for row in seen.firings:
        at = _time_of_day(row["fires_at"]) + (f" x {row['count']}" if row["count"] > 1 else "")
        firings.add_row(row["job"], row["trigger"], at, _styled(row["verdict"] or "none"), row["reason"] or "")
    console.print(runs, firings)


def show_checks(checks: list[Check], console: Console) -> bool:
    """Print what was compared; return whether all of it holds."""
    for check in checks:
        console.print(Text("wrong  " if check.wrong else "right  ", "red" if check.wrong else "green") + check.what)
        for wrong in check.wrong[:10]:
            console.print(f"       {wrong}", markup=False)
    return not any(check.wrong for check in checks)


def _time_of_day(at: str | None) -> str:
    return f"{datetime.fromisoformat(at):%H:%M:%S.%f}"[:-3] if at else ""


def _styled(word: str) -> Text:
    return Text(word, STYLES.get(word, ""))


if __name__ == "__main__":
    sys.exit(main())
