"""The engine that needs nothing: everything in this process, and the reference for the others."""
