"""Messages and records, as docs/protocol/mesh.md says."""
import functools
import hashlib
import os
import pathlib
import re
import time

import cbor2
import pycddl
import zstandard
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

import cms

EPOCH, NONCE, IN_REPLY_TO, ISSUED_AT, KIND = range(1, 6)
SINCE, VECTOR, MORE, RECORDS, BODY = 7, 8, 10, 11, 12
SYNC, WRAPPING_KEY, JOIN, RENEWAL = range(1, 5)


def message(mesh, sender, recipient, epoch, fields, issued_at=None, nonce=None, version=1):
    """zstd of CBOR; `fields` has the kind and what belongs to it."""
    body = {EPOCH: epoch, NONCE: nonce or os.urandom(16), ISSUED_AT: issued_at or int(time.time() * 1000)}
    body.update(fields)
    body = dict(sorted(body.items()))
    plain = cbor2.dumps([version, mesh, sender, recipient, body])
    return zstandard.ZstdCompressor(write_content_size=True).compress(plain)


def read(packed):
    """Version, mesh, sender, recipient and the map."""
    plain = zstandard.ZstdDecompressor().decompressobj().decompress(packed)
    return cbor2.loads(plain)


def vector(positions):
    """{author: (epoch, seq)} in the order of the authors."""
    return [[author, list(position)] for author, position in sorted(positions.items())]


class Author:
    """Writes records in the name of one host."""

    def __init__(self, node, signing_key, epoch):
        self.node, self.key, self.epoch, self.seq, self.prev = node, signing_key, epoch, 0, bytes(32)

    def record(self, collection, key, value, **changed):
        """Signed, with its place in the history; `changed` forges any of the fields."""
        self.seq += 1
        fields = {
            "collection": collection,
            "key": key,
            "author": self.node,
            "kid": cms.kid(cms.point(self.key.public_key())),
            "position": [self.epoch, self.seq],
            "prev": self.prev,
            "before": [0, 0],
            "stamp": [int(time.time() * 1000), 0],
        }
        fields.update(changed)
        statement = list(fields.values()) + ([] if value is None else [cbor2.dumps(value)])
        encoded = cbor2.dumps(statement)
        self.prev = hashlib.sha256(encoded).digest()
        return encode(statement, sign(self.key, encoded))


def sign(key, statement):
    r, s = utils.decode_dss_signature(key.sign(b"reverie-record-v1" + statement, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def encode(statement, signature):
    return cbor2.dumps([statement, signature])


def verify(record, public):
    """The statement of a record, checked against its author's key."""
    statement, signature = cbor2.loads(record)
    der = utils.encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
    public.verify(der, b"reverie-record-v1" + cbor2.dumps(statement), ec.ECDSA(hashes.SHA256()))
    return statement


CDDL = (pathlib.Path(__file__).parents[2] / "docs/protocol/mesh.cddl").read_text()
COLLECTIONS = {int(number): name for number, name in re.findall(r"(\d+) +([a-z_]+)(?:/|,|:)", CDDL)}


@functools.cache
def schema(rule):
    return pycddl.Schema(f"start = {rule}\n{CDDL}")


def fits_the_schema(record):
    """The collection of a record, all of which reads as the protocol's schema says."""
    schema("record").validate_cbor(record)
    statement = cbor2.loads(record)[0]
    schema("statement").validate_cbor(cbor2.dumps(statement))
    name = COLLECTIONS[statement[0]]
    if len(statement) == 9:
        schema(name).validate_cbor(statement[8])
    return name
