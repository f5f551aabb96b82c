"""The example of events: a file is dropped, a webhook posted, a message published; three flows end."""

import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from tests.support.cli import ROOT, Cli, end, status, until
from tests.support.services import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

EXAMPLE = ROOT / "examples" / "events"
SECRET = "d6b1c5a2f0e94f7fb6a4" * 2
FLOWS = {
    "import-csv": "report-import",
    "book-payment": "send-receipt",
    "check-stock": "ship-order",
}


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    shutil.copytree(EXAMPLE, tmp_path, dirs_exist_ok=True)
    cli = Cli(tmp_path)
    cli.environment["PAYMENTS_SECRET"] = SECRET
    return cli


def post_payment(port: int) -> int:
    spec = importlib.util.spec_from_file_location("post_payment", EXAMPLE / "post_payment.py")
    assert spec is not None
    assert spec.loader is not None
    example: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    url = f"http://127.0.0.1:{port}/hooks/default/payments"
    answer: int = example.post(url, b'{"amount": 12, "customer": "Ada"}', SECRET, "delivery-1")
    return answer


def running(cli: Cli) -> Iterator[int]:
    port = free_port()
    up = cli.begin("up", "jobs.yaml", "--port", str(port))
    try:
        until(lambda: status(port, "/readyz") == 200, "readiness")
        yield port
    finally:
        end(up)


def set_off(cli: Cli, port: int) -> None:
    """Drop the file and post the webhook, as the page says."""
    (cli.folder / "incoming" / "orders.csv").write_text("a,1\nb,2\n")
    assert post_payment(port) == 202


def check(cli: Cli) -> None:
    """Wait for the three flows, and look at what they did."""

    def ended() -> dict[str, Any]:
        return {run["job"]: run for run in cli.json("runs")["runs"] if run["state"] == "succeeded"}

    until(lambda: {*FLOWS, *FLOWS.values()} <= ended().keys(), "the end of three flows")
    runs = ended()
    for root, follower in FLOWS.items():
        flows = [cli.json("run", "show", runs[job]["id"])["flow_id"] for job in (root, follower)]
        assert flows[0] == flows[1]
    assert "2 rows imported" in cli("run", "logs", runs["report-import"]["id"])
    assert "booking 12 of Ada" in cli("run", "logs", runs["book-payment"]["id"])
    assert "order 7 from orders.eu.created" in cli("run", "logs", runs["check-stock"]["id"])
    assert {event["verdict"] for event in cli.json("event", "list")["events"]} == {"started"}


def test_three_flows_end_by_rabbitmq(cli: Cli, database_url: str, amqp_url: str, rabbit: Any) -> None:
    cli.environment |= {"DATABASE_URL": database_url, "AMQP_URL": amqp_url}
    vhost = quote(urlsplit(amqp_url).path[1:], safe="")
    message = {"properties": {}, "payload_encoding": "string", "routing_key": "default.orders.eu.created"}
    for port in running(cli):
        set_off(cli, port)
        answer = rabbit.management.call(
            "POST", f"exchanges/{vhost}/scheduler.events/publish", message | {"payload": '{"id": 7}'}
        )
        assert answer == {"routed": True}
        check(cli)


def test_three_flows_end_embedded(cli: Cli) -> None:
    for port in running(cli):
        set_off(cli, port)
        cli("event", "publish", "orders.eu.created", "--data", '{"id": 7}')
        check(cli)
