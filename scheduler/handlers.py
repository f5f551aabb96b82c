"""For users' modules given with ``--handlers``: ``from scheduler.handlers import HandlerContext, handler``."""

from scheduler.sandbox.handlers import HandlerContext, handler

__all__ = ["HandlerContext", "handler"]
