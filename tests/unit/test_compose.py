"""compose.yaml says only what the program understands, and starts all of it."""

import re
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
import yaml

from scheduler.api.authentication import check_http_settings
from scheduler.cli.main import command_line
from scheduler.cli.process import PORTS
from scheduler.config import Settings, knobs, load_settings
from scheduler.transport.broker_url import check_broker_url, user_of, vhost_of
from scheduler.wiring import ACTORS

ROOT = Path(__file__).parents[2]
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
HOME = re.findall(r"--home-dir (\S+)", DOCKERFILE)[0]
SERVER_PORTS = {
    "amqp_url": ("rabbitmq", 5672),
    "management_url": ("rabbitmq", 15672),
    "database_url": ("postgres", 5432),
}
VARIABLES = {"DATABASE_URL", "AMQP_URL", *(knob.variable for knob in knobs())}


@pytest.mark.parametrize("name", OURS)
def test_the_command_line_takes_each_command(name: str) -> None:
    """Parsing stops before anything runs: an unknown command or option raises."""
    command, arguments = command_line(), list(OURS[name]["command"])
    context = command.make_context("scheduler", list(arguments))
    while hasattr(command, "resolve_command"):
        _, command, arguments = command.resolve_command(context, arguments)
        context = command.make_context(command.name, list(arguments), parent=context)

    assert command.callback is not None


def filled(text: str) -> str:
    """Return what compose makes of ``text`` where each password is its variable's name, and nothing else is set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", re.sub(r"\$\{(\w+):\?[^}]*\}", r"\1", text))


def settings_of(name: str) -> Settings:
    """Return the settings of a service where the variables that it is handed on are not set."""
    given = OURS[name]["environment"]
    environment = {key: filled(value) for key, value in given.items() if value is not None}
    loaded = load_settings({}, environment)
    assert loaded.warnings == ()
    return loaded.settings


def mounts(name: str) -> dict[str, str]:
    """Return what is mounted, by its place in the container."""
    return {volume.split(":")[1]: volume.split(":")[0] for volume in SERVICES[name].get("volumes", ())}


@pytest.mark.parametrize("name", OURS)
def test_each_variable_is_a_setting_with_a_value_that_can_be(name: str) -> None:
    assert set(OURS[name]["environment"]) <= VARIABLES
    settings_of(name)


@pytest.mark.parametrize("name", OURS)
def test_each_address_is_that_of_a_service(name: str) -> None:
    """The ports are those of the images, whose servers have no others set here."""
    settings = settings_of(name)
    for setting, (host, port) in SERVER_PORTS.items():
        address = getattr(settings, setting)
        if address is not None:
            parts = urlsplit(address.get_secret_value())
            assert (host, port) == (parts.hostname, parts.port)


@pytest.mark.parametrize("name", OURS)
def test_the_broker_takes_each_user_to_its_vhost(name: str) -> None:
    settings, broker = settings_of(name), SERVICES["rabbitmq"]["environment"]
    user, password = broker["RABBITMQ_DEFAULT_USER"], filled(broker["RABBITMQ_DEFAULT_PASS"])
    if settings.amqp_url is not None:
        url = settings.amqp_url.get_secret_value()
        check_broker_url(url, allow_insecure=settings.insecure_broker)
        assert (user, broker["RABBITMQ_DEFAULT_VHOST"]) == (user_of(url), vhost_of(url))
        assert password == urlsplit(url).password
    if settings.management_url is not None:
        parts = urlsplit(settings.management_url.get_secret_value())
        assert ("http", user, password) == (parts.scheme, parts.username, parts.password)


@pytest.mark.parametrize("name", OURS)
def test_the_server_has_the_database_and_the_user_of_each_service(name: str) -> None:
    settings, server = settings_of(name), SERVICES["postgres"]["environment"]
    if settings.database_url is not None:
        parts = urlsplit(settings.database_url.get_secret_value())
        named = (parts.username, parts.password, unquote(parts.path))
        assert (server["POSTGRES_USER"], filled(server["POSTGRES_PASSWORD"]), f"/{server['POSTGRES_DB']}") == named
        assert {"sslmode": ["disable"]} == parse_qs(parts.query)
        assert settings.insecure_database


def test_each_service_has_what_it_needs() -> None:
    needs = {"init-schema": (True, False), "init": (True, True), **dict.fromkeys(ACTORS, (True, True))}
    needs["executor"] = (False, True)
    has = {name: settings_of(name) for name in OURS}

    assert needs == {name: (each.database_url is not None, each.amqp_url is not None) for name, each in has.items()}
    assert has["init"].management_url is not None


def test_the_jobs_folder_is_where_the_executor_and_apply_look() -> None:
    command = OURS["executor"]["command"]

    code_dir = command[command.index("--code-dir") + 1]

    for actor in ACTORS:
        assert mounts(actor)[code_dir] == "./jobs", actor
    assert f"scheduler apply {code_dir}" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_executor_keeps_its_spool_on_a_volume(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", HOME)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)

    kept = PurePosixPath(settings_of("executor").data_dir)

    assert "executor" in {volume for place, volume in mounts("executor").items() if kept.is_relative_to(place)}


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
    assert int(port) == settings_of(actor).probe_port
    assert int(port) in {*PORTS.values()}


@pytest.mark.parametrize("actor", ACTORS)
def test_an_actor_waits_for_schema_and_topology(actor: str) -> None:
    assert OURS[actor]["depends_on"]["init"] == {"condition": "service_completed_successfully"}
    assert OURS["init"]["depends_on"]["init-schema"] == {"condition": "service_completed_successfully"}


def test_only_the_management_page_and_the_http_interface_are_published_and_only_here() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    port = settings_of("ingress").http.port

    assert published == {"rabbitmq": ["127.0.0.1:15672:15672"], "ingress": [f"127.0.0.1:{port}:{port}"]}


def test_the_ingress_asks_who_is_calling() -> None:
    http = settings_of("ingress").http

    check_http_settings(settings_of("ingress"))
    assert (http.host, http.auth) == ("0.0.0.0", ("keys",))


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


def test_container_of_the_tests_runs_all_of_them_on_a_copy():
    tests = yaml.safe_load((ROOT / "tests" / "compose.yaml").read_text(encoding="utf-8"))["services"]["tests"]
    assert tests["volumes"] == ["..:/from:ro"]
    assert tests["command"][-1].rstrip().endswith("exec make test")
    assert "docker compose --file tests/compose.yaml run --rm tests" in (ROOT / "scripts" / "test.sh").read_text()
