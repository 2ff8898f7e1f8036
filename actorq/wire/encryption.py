"""Encryption: AES-256-GCM over the payload; the header stays readable, and is authenticated with it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from actorq.errors import EnvelopeError
from actorq.wire.binary import extra
from actorq.wire.keys import Keys


ALGORITHM = "A256GCM"  #: the name of AES-256-GCM in RFC 7518
NONCE = 12  #: random bytes in front of the ciphertext
KEY = 32  #: bytes
TAG = 16  #: bytes at the end of the ciphertext


class Encryption:
    """Encrypts with one key, decrypts with several.

    *keys*: by their ids, 32 random bytes each.  *use*: the id of the one that encrypts; not needed if
    there is only one.  *accept_plain*: read what is not encrypted too, for the time in which some
    writers do not encrypt yet.  Change the key before 2**32 messages were written with it: nonces are
    random, and two equal ones would give both messages away.

    Needs `pip install "actorq[crypto]"`; `UnsupportedOption` without it.
    """

    def __init__(
        self, keys: Mapping[str, bytes], *, use: str | None = None, accept_plain: bool = False
    ) -> None:
        self.keys = Keys("with_encryption()", keys, use, least=KEY, most=KEY)
        self.accept_plain = accept_plain
        aead = extra("cryptography.hazmat.primitives.ciphers.aead", "crypto", "with_encryption()")
        self._invalid: type[Exception] = extra(
            "cryptography.exceptions", "crypto", "with_encryption()"
        ).InvalidTag
        self._ciphers: dict[str, Any] = {
            name: aead.AESGCM(key) for name, key in self.keys.all.items()
        }

    def seal(self, payload: bytes, header: bytes) -> bytes:
        """Nonce, ciphertext and tag; *header* is authenticated with them."""
        nonce = os.urandom(NONCE)
        sealed: bytes = self._ciphers[self.keys.used].encrypt(nonce, payload, header)
        return nonce + sealed

    def open(self, algorithm: str, key_id: str, sealed: bytes, header: bytes) -> bytes:
        """The payload; `EnvelopeError` if it, or the header, was changed."""
        if algorithm != ALGORITHM:
            raise EnvelopeError(
                f"it is encrypted with {algorithm!r:.100}; only {ALGORITHM} is accepted"
            )
        self.keys.get(key_id)
        if len(sealed) < NONCE + TAG:
            raise EnvelopeError("it ends in the middle: no room for a nonce and a tag")
        try:
            opened: bytes = self._ciphers[key_id].decrypt(sealed[:NONCE], sealed[NONCE:], header)
        except self._invalid:
            raise EnvelopeError(
                f"it cannot be decrypted: it was changed on its way, or encrypted with another key "
                f"than the one that is called {key_id!r} here"
            ) from None
        return opened

    def __repr__(self) -> str:
        return f"<Encryption {self.keys!r}>"
