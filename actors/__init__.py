"""The actors. Each hears some messages, says some, and writes some tables; they know nothing of each other."""
