"""What an event says of a file."""

import base64
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from scheduler.domain.file_changes import Change
from scheduler.domain.file_names import name_text

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
TOPIC: Final = "file."
"""Before the change: the topic of events of files."""


def file_data(root: bytes, change: Change) -> dict[str, Any]:
    """Return the data of the event for ``change`` of a file below ``root``, an absolute path."""
    path = b"%b/%b" % (root.rstrip(b"/"), change.path)
    data: dict[str, Any] = {
        "change": change.kind,
        "path": name_text(path),
        "path_b64": base64.b64encode(path).decode(),
        "name": name_text(change.path.rpartition(b"/")[2]),
        "folder": name_text(root),
        "relative": name_text(change.path),
    }
    if change.stamp is not None:
        modified_at = modified(change)
        data["size"] = change.stamp.size
        data["modified_at"] = None if modified_at is None else modified_at.isoformat().replace("+00:00", "Z")
    if change.replaced:
        data["replaced"] = True
    if change.renamed_from is not None:
        data["renamed_from"] = name_text(change.renamed_from)
    return data


def modified(change: Change) -> datetime | None:
    """Return when the file was written last; None: it is gone, or its time is none of a calendar."""
    if change.stamp is None:
        return None
    try:
        return _EPOCH + timedelta(microseconds=change.stamp.mtime_ns // 1000)
    except OverflowError:
        return None
