"""Names of files as text. On the disk they are bytes, not always UTF-8; text has to be storable, and lead back to them.

A byte that is not part of UTF-8 becomes one character of a private area, U+FDC80 to U+FDCFF. So does each byte
of such a character that really stands in a name: no two names have the same text.
"""

import re
from typing import Final

_FIRST_BYTE: Final = 0x80
_ESCAPED: Final = 0xDC00
"""As in surrogateescape: this plus the byte."""
_SAFE: Final = 0xFDC00
_TO_SAFE: Final = {_ESCAPED + byte: _SAFE + byte for byte in range(_FIRST_BYTE, 0x100)}
_TO_ESCAPED: Final = {safe: escaped for escaped, safe in _TO_SAFE.items()}
_MARKS: Final = re.compile(f"[{chr(_SAFE + _FIRST_BYTE)}-{chr(_SAFE + 0xFF)}]")


def name_text(name: bytes) -> str:
    """Return the text of a name or path; UTF-8 stays what it is."""
    text = name.decode("utf-8", "surrogateescape")
    if _MARKS.search(text):
        text = _MARKS.sub(lambda found: "".join(chr(_ESCAPED + byte) for byte in found[0].encode()), text)
    return text.translate(_TO_SAFE)


def has_bytes(text: str) -> bool:
    """Whether ``text`` holds characters that stand for bytes."""
    return _MARKS.search(text) is not None


def exact_text(text: str) -> str:
    """Return ``text`` for the system, which gets the bytes that its characters stand for (surrogateescape)."""
    return text.translate(_TO_ESCAPED)
