"""Triggers that wait for events: from AMQP publishers, webhooks, files."""

import re
from datetime import timedelta
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, Field

from schemas.durations import Duration
from schemas.message import Name
from schemas.sizes import Size
from schemas.spec_model import SpecModel, StrictBool, Text
from schemas.trigger_model import TriggerModel
from schemas.vocabulary import FileChange, TriggerKind

MAX_TOPIC_BYTES: Final = 255
"""The longest routing key of AMQP; a tenant's name and a dot stand before the topic."""
MAX_WHERE_CHARS: Final = 4096
_SPACE: Final = re.compile(r"\s|[\0-\x1f]")


def check_topic(text: str) -> str:
    """Return ``text`` if it is a topic or a pattern of topics.

    Raises:
        ValueError: one plain sentence: what is wrong with it.
    """
    if not text:
        raise ValueError("must not be empty")
    if _SPACE.search(text):
        raise ValueError("a topic has no spaces and no control characters")
    if len(text.encode()) > MAX_TOPIC_BYTES:
        raise ValueError(f"a topic has at most {MAX_TOPIC_BYTES} bytes")
    for word in text.split("."):
        if len(word) > 1 and ("*" in word or "#" in word):
            raise ValueError(
                f"{word!r}: * stands for one whole word and # for any number of them, not for parts of one"
            )
    return text


def _one_or_many(value: object) -> object:
    return value if isinstance(value, list | tuple) else (value,)


class EventTriggerModel(TriggerModel):
    """The keys of a trigger that waits for events. Its ``params`` are templates that see ``event``."""

    where: Annotated[Text, Field(min_length=1, max_length=MAX_WHERE_CHARS)] | None = None
    """JMESPath over {event, params}: the trigger fires for events for which it is true."""


class TopicSpec(SpecModel):
    """Which events of publishers a trigger waits for."""

    topic: Annotated[Text, AfterValidator(check_topic)]
    """A topic, or a pattern as in an AMQP topic binding: * is one word, # any number of words."""


class EventTrigger(EventTriggerModel):
    """Fires for events that are published, by AMQP, by the command line or by HTTP."""

    kind = TriggerKind.EVENT
    timing = ("event", "where")

    event: TopicSpec
    """The topic of the events, without the tenant."""


class WebhookTrigger(EventTriggerModel):
    """Fires for each request that an endpoint accepts."""

    kind = TriggerKind.WEBHOOK
    timing = ("webhook", "where")

    webhook: Name
    """A name of webhooks."""


Glob = Annotated[Text, Field(min_length=1, max_length=1024)]


class FileSpec(SpecModel):
    """Which changes of which files a trigger waits for."""

    path: Annotated[Text, Field(min_length=1, max_length=4096)]
    """The folder, below which links that lead out of it are not followed."""
    match: Annotated[tuple[Glob, ...], BeforeValidator(_one_or_many), Field(min_length=1, max_length=100)] = ("*",)
    """Globs of file names, one or a list; with recursive of paths below the folder, ** for any folders."""
    changes: Annotated[tuple[FileChange, ...], BeforeValidator(_one_or_many), Field(min_length=1)] = (FileChange.ADDED,)
    """added, modified, deleted: one or a list."""
    settle: Duration = timedelta(seconds=2)
    """A file counts when its size and time have not changed for so long."""
    recursive: StrictBool = False
    """Folders below it too."""
    min_size: Size | None = None
    """Smaller files do not count; default: empty ones do."""


class FileTrigger(EventTriggerModel):
    """Fires for files that come, change or go."""

    kind = TriggerKind.FILE
    timing = ("file", "where")

    file: FileSpec
    """The folder, and which files and changes in it."""
