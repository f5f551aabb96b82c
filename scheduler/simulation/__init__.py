"""What definitions would do, worked out without a database or a broker: pure, instants are handed in."""
