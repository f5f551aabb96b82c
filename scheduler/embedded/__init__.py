"""All of the scheduler in one process: the private PostgreSQL server it needs."""
