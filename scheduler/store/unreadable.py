"""How to say why something stored cannot be read by this program."""

from pydantic import ValidationError


def describe(error: Exception) -> str:
    """Return one line without the value itself: where it is wrong, and how."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
