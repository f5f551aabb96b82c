"""A job scheduler of asyncio actors on RabbitMQ and PostgreSQL."""

__version__ = "0.1.0"
