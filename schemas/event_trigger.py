"""Triggers that wait for events: from AMQP publishers, webhooks, files."""

import re
from datetime import timedelta
from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from schemas.durations import Duration
from schemas.limit_spec import RateField
from schemas.message import Name
from schemas.sizes import Size
from schemas.spec_model import SpecModel, StrictBool, StrictInt, Text
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


class CollectSpec(SpecModel):
    """How many events one run stands for."""

    max: Annotated[StrictInt, Field(ge=2, le=1000)]
    """So many events, and the run starts."""
    within: Annotated[Duration, Field(gt=timedelta(0))]
    """So long after the first of them it starts in any case."""


class EventTriggerModel(TriggerModel):
    """The keys of a trigger that waits for events. Its ``params`` are templates that see ``event``."""

    gathers: ClassVar[Literal["all", "by", "none"]] = "all"
    """Which of debounce, throttle, collect and by such a trigger may have."""

    where: Annotated[Text, Field(min_length=1, max_length=MAX_WHERE_CHARS)] | None = None
    """JMESPath over {event, params}: the trigger fires for events for which it is true."""
    debounce: Annotated[Duration, Field(gt=timedelta(0))] | None = None
    """It fires for an event when no other has come for so long; those before it are debounced."""
    throttle: RateField | None = None
    """It fires for so many events in a time, as in 1/m; those beyond are throttled."""
    collect: CollectSpec | None = None
    """One run for several events, which it finds in event.data.events."""
    by: Annotated[Text, Field(min_length=1)] | None = None
    """A template over event: what debounce, throttle, collect and all_of go by, each value for itself."""

    @model_validator(mode="after")
    def _gathering_fits(self) -> Self:
        given = [key for key in ("debounce", "throttle", "collect", "by") if getattr(self, key) is not None]
        allowed = {"all": given, "by": ["by"], "none": []}[self.gathers]
        if wrong := [key for key in given if key not in allowed]:
            raise ValueError(f"{wrong[0]} has no meaning with {self.kind.value}")
        if self.collect is not None and len({"debounce", "throttle"}.intersection(given)):
            raise ValueError("collect stands alone, without debounce and throttle")
        if given == ["by"] and self.gathers == "all":
            raise ValueError("by is the key of debounce, throttle or collect, and none of them is given")
        return self


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


def _check_glob(text: str) -> str:
    parts = text.removeprefix("!").split("/")
    if any(part in {"", ".", ".."} for part in parts):
        raise ValueError(f"{text!r}: a pattern of names below the folder is expected, without empty parts, . and ..")
    return text


Glob = Annotated[Text, Field(min_length=1, max_length=1024), AfterValidator(_check_glob)]


class FileSpec(SpecModel):
    """Which changes of which files a trigger waits for."""

    path: Annotated[Text, Field(min_length=1, max_length=4096)]
    """The folder; a relative one is below the code directory. Links that lead out of it are not followed."""
    match: Annotated[tuple[Glob, ...], BeforeValidator(_one_or_many), Field(min_length=1, max_length=100)] = ("*",)
    """Globs of names, one or a list; with a slash of paths below the folder, ** for any folders; ! takes out."""
    changes: Annotated[tuple[FileChange, ...], BeforeValidator(_one_or_many), Field(min_length=1)] = (FileChange.ADDED,)
    """added, modified, deleted: one or a list. A file that takes another's place is modified, or else added."""
    settle: Duration = timedelta(seconds=2)
    """A file counts when its size and time have not changed for so long."""
    recursive: StrictBool = False
    """Folders below it too."""
    min_size: Size | None = None
    """Smaller files do not count; default: empty ones do."""

    @model_validator(mode="after")
    def _folders_are_looked_into(self) -> Self:
        if deep := next((glob for glob in self.match if "/" in glob and not self.recursive), None):
            raise ValueError(f"{deep!r} is for folders below, which are looked into with recursive: true")
        return self


class FileTrigger(EventTriggerModel):
    """Fires for files that come, change or go."""

    kind = TriggerKind.FILE
    timing = ("file", "where")

    file: FileSpec
    """The folder, and which files and changes in it."""
