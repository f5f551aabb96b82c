"""Which routing keys a topic binding matches, exactly as RabbitMQ decides it."""

from functools import lru_cache


@lru_cache(maxsize=4096)
def matches(pattern: str, key: str) -> bool:
    """Return whether a topic binding ``pattern`` takes a message with routing ``key``.

    Words lie between dots and may be empty (``a..b`` has three); the empty string has no word.
    ``*`` stands for one word, ``#`` for any number of them, none included.
    """
    wanted = pattern.split(".") if pattern else []
    words = key.split(".") if key else []
    # reachable[j]: the patterns read so far can end just before words[j]
    reachable = [True] + [False] * len(words)
    for want in wanted:
        if want == "#":
            first = next((j for j, here in enumerate(reachable) if here), len(reachable))
            reachable = [j >= first for j in range(len(reachable))]
        else:
            taken = [here and want in ("*", word) for here, word in zip(reachable[:-1], words, strict=True)]
            reachable = [False, *taken]
    return reachable[-1]


def as_regex(pattern: str) -> str:
    """Return a regular expression (PostgreSQL's or Python's) that ``"." + topic`` matches when ``pattern`` does.

    ``topic`` has at least one word, which may be empty.
    """
    parts = {"*": r"\.[^.]*", "#": r"(\.[^.]*)*"}
    words = pattern.split(".") if pattern else []
    return f"^{''.join(parts.get(word) or chr(92) + '.' + _escaped(word) for word in words)}$"


def _escaped(word: str) -> str:
    return "".join(char if char.isalnum() or char == "_" else f"\\{char}" for char in word)
