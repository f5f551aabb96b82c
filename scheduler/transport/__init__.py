"""The brokers behind ``scheduler.ports.Transport``: RabbitMQ (``amqp://``) and this process (``memory://``)."""
