"""compose.yaml says only what the program understands, and starts all of it."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from scheduler.cli.main import app
from scheduler.cli.process import PORTS
from scheduler.config import knobs
from scheduler.wiring import ACTORS

ROOT = Path(__file__).parents[2]
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
VARIABLES = {"DATABASE_URL", "AMQP_URL", *(knob.variable for knob in knobs())}


@pytest.mark.parametrize("name", OURS)
def test_the_command_line_takes_each_command(name: str) -> None:
    """Parsing stops before anything runs: an unknown command or option raises."""
    command, arguments = get_command(app), list(OURS[name]["command"])
    context = command.make_context("scheduler", list(arguments))
    while hasattr(command, "resolve_command"):
        _, command, arguments = command.resolve_command(context, arguments)
        context = command.make_context(command.name, list(arguments), parent=context)

    assert command.callback is not None


@pytest.mark.parametrize("name", OURS)
def test_each_variable_is_a_setting(name: str) -> None:
    assert set(OURS[name]["environment"]) <= VARIABLES


def test_every_actor_is_a_service_of_its_own() -> None:
    started = {service["command"][1] for service in OURS.values() if service["command"][0] == "start"}

    assert set(ACTORS) == started


def test_the_executor_has_no_database_password() -> None:
    assert "DATABASE_URL" not in OURS["executor"]["environment"]


@pytest.mark.parametrize("actor", ACTORS)
def test_an_actor_is_healthy_when_its_probe_says_ready(actor: str) -> None:
    service = OURS[actor]
    port = service["environment"]["SCHEDULER_PROBE_PORT"]

    assert f"http://127.0.0.1:{port}/readyz" in " ".join(service["healthcheck"]["test"])
    assert int(port) in {*PORTS.values()}


@pytest.mark.parametrize("actor", ACTORS)
def test_an_actor_waits_for_schema_and_topology(actor: str) -> None:
    assert OURS[actor]["depends_on"]["init"] == {"condition": "service_completed_successfully"}
    assert OURS["init"]["depends_on"]["init-schema"] == {"condition": "service_completed_successfully"}


def test_only_the_management_page_is_published_and_only_here() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", ())]

    assert published == ["127.0.0.1:15672:15672"]


def test_services_outlive_a_failure_and_start_when_their_servers_are_healthy() -> None:
    for name, service in SERVICES.items():
        assert service["restart"] == ("no" if name.startswith("init") else "unless-stopped"), name
        for upstream, how in service.get("depends_on", {}).items():
            assert ("healthcheck" in SERVICES[upstream]) == (how["condition"] == "service_healthy"), (name, upstream)


def test_no_password_is_written_down() -> None:
    text = (ROOT / "compose.yaml").read_text(encoding="utf-8")

    passwords = re.findall(r"://scheduler:([^@]+)@|PASS(?:WORD)?: (\S+)", text)

    assert passwords
    assert all((first or second).startswith("${") for first, second in passwords)


def test_the_programs_data_is_on_volumes_that_exist() -> None:
    declared = set(yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["volumes"])
    used = {
        volume.split(":")[0]
        for service in SERVICES.values()
        for volume in service.get("volumes", ())
        if not volume.startswith((".", "/"))
    }

    assert used == declared == {"rabbitmq", "postgres", "executor"}
