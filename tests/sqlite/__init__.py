"""The engine of one file."""
