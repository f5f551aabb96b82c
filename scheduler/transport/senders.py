"""The ways out for messages that jobs publish: see ``scheduler/sending.py``."""

import asyncio
import socket
from contextlib import suppress
from typing import Any, Final

import aio_pika
import aiormq
from aio_pika.exceptions import DeliveryError, PublishError

from scheduler.ports import Out, Publisher, PublishOutcome, Transport
from scheduler.sending import EVENTS, Letter, NotSentError
from scheduler.transport.amqp_wire import reason_of
from scheduler.transport.broker_url import address_of

_CONNECT_S: Final = 10.0
_CONFIRM_S: Final = 10.0
_CLOSE_S: Final = 1.0


class AmqpSender:
    """A connection of its own, made when the first message comes; a channel for each message.

    What a job gets wrong (an exchange that is not there, a right that is missing) closes a channel
    at the broker: the executor's own connection must not be the one.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: Any = None
        self._connecting = asyncio.Lock()

    async def send(self, letter: Letter) -> None:
        try:
            async with asyncio.timeout(_CONNECT_S + _CONFIRM_S):
                await self._send(letter)
        except PublishError:
            raise NotSentError(f"no queue takes {letter.routing_key!r} from {letter.exchange}") from None
        except DeliveryError:
            raise NotSentError(f"the broker refused it: a queue that {letter.exchange} leads to is full") from None
        except TimeoutError:
            raise NotSentError(f"broker {address_of(self._url)} did not confirm it in time") from None
        except (aiormq.AMQPError, OSError, RuntimeError) as error:
            raise NotSentError(f"broker {address_of(self._url)}: {reason_of(error)}") from None

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(aiormq.AMQPError, OSError, RuntimeError, TimeoutError):
                async with asyncio.timeout(_CLOSE_S):
                    await connection.close()

    async def _send(self, letter: Letter) -> None:
        connection = await self._connected()
        async with connection.channel(publisher_confirms=True, on_return_raises=True) as channel:
            exchange = await channel.get_exchange(letter.exchange, ensure=False)
            message = aio_pika.Message(
                letter.body,
                headers=dict(letter.headers),
                content_type=letter.content_type,
                message_id=letter.message_id,
                delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            )
            await exchange.publish(message, letter.routing_key, mandatory=True)

    async def _connected(self) -> Any:
        async with self._connecting:
            if self._connection is None or self._connection.is_closed:
                name = f"scheduler/publish@{socket.gethostname()}"
                self._connection = await aio_pika.connect(
                    self._url, timeout=_CONNECT_S, client_properties={"connection_name": name}
                )
            return self._connection


class MemorySender:
    """The broker of this process: nobody but the scheduler itself hears it, so events are all there is to publish."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._publisher: Publisher | None = None

    async def send(self, letter: Letter) -> None:
        if letter.exchange != EVENTS:
            raise NotSentError(f"the broker in this process has no exchange {letter.exchange}: set AMQP_URL")
        if self._publisher is None:
            self._publisher = await self._transport.publisher("publish")
        outcome = await self._publisher.publish(
            Out(
                letter.exchange, letter.routing_key, letter.body, letter.message_id, letter.headers,
                content_type=letter.content_type, mandatory=True,
            )
        )  # fmt: skip
        if outcome is not PublishOutcome.STORED:
            raise NotSentError(f"nobody takes {letter.routing_key!r} from {letter.exchange} ({outcome})")

    async def close(self) -> None:
        if self._publisher is not None:
            await self._publisher.close()
