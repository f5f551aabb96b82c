"""The implementations the transport's contract is held against."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from tests.support.transports import CONTRACT, AmqpRig, MemoryRig, Rig


@pytest.fixture(params=["memory", "classic", "quorum"])
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    """A broker with the contract's topology: in process, or RabbitMQ with that type of queues."""
    async with AsyncExitStack() as stack:
        made: Rig
        if request.param == "memory":
            made = MemoryRig(stack)
        else:
            made = AmqpRig(stack, request.getfixturevalue("amqp_url"), queue_type=request.param)
        await made.declare(CONTRACT)
        yield made
