"""The parts of the Executor: offers in hand, claims, running attempts, ends and their spool."""
