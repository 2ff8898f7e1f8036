"""The engine of one file: durable, for several processes of one machine, with nothing to install."""
