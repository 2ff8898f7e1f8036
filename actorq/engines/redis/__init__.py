"""The Redis engine: the law in Lua, run by the server."""
