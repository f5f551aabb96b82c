"""Jobs that wait for events, and are held to limits: what is bought is sent and billed once, never too much at a time.

scheduler up examples/python/shop.py
scheduler event publish orders.eu.created --data '{"id": 7, "amount": 120}'
"""

from typing import Any

from scheduler import Concurrency, HandlerContext, Retry, Unique, file_keys, job, on_event, on_file, on_webhook

head = file_keys(
    source="shop",
    webhooks={"carrier": {"verify": "standard-webhooks", "secrets": [{"env": "CARRIER_WEBHOOK_SECRET"}]}},
)


@job(
    on_event("orders.*.created", where="event.data.amount > `0`", params={"order": "{{ event.data.id }}"}),
    unique=Unique(key="{{ params.order }}", within="1d"),
    concurrency=Concurrency(key="carrier", limit=2),
    retry=Retry(attempts=5, on=[ConnectionError]),
)
def send(order: int) -> dict[str, int]:
    """Hand a parcel to the carrier, who takes two at a time; each order once, however often it is told."""
    return {"parcel": 1000 + order}


@job(needs=[send], rate="60/m", params={"topic": "{{ event.topic }}"})
def bill(ctx: HandlerContext, topic: str) -> str:
    """Bill what was sent; jobs downstream know the event too."""
    return f"parcel {ctx.results['send']['parcel']} of {topic}"


@job(on_webhook("carrier", params={"parcel": "{{ event.data.parcel }}"}))
def arrived(parcel: int) -> int:
    """Take note that a parcel has arrived: the carrier calls the endpoint ``carrier``."""
    return parcel


@job(on_file({"path": "/data/returns", "match": "*.csv"}, params={"name": "{{ event.data.name }}"}))
def read_returns(name: str) -> dict[str, Any]:
    """Read a list of returned parcels when it is complete."""
    return {"file": name}
