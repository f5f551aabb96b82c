"""Messages that come back: what the broker could not route, and its publisher asked to be told of."""

from collections.abc import Callable
from typing import Any

from pamqp import body, commands, header


class Returning:
    """Takes the frames of returned messages: a method, a header, and as many bodies as there are bytes."""

    def __init__(self, on_return: Callable[[str], None]) -> None:
        """``on_return`` is called with the message id of each message that came back, before its confirm comes."""
        self._on_return = on_return
        self._left: int | None = None
        """Bytes of the body that are still to come; None: no message is coming back."""
        self._wants_header = False

    def take(self, frame: Any) -> bool:
        """Return whether the frame belongs to a message that comes back."""
        if isinstance(frame, commands.Basic.Return):
            self._wants_header = True
        elif self._wants_header and isinstance(frame, header.ContentHeader):
            self._wants_header = False
            self._left = frame.body_size or None
            self._on_return(str(frame.properties.message_id))
        elif self._left is not None and isinstance(frame, body.ContentBody):
            left = self._left - len(frame.value)
            self._left = left if left > 0 else None
        else:
            return False
        return True
