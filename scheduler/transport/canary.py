"""The message that shows whether messages pass: what a broker says of its queues can be true of a stuck one.

Every process puts one in before it takes one out, of one queue of the kind that all others are. So
there is always one to be taken, though it may be that of another process.
"""

from typing import Final

from scheduler.errors import BrokerUnavailableError
from scheduler.ports import LinkState, Out
from scheduler.transport.topology import CANARY

CANARY_TIMEOUT_S: Final = 1.5


def canary() -> Out:
    return Out(CANARY, "", b"canary", content_type="text/plain")


def check_up(state: LinkState) -> None:
    """Raise BrokerUnavailableError for a link by which nothing can be sent."""
    if state is not LinkState.UP:
        raise BrokerUnavailableError(f"the link to the broker is {state}")
