"""Measurements of the whole system: real servers, one process per actor. Begin at ``benchmarks.run``."""
