"""Middlewares that come with actorq.  None yet: subclass `actorq.Middleware`."""
