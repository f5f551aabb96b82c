"""The command ``scheduler``. Each module imports what it needs when a command runs: ``--help`` stays quick."""
