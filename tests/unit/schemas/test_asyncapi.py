"""The AsyncAPI document is what the models say, and holds together."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scheduler.transport.topology import EXCHANGES
from schemas.asyncapi import asyncapi
from schemas.feed import FACTS, CloudEvent
from schemas.vocabulary import Verdict

DOCS = Path(__file__).parents[3] / "docs"


def refs(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from refs(inner)


def test_the_published_document_is_current() -> None:
    """Written by: python -m schemas.asyncapi > docs/asyncapi.json."""
    assert asyncapi() == json.loads((DOCS / "asyncapi.json").read_text(encoding="utf-8"))


def test_every_reference_leads_somewhere() -> None:
    document = asyncapi()
    found = set(refs(document))

    assert "#/components/schemas/CloudEvent" in found
    for ref in found:
        path, _, inner = ref.partition("#")
        place: Any = json.loads((DOCS / path).read_text(encoding="utf-8")) if path else document
        for part in inner.strip("/").split("/") if inner else ():
            place = place[part]


def test_no_word_means_something_else_in_asyncapi() -> None:
    """OpenAPI's discriminator is an object, AsyncAPI's is text: the official parser refuses the whole document."""
    for name in ("asyncapi.json", "messages.schema.json"):
        assert "discriminator" not in (DOCS / name).read_text(encoding="utf-8")


def test_channels_name_exchanges_and_operations_the_messages_of_their_channel() -> None:
    document = asyncapi()
    kinds = {exchange.name: exchange.kind for exchange in EXCHANGES}
    feed = document["channels"]["feed"]

    assert re.fullmatch(r"3\.\d+\.\d+", document["asyncapi"])
    assert "topic" == kinds["scheduler.feed"] == feed["bindings"]["amqp"]["exchange"]["type"]
    for channel in document["channels"].values():
        named = set(re.findall(r"\{(\w+)\}", channel["address"] or ""))
        assert named == set(channel.get("parameters", {}))
    for operation in document["operations"].values():
        for message in operation["messages"]:
            assert message["$ref"].startswith(operation["channel"]["$ref"] + "/messages/")


def test_every_verdict_is_a_fact() -> None:
    assert {f"firing.{verdict}" for verdict in Verdict} < set(FACTS)
    assert asyncapi()["channels"]["feed"]["parameters"]["fact"]["enum"] == list(FACTS)


def test_the_example_of_the_page_is_an_event() -> None:
    page = (DOCS / "feed.md").read_text(encoding="utf-8")
    example = json.loads(page.split("```json")[1].split("```")[0])
    del example["data"]["…"]

    event = CloudEvent.model_validate(example)

    assert f"scheduler.{FACTS[3]}" == event.type
