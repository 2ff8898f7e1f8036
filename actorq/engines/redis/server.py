"""What there is to say of a Redis server: whether it can keep a queue, and why it refused a call."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

from actorq.engines.redis.link import ServerSaid
from actorq.engines.remote.information import Remark
from actorq.errors import EngineUnavailable


log = logging.getLogger("actorq.storage")

#: The first version of Redis whose scripts are refused as a whole, when memory is used up.
OLDEST: Final = (7, 0)

Ask = Callable[..., Awaitable[Any]]

#: By an error's first word: what it means, and what to do.
MEANING: Final = {
    "OOM": "its memory is used up (maxmemory), and nothing new is taken: give it more, or let workers "
    "take tasks out; what is queued already goes on",
    "MISCONF": "it cannot write to its disk, and takes nothing in until it can: make room, or look "
    "into its log",
    "READONLY": "it is a replica, or became one: give the URL of the master, or of the sentinels "
    "(redis+sentinel://...)",
    "LOADING": "it is reading its data from disk, after a start",
    "MASTERDOWN": "it is a replica that has lost its master",
    "NOREPLICAS": "too few replicas are connected for its min-replicas-to-write",
    "CLUSTERDOWN": "a part of its cluster is down",
    "TRYAGAIN": "its cluster is moving the queue's slot to another node",
    "ASK": "its cluster is moving the queue's slot to another node: stop all programs until it has",
    "CROSSSLOT": "it takes the keys of the queue for those of several slots",
    "BUSY": "it is busy with somebody's long script",
    "NOAUTH": "it demands a password: redis://user:password@host/0",
    "WRONGPASS": "the user or the password is wrong",
    "DENIED": "it lets nobody in from other machines (protected-mode): give it a password, or a user",
    "NOPERM": "the user may not do that: it needs +fcall +function (or +evalsha +script), +@read "
    "+@write +publish +subscribe +pubsub +time, the keys ~{NAMESPACE}:* and the channels &{NAMESPACE}:*",
    "WRONGTYPE": "a key {NAMESPACE}:... is not what actorq made of it, so somebody else writes there: "
    "take another namespace, or another database",
    "MOVED": "it is a node of a cluster: write redis+cluster:// in the URL",
    "ACTORQ-FORMAT": "its data are those of another version of actorq: let that one work them off "
    "first, or take another namespace",
}


#: By words in a text that begins with "ERR", as most do.
SAID: Final = {
    "without any password configured": "it has no password: leave that out of the URL, or give its "
    "user, too: redis://user:password@host/0",
    "DB index is out of range": "it has no database of that number (its setting `databases`: 16, which "
    "is 0 to 15, unless told); a namespace keeps queues apart, too",
    "Bad data format": "a key {NAMESPACE}:... is not what actorq made of it: somebody else has written "
    "there, and until that is mended nobody gets past it; see the page on Redis, looking inside",
    "max number of clients": "it has no connection left (its setting `maxclients`)",
}


def meaning_of(said: ServerSaid) -> str | None:
    """What it means, and what to do, where that is known."""
    meaning = MEANING.get(said.code)
    if meaning is None:
        meaning = next((text for words, text in SAID.items() if words in str(said)), None)
    return meaning


def refused(server: str, namespace: str, said: ServerSaid) -> EngineUnavailable:
    """The server's *no*, with what to do."""
    meaning = meaning_of(said)
    if meaning is None:
        return EngineUnavailable(f"{server} refused it: {said}")
    meaning = meaning.replace("NAMESPACE", namespace)
    return EngineUnavailable(f"{server} refused it: {meaning} ({said})")


def fields(text: bytes) -> dict[str, str]:
    """What INFO says."""
    found = {}
    for line in text.decode("utf-8", "replace").splitlines():
        name, colon, value = line.partition(":")
        if colon:
            found[name] = value
    return found


def name_of(info: dict[str, str]) -> str:
    """What the server is: Valkey calls itself Redis 7.2.4 too, for who knows no Valkey."""
    if "valkey_version" in info:
        return f"Valkey {info['valkey_version']}"
    return f"Redis {info.get('redis_version', '')}".strip()


async def look_over(server: str, ask: Ask, *, cluster: bool) -> list[Remark]:
    """What there is to remark; raises `EngineUnavailable` for what cannot keep a queue.

    And `ServerSaid` if it cannot be said (yet).
    """
    try:
        info = fields(await ask(b"INFO"))
    except ServerSaid as said:
        if said.code in ("LOADING", "NOAUTH"):
            raise
        return [Remark("settings", "ok", f"INFO is not allowed, nothing was looked at ({said})")]
    if info.get("loading", "0") != "0":
        raise ServerSaid("LOADING")
    version = info.get("redis_version", "")
    if version and _number(version) < OLDEST:
        raise EngineUnavailable(
            f"{server} is {name_of(info)}; actorq needs Redis {OLDEST[0]}.{OLDEST[1]} or newer, whose "
            f"scripts are done as a whole or not at all, or any Valkey: upgrade the server, or give the "
            f"URL of another"
        )
    if info.get("role") == "slave" and not cluster:
        raise EngineUnavailable(
            f"{server} is a replica of {info.get('master_host')}:{info.get('master_port')}: give the "
            f"URL of the master, or of the sentinels (redis+sentinel://...)"
        )
    remarks = [Remark("version", "ok", name_of(info))]
    if info.get("cluster_enabled") == "1" and not cluster:
        remarks.append(
            Remark(
                "cluster",
                "warning",
                "it is a node of a cluster",
                "write redis+cluster:// in the URL, so that the queue is found on another node",
            )
        )
    settings = await _settings(ask)
    remarks += _memory({**settings, **info})
    remarks += _persistence(info, settings)
    return remarks


async def size_of(ask: Ask) -> tuple[str, int | None]:
    """Which server it is, and the bytes that all of it takes."""
    try:
        info = fields(await ask(b"INFO"))
    except ServerSaid:
        return "", None
    used = info.get("used_memory")
    return name_of(info), None if used is None else int(used)


async def _settings(ask: Ask) -> dict[str, str]:
    try:
        found = await ask(b"CONFIG", b"GET", b"save", b"maxmemory*", b"appendfsync")
    except ServerSaid:
        return {}
    texts = [each.decode("utf-8", "replace") for each in found]
    settings = dict(zip(texts[::2], texts[1::2], strict=True))
    return {name.replace("-", "_"): value for name, value in settings.items()}


def _memory(said: dict[str, str]) -> list[Remark]:
    policy, most = said.get("maxmemory_policy"), said.get("maxmemory", "0")
    if policy is None:
        return []
    if policy.startswith("allkeys-"):
        when = f"at {most} bytes" if most != "0" else "as soon as maxmemory is set"
        return [
            Remark(
                "eviction",
                "problem",
                f"maxmemory-policy {policy}: it throws tasks away {when}",
                "set maxmemory-policy noeviction: what does not fit is refused, and who enqueues "
                "hears of it",
            )
        ]
    kept = "" if policy == "noeviction" else ", which leaves our keys alone: they never expire"
    return [Remark("eviction", "ok", f"maxmemory {most}, maxmemory-policy {policy}{kept}")]


def _persistence(info: dict[str, str], settings: dict[str, str]) -> list[Remark]:
    if info.get("aof_enabled") == "1":
        fsync = settings.get("appendfsync", "everysec")
        loses = {
            "always": "nothing that was accepted is lost",
            "everysec": "a power cut loses the last second or two",
        }.get(fsync, "a power cut loses what the system had not written yet")
        return [Remark("persistence", "ok", f"appendonly yes, appendfsync {fsync}: {loses}")]
    if "save" not in settings:
        return [Remark("persistence", "ok", "CONFIG is not allowed: not looked at")]
    if settings["save"]:
        return [
            Remark(
                "persistence",
                "warning",
                f"appendonly no, save {settings['save']}: what was accepted after the last save does "
                f"not survive a crash of the server",
                "set appendonly yes",
            )
        ]
    return [
        Remark(
            "persistence",
            "problem",
            "nothing is kept on disk (appendonly no, save ''): accepted tasks do not survive a "
            "restart of the server",
            "set appendonly yes",
        )
    ]


def log_remarks(server: str, remarks: Iterable[Remark]) -> None:
    """What should be looked at is a warning."""
    for remark in remarks:
        if remark.level == "ok":
            log.debug("%s: %s", server, remark.says)
        else:
            log.warning("%s: %s. %s", server, remark.says, _sentence(remark.advice))


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _number(version: str) -> tuple[int, ...]:
    return tuple([int(part) for part in version.split(".")[:2] if part.isdecimal()])
