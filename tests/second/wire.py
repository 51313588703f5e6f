"""Messages and records, as docs/protocol/mesh.md says."""
import functools
import hashlib
import os
import pathlib
import re
import struct
import time

import cbor2
import pycddl
import zstandard
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap

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


def digest(records):
    """Of the set that these records are: the whole, and each author's line."""
    authors = {}
    for record in records:
        encoded = cbor2.dumps(cbor2.loads(record)[0])
        _, _, author, _, position = cbor2.loads(encoded)[:5]
        authors.setdefault(author, []).append((tuple(position), hashlib.sha256(encoded).digest()))
    lines = {}
    for author, said in sorted(authors.items()):
        (epoch, seq), newest = max(said)
        total = sum(int.from_bytes(hashed, "big") for _, hashed in said) % 2**256
        name = author.encode()
        content = struct.pack(">Q", len(name)) + name + struct.pack(">QQ", epoch, seq) + newest + total.to_bytes(32, "big")
        lines[author] = [epoch, seq, hashlib.sha256(b"reverie-author-v1" + content).hexdigest()]
    whole = hashlib.sha256(b"reverie-set-v1" + b"".join(bytes.fromhex(line) for _, _, line in lines.values()))
    return whole.hexdigest(), lines


def wrapping_key(sealed, mesh, recipient, nonce, kem):
    """A version of the cluster's wrapping key, from what was sealed to `kem` on that occasion."""
    version, kid, ciphertext, wrapped = (sealed[field] for field in range(4))
    info = b"reverie-wrapping-key-seal-v1" + mesh + nonce + kid + struct.pack(">Q", version) + recipient.encode()
    kek = HKDF(hashes.SHA256(), 32, salt=None, info=info).derive(kem.decapsulate(ciphertext))
    return aes_key_unwrap(kek, wrapped)


def wrapping_key_digest(key):
    """As the mesh's record of that version has it."""
    return hashlib.sha256(b"reverie-wrapping-key-v1" + key).digest()


def sign(key, statement, context=b"reverie-record-v1"):
    r, s = utils.decode_dss_signature(key.sign(context + statement, ec.ECDSA(hashes.SHA256())))
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
