"""The engine of a Redis server."""
