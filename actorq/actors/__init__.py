"""The five actors of a queue.  None imports another: they share `actorq.protocol` and refs."""
