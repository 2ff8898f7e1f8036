"""Signing: HMAC-SHA256 over the whole message, so that only who has a key can enqueue."""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from actorq.errors import EnvelopeError
from actorq.wire.keys import Keys


ALGORITHM = "HS256"  #: the name of HMAC-SHA256 in RFC 7518
SIZE = 32  #: bytes of a signature
LEAST = 32  #: bytes of a key: as many as the hash has, says RFC 2104


class Signing:
    """Signs with one key, accepts several.

    *keys*: by their ids, at least 32 random bytes each.  *use*: the id of the one that signs; not
    needed if there is only one.  *accept_unsigned*: read what bears no signature too, for the time
    in which some writers do not sign yet.
    """

    def __init__(
        self, keys: Mapping[str, bytes], *, use: str | None = None, accept_unsigned: bool = False
    ) -> None:
        self.keys = Keys("with_signing()", keys, use, least=LEAST, most=None)
        self.accept_unsigned = accept_unsigned

    def sign(self, data: bytes) -> bytes:
        """The signature of *data*, with the key in use."""
        return hmac.digest(self.keys.all[self.keys.used], data, "sha256")

    def verify(self, algorithm: str, key_id: str, data: bytes, signature: bytes) -> None:
        """`EnvelopeError` unless *signature* is that of *data*; compares in constant time."""
        if algorithm != ALGORITHM:
            raise EnvelopeError(
                f"it is signed with {algorithm!r:.100}; only {ALGORITHM} is accepted"
            )
        if not hmac.compare_digest(hmac.digest(self.keys.get(key_id), data, "sha256"), signature):
            raise EnvelopeError(
                f"the signature is wrong: it was changed on its way, or signed with another key "
                f"than the one that is called {key_id!r} here"
            )

    def __repr__(self) -> str:
        return f"<Signing {self.keys!r}>"
