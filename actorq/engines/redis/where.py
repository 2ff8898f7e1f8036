"""Where a Redis server is: what its URL says, and how that is told without passwords."""

from __future__ import annotations

import ssl
from pathlib import PurePosixPath
from typing import Final, Literal
from urllib.parse import parse_qsl, unquote

import attrs


SCHEMES: Final = (
    "redis",
    "rediss",
    "unix",
    "redis+sentinel",
    "rediss+sentinel",
    "redis+cluster",
    "rediss+cluster",
)
PORT: Final = 6379
SENTINEL_PORT: Final = 26379
#: What may stand behind the question mark.
OPTIONS: Final = (
    "db",
    "ssl_ca_certs",
    "ssl_certfile",
    "ssl_keyfile",
    "ssl_cert_reqs",
    "sentinel_username",
    "sentinel_password",
)


@attrs.frozen
class Address:
    """One server: a host and a port, or the path of a socket."""

    host: str
    port: int = 0  #: 0: *host* is a path

    def __str__(self) -> str:
        if not self.port:
            return self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@attrs.frozen
class Where:
    """What a URL says."""

    kind: Literal["server", "sentinel", "cluster"]
    addresses: tuple[Address, ...]
    service: str = ""  #: the sentinels' name of the master
    database: int = 0
    username: str = attrs.field(default="", repr=False)
    password: str = attrs.field(default="", repr=False)
    sentinel_username: str = attrs.field(default="", repr=False)
    sentinel_password: str = attrs.field(default="", repr=False)
    tls: bool = False
    ssl_options: dict[str, str] = attrs.field(factory=dict, repr=False)

    def __str__(self) -> str:
        servers = ",".join(map(str, self.addresses))
        match self.kind:
            case "sentinel":
                return f"{self.service} of the sentinels {servers}, database {self.database}"
            case "cluster":
                return f"cluster {servers}"
            case _:
                return f"{servers}/{self.database}"

    @property
    def expected(self) -> str:
        """For who cannot reach it: what should be there, and what to look after."""
        if not self.addresses[0].port:
            return "expected a Redis server there: does it run, and is that its socket?"
        there = "a Redis server there: does it run, and does the URL name its host and port?"
        if self.kind == "sentinel":
            there = (
                f"sentinels there, which watch the master {self.service!r}: do they run, and does the "
                f"URL name their hosts and ports?"
            )
        kind = "" if self.kind == "server" else f"+{self.kind}"
        tls = f"without TLS it is redis{kind}://" if self.tls else f"with TLS it is rediss{kind}://"
        return f"expected {there} ({tls})"

    def ssl_context(self) -> ssl.SSLContext:
        """How TLS is spoken, as the URL's ``ssl_...`` say.

        Raises ValueError for files that are no use.
        """
        said = self.ssl_options
        files = [
            said[each] for each in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile") if each in said
        ]
        try:
            context = ssl.create_default_context(cafile=said.get("ssl_ca_certs"))
            if "ssl_certfile" in said:
                context.load_cert_chain(said["ssl_certfile"], said.get("ssl_keyfile"))
        except OSError as error:  # ssl.SSLError, too; neither says which file
            raise ValueError(
                f"rediss://...: ssl_ca_certs, ssl_certfile and ssl_keyfile expect files with "
                f"certificates and a key, in PEM; got {', '.join(files)}: {error}"
            ) from error
        if said.get("ssl_cert_reqs", "required") == "none":
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


def where(url: str) -> Where:
    """Read a URL.  Raises ValueError, which shows no part of it where a password may be."""
    if not isinstance(url, str):
        raise TypeError(f"expected the URL of a Redis server, as text; got {type(url).__name__}")
    scheme, colon, rest = url.partition("://")
    scheme = scheme.lower()
    if not colon or scheme not in SCHEMES:
        shown = f"{scheme}://..." if colon else "no scheme"
        raise ValueError(
            f"the URL of a Redis server begins with one of {', '.join(SCHEMES)}, such as "
            f"redis://localhost:6379/0; got {shown}"
        )
    place, _, query = rest.partition("?")
    if "@" in query or "#" in rest:  # half a password would be taken for an option, and shown
        raise ValueError(
            f"{scheme}://...: quote the signs of a password that mean something in a URL: %3F for ?, "
            f"%23 for #, %40 for @, %2F for /"
        )
    options = _options(query, scheme)
    login, at, place = place.rpartition("@")
    username, _, password = login.partition(":") if at else ("", "", "")
    hosts, _, path = place.partition("/")
    parts = [unquote(part) for part in path.split("/") if part]
    service = ""
    if scheme == "unix":
        if hosts or not path:
            raise ValueError(
                "unix:// expects the path of a socket after a third slash, such as "
                "unix:///run/redis/redis.sock"
            )
        addresses = [Address(str(PurePosixPath("/") / unquote(path)))]
        parts = []
    elif scheme.endswith("+sentinel"):
        if not parts:
            raise ValueError(
                f"{scheme}:// expects the name of the master that the sentinels watch, as in "
                f"{scheme}://host1:26379,host2:26379/mymaster/0"
            )
        service = parts.pop(0)
        addresses = [_address(host, SENTINEL_PORT) for host in hosts.split(",")]
    else:
        addresses = [_address(host, PORT) for host in hosts.split(",")]
        if len(addresses) > 1 and not scheme.endswith("+cluster"):
            raise ValueError(
                f"{scheme}:// expects one server; for several write {scheme}+sentinel:// or "
                f"{scheme}+cluster://"
            )
    if len(parts) > 1:
        raise ValueError(f"{scheme}:// expects the number of a database, and nothing after it")
    database = _database([*parts, *filter(None, [options.pop("db", "")])], scheme)
    return Where(
        kind=_kind(scheme),
        addresses=tuple(addresses),
        service=service,
        database=database,
        username=unquote(username),
        password=unquote(password),
        sentinel_username=options.pop("sentinel_username", ""),
        sentinel_password=options.pop("sentinel_password", ""),
        tls=scheme.startswith("rediss"),
        ssl_options=options,
    )


def _kind(scheme: str) -> Literal["server", "sentinel", "cluster"]:
    if scheme.endswith("+sentinel"):
        return "sentinel"
    return "cluster" if scheme.endswith("+cluster") else "server"


def _options(query: str, scheme: str) -> dict[str, str]:
    found = dict(parse_qsl(query, keep_blank_values=True))
    for name in found:
        if name not in OPTIONS:
            raise ValueError(
                f"{scheme}://... has an unknown option {name!r}; it may have {', '.join(OPTIONS)}"
            )
        if name.startswith("ssl_") and not scheme.startswith("rediss"):
            raise ValueError(f"{scheme}://... has {name}, and speaks no TLS: write rediss://")
    if found.get("ssl_cert_reqs", "none") not in ("none", "required"):
        raise ValueError(f"{scheme}://...: ssl_cert_reqs expects 'required' or 'none'")
    return found


def _address(text: str, port: int) -> Address:
    host, colon, digits = text.rpartition(":")
    if not colon or "]" in digits:
        host, digits = text, str(port)
    if not digits.isdecimal() or not 0 < int(digits) < 65536:
        raise ValueError("the URL of a Redis server expects a port, a number, after the colon")
    return Address(unquote(host.strip("[]")) or "localhost", int(digits))


def _database(said: list[str], scheme: str) -> int:
    if len(set(said)) > 1:
        raise ValueError(f"{scheme}://... says the database twice: as its path, and as db=")
    text = said[0] if said else "0"
    if not text.isdecimal():
        raise ValueError(f"{scheme}://... expects the number of a database; got {text!r}")
    if int(text) and scheme.endswith("+cluster"):
        raise ValueError("a Redis cluster has no database but 0")
    return int(text)
