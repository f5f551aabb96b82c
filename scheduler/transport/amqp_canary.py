"""Steps of a canary's way on ``amqp://``, each on a channel of its own: a refusal ends nothing else."""

from pamqp import commands

from scheduler.transport.amqp_wire import Wire, guarded
from scheduler.transport.topology import CANARY


async def check_way(wire: Wire) -> None:
    """Return when the canary's exchange is there: a publish to one that is missing ends its channel.

    Raises:
        SessionLostError: it is not, or the connection ended meanwhile; says which.
    """
    channel = await wire.scratch_channel()
    await guarded(channel.exchange_declare(CANARY, passive=True))
    await guarded(channel.close())


async def release_one(wire: Wire) -> bool:
    """Take one canary off the queue for good; False when there is none.

    Raises:
        SessionLostError: no such queue, or the connection ended meanwhile; says which.
    """
    channel = await wire.scratch_channel()
    found = await guarded(channel.basic_get(CANARY, no_ack=True))
    await guarded(channel.close())
    return isinstance(found.delivery, commands.Basic.GetOk)


async def send_one(wire: Wire) -> None:
    """Publish one and wait until the broker has it.

    Raises:
        SessionLostError: the connection ended meanwhile, or the broker gave no answer.
    """
    channel = await wire.channel(confirms=True)
    properties = commands.Basic.Properties(delivery_mode=2)
    await guarded(channel.basic_publish(b"canary", exchange=CANARY, properties=properties))
    await wire.close_channel(channel)
