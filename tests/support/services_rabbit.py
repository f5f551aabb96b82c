"""Private RabbitMQ nodes, each with its own name, ports, epmd and folder, management plugin on."""

import base64
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from tests.support.services import Estate, Server, ServicesError, accepts, free_port, until

_ENV_PASSED = ("PATH", "TZ")


def sbin() -> Path | None:
    """Return the folder of RabbitMQ's own scripts (not Debian's wrappers, which switch user); None without it."""
    found = sorted(
        Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin"),
        key=lambda folder: [int(part) for part in re.findall(r"\d+", folder.parent.name)],
    )
    if found:
        return found[-1]
    on_path = shutil.which("rabbitmq-server")
    return Path(on_path).resolve().parent if on_path else None


class Management:
    """RabbitMQ's HTTP interface: vhosts in milliseconds, where rabbitmqctl takes a second."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "127.0.0.1", parts.port or 15672)
        user, password = unquote(parts.username or "guest"), unquote(parts.password or "guest")
        self.user = user
        token = base64.b64encode(f"{user}:{password}".encode()).decode()
        self._headers = {"authorization": f"Basic {token}", "content-type": "application/json"}

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Return the decoded answer, None for an empty one; raises ServicesError for a refusal, OSError if away."""
        link = http.client.HTTPConnection(*self._address, timeout=30)
        try:
            link.request(method, f"/api/{path}", None if body is None else json.dumps(body), self._headers)
            answer = link.getresponse()
            text = answer.read()
        finally:
            link.close()
        if answer.status >= 300:
            raise ServicesError(f"{method} {path}: {answer.status} {text.decode(errors='replace')}")
        return json.loads(text) if text else None

    def answers(self) -> bool:
        try:
            self.call("GET", "vhosts")
        except (OSError, http.client.HTTPException, ServicesError):
            return False
        return True

    def make_vhost(self, name: str) -> None:
        self.call("PUT", f"vhosts/{quote(name, safe='')}", {})
        every = {"configure": ".*", "write": ".*", "read": ".*"}
        self.call("PUT", f"permissions/{quote(name, safe='')}/{quote(self.user, safe='')}", every)

    def drop_vhost(self, name: str) -> None:
        self.call("DELETE", f"vhosts/{quote(name, safe='')}")


class RabbitNode:
    """One private node. ``start`` makes it, ``kill9`` and ``start`` again is a crash with its disk kept."""

    def __init__(self, estate: Estate, name: str, *, config: str = "") -> None:
        """``config`` is added to rabbitmq.conf, one setting a line."""
        self._estate = estate
        self._folder = estate.root / name
        self._name = f"{name}-{os.getpid()}@localhost"
        self.port, self._management_port, self._dist, self._epmd_port = (free_port() for _ in range(4))
        self._server: Server | None = None
        self._epmd: Server | None = None
        self._config = config

    @property
    def amqp_url(self) -> str:
        """The node's default vhost; guest may connect over loopback."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    @property
    def management_url(self) -> str:
        return f"http://guest:guest@127.0.0.1:{self._management_port}"

    @property
    def management(self) -> Management:
        return Management(self.management_url)

    @property
    def pids(self) -> list[int]:
        """Ids of the watchers (children of the test process) and of the servers."""
        return [pid for server in (self._epmd, self._server) if server for pid in (server.watcher_pid, server.pid)]

    def start(self) -> None:
        """Start the node and return at once; see ``wait_ready``. The disk of an earlier start is kept."""
        scripts = sbin()
        if scripts is None:
            raise ServicesError("RabbitMQ's programs are not on this machine")
        if not self._folder.exists():
            self._write_files()
        if self._epmd is None or not self._epmd.alive():
            self._epmd = self._run([_epmd_program(), "-port", str(self._epmd_port), "-address", "127.0.0.1"], "epmd")
            until(lambda: accepts(self._epmd_port), self._epmd, timeout_s=10, what="epmd")
        self._server = self._run([str(scripts / "rabbitmq-server")], "node")

    def wait_ready(self, timeout_s: float = 60.0) -> None:
        """Return when AMQP and the management interface answer."""
        assert self._server is not None
        ready = lambda: accepts(self.port) and self.management.answers()  # noqa: E731
        until(ready, self._server, timeout_s=timeout_s, what="RabbitMQ")

    def kill9(self) -> None:
        """Kill the node as a power cut would; its disk stays."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Stop the node in order; its disk stays, and so does its epmd."""
        self._end(signal.SIGTERM)

    def close(self) -> None:
        """End the node and its epmd at once, and remove its folder."""
        for server in (self._server, self._epmd):
            if server is not None and server.alive():
                server.signal(signal.SIGKILL)
                server.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def restart(self) -> None:
        self.stop()
        self.start()
        self.wait_ready()

    def ctl(self, *args: str, tool: str = "rabbitmqctl") -> str:
        """Run rabbitmqctl against this node and return what it printed; about a second each."""
        scripts = sbin()
        assert scripts is not None
        done = subprocess.run(
            [str(scripts / tool), "-q", *args], env=self._env(), capture_output=True, text=True, timeout=60, check=False
        )
        if done.returncode:
            raise ServicesError(f"{tool} {' '.join(args)}: {done.stdout}{done.stderr}")
        return done.stdout

    def run_script(self, script: str) -> None:
        """Run a shell script whose ``rabbitmqctl`` speaks to this node."""
        scripts = sbin()
        assert scripts is not None
        environment = self._env() | {"PATH": f"{scripts}:{os.environ['PATH']}"}
        subprocess.run(["sh", "-euc", script], env=environment, check=True, capture_output=True, timeout=120)

    def log(self) -> str:
        """Return what the node has logged so far."""
        return "".join(path.read_text(errors="replace") for path in sorted((self._folder / "log").glob("*.log")))

    def _end(self, number: int) -> None:
        assert self._server is not None
        self._server.signal(number)
        self._server.wait(60)

    def _run(self, argv: list[str], name: str) -> Server:
        return Server(argv, self._env(), self._folder / f"{name}.out", estate=self._estate, ending="KILL")

    def _write_files(self) -> None:
        for part in ("mnesia", "log"):
            (self._folder / part).mkdir(parents=True)
        settings = (
            f"listeners.tcp.default = 127.0.0.1:{self.port}\n"
            f"management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {self._management_port}\n"
            "loopback_users.guest = true\nlog.file.level = info\ncollect_statistics_interval = 1000\n"
        )
        (self._folder / "rabbitmq.conf").write_text(settings + self._config)
        (self._folder / "plugins").write_text("[rabbitmq_management].\n")

    def _env(self) -> dict[str, str]:
        folder = self._folder
        return {key: os.environ[key] for key in _ENV_PASSED if key in os.environ} | {
            "HOME": str(folder),
            "LC_ALL": "C.UTF-8",
            "RABBITMQ_NODENAME": self._name,
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._dist),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "absent-env.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "absent.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +S 2:2 +sbwt none",
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_CRASH_DUMP": str(folder / "erl_crash.dump"),
            # The script then replaces itself by the Erlang machine: one process to watch and to kill.
            "RUNNING_UNDER_SYSTEMD": "true",
        }


def _epmd_program() -> str:
    found = shutil.which("epmd") or next(map(str, Path("/usr/lib/erlang").glob("erts-*/bin/epmd")), None)
    if found is None:
        raise ServicesError("Erlang's epmd is not on this machine")
    return found
