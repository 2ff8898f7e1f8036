"""The version, read by the build backend and by `actorq.__version__`."""

__version__ = "0.1.0"
