"""The wire: messages and results as bytes, for engines that keep them outside this process.

A format writes plain data; signing and encryption, if they were chosen, go round it; a size limit
holds for the whole.  `docs/wire-format.md` is the same for people who write in another language.

From the bottom:

formats, binary      plain data <-> bytes: JSON, MessagePack, CBOR, and what one of your own must do
keys                 named keys, one of which is used and all of which are accepted
signing, encryption  what proves where bytes come from, and what hides them
frame                the header in front of a payload
wire                 messages, results and progress <-> bytes
"""

from actorq.wire.binary import CBORSerializer, MsgpackSerializer
from actorq.wire.encryption import Encryption
from actorq.wire.formats import JSONSerializer, Serializer
from actorq.wire.signing import Signing
from actorq.wire.wire import SIZE_LIMIT, Wire


__all__ = [
    "SIZE_LIMIT",
    "CBORSerializer",
    "Encryption",
    "JSONSerializer",
    "MsgpackSerializer",
    "Serializer",
    "Signing",
    "Wire",
]
