"""Real processes on one SQLite file, killed: what the promises are worth then."""
