"""The client side of engines that run on a server."""
