"""Records between peers: sync, digest and membership."""
import hashlib
import os
import struct
import time

import cbor2
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtensionOID
from pyasn1.codec.der import decoder
from pyasn1_alt_modules import rfc5652

import cms
import wire
from asking import WORLD, authority, host, refused, test, until
from transport import Connection, certificate

OCTETS = ("Content-Type", "application/octet-stream")


@test
def the_server_shows_a_certificate_that_the_bundle_vouches_for():
    name = authority.node
    connection = Connection(authority.address, bundle=WORLD["bundle"], name=name)
    sans = connection.server_certificate().extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME)
    assert name in str(sans.value), sans


@test
def sync_gives_every_record_with_its_authors_signature():
    host.vector = {}
    records = host.sync()
    assert len(records) >= 4, len(records)
    for record in records:
        if cbor2.loads(record)[0][2] == authority.node:
            wire.verify(record, host.server)
    collections = {wire.fits_the_schema(record) for record in records}
    assert {"nodes", "admissions", "bundles", "intermediates", "crls"} <= collections, collections
    # What was had is not sent again.
    assert len(host.sync()) < len(records)


@test
def the_digest_is_that_of_the_records():
    def equal():
        host.vector = {}
        records = host.sync()
        answer = authority.get("/api/gossip/digest?summary", key=host.signing)
        assert answer.status == 200 and abs(answer.json()["now"] / 1000 - time.time()) < 10, answer.body
        plain = authority.get("/api/gossip/digest", key=host.signing).json()
        whole, lines = wire.digest(records)
        # Other hosts join meanwhile.
        return (answer.json()["digest"], answer.json()["authors"], set(plain)) == (whole, lines, {"digest", "now"})

    until("the digest is that of the records", equal)


@test
def a_record_of_ours_is_taken_and_one_in_anothers_name_is_not():
    kid = cms.kid(cms.point(host.signing.public_key()))
    kem_kid = cms.kid(host.kem.public_key().public_bytes_raw())
    node = {0: ["127.0.0.1:1"], 1: "second/1", 2: 1, 3: kid, 4: kem_kid}
    host.sync([host.author.record(1, host.node, node)])
    # In the server's name, by our key.
    forger = wire.Author(authority.node, host.signing, host.epoch)
    host.sync([forger.record(14, "forged", {0: "forged"})])
    assert authority.get("/api/gossip/await-client?client_id=forged&timeout_ms=300").status == 408


@test
def who_hands_over_a_record_whose_signature_does_not_hold_is_left_alone_for_a_minute():
    forger = authority.joined("eighth.mesh.test")
    record = forger.author.record(1, forger.node, {0: [], 1: "second/1", 2: 1, 3: bytes(20), 4: bytes(20)})
    refused(forger.post(forger.envelope([record[:-1] + bytes([record[-1] ^ 1])])), 400, "malformed")
    refused(forger.post(forger.envelope()), 429, "too_many")


@test
def peers_alone_are_answered_and_over_a_post_quantum_key_exchange():
    stranger = cms.signing_key()
    for method, path in (("POST", "/api/gossip/sync"), ("GET", "/api/gossip/digest"), ("POST", "/api/gossip/membership")):
        refused(authority.request(method, path), 401, "no_certificate")
        refused(authority.request(method, path, key=stranger), 401, "unpinned")
        refused(authority.request(method, path, key=host.signing, groups="X25519"), 403, "not_post_quantum")


@test
def sync_refuses_what_another_key_signed():
    stranger = cms.signing_key()
    refused(host.post(host.envelope(signer=stranger)), 401, "unpinned")
    refused(host.post(host.envelope(signer=stranger, change=cms.named(host.signing))), 401, "bad_signature")
    # A peer's envelope, over the connection of another.
    other = authority.joined("ninth.mesh.test")
    refused(host.post(host.envelope(), other.connect()), 401, "unpinned")


def with_certificate(signed):
    der = certificate(host.signing).public_bytes(serialization.Encoding.DER)
    choice = rfc5652.CertificateChoices()
    choice["certificate"], _ = decoder.decode(der, asn1Spec=choice["certificate"].clone())
    signed["certificates"][0] = choice


@test
def sync_refuses_what_cannot_be_read_and_what_is_for_or_by_somebody_else_alike():
    whole = host.envelope()
    for garbage in (b"", b"garbage", whole[:-7], whole + b"\0", host.envelope(change=with_certificate)):
        refused(host.post(garbage), 400, "malformed")
    for changed in (
        {"recipient": "other.mesh.test"},
        {"sender": authority.node},
        {"mesh": os.urandom(16)},
        {"kem": cms.kem_key().public_key()},
        {"fields": {wire.IN_REPLY_TO: os.urandom(16)}},
        {"fields": {wire.KIND: 9}},
        {"fields": {wire.RECORDS: 7}},
    ):
        refused(host.post(host.envelope(**changed)), 400, "malformed")
    # A request for a certificate has another place.
    renewal = {wire.KIND: wire.RENEWAL, wire.BODY: host.renewal()}
    assert "/api/mesh/join" in refused(host.post(host.envelope(fields=renewal)), 400)["message"]


@test
def another_version_of_the_wire_is_refused_with_a_sentence():
    message = refused(host.post(host.envelope(version=99)), 400, "malformed")["message"]
    assert "wire version 99" in message and "this host speaks" in message and "upgrade" in message, message


@test
def sync_refuses_a_replay_what_is_stale_and_what_is_from_the_future():
    envelope = host.envelope()
    assert host.post(envelope).status == 200
    assert "seen before" in refused(host.post(envelope), 409, "stale")["message"]
    now = int(time.time() * 1000)
    refused(host.post(host.envelope(issued_at=now - 301_000)), 409, "stale")
    refused(host.post(host.envelope(issued_at=now + 40_000)), 409, "stale")
    refused(host.post(host.envelope(epoch=host.epoch - 1)), 409, "stale")
    # Within what clocks may differ by.
    assert host.post(host.envelope(issued_at=now + 20_000)).status == 200


def identity(node, epoch):
    return hashlib.sha256(node.encode()).digest()[:16] + struct.pack(">Q", epoch)


@test
def a_ping_is_answered_with_an_ack_and_what_is_none_with_nothing():
    ping = identity(host.node, host.epoch) + struct.pack(">H", 0) + identity(authority.node, 0) + b"\0\x07" + b"\0\0"
    answer = authority.request("POST", "/api/gossip/membership", ping, [OCTETS], key=host.signing)
    assert answer.status == 200 and answer.headers["content-type"] == OCTETS[1], (answer.status, answer.body)
    sender, receiver, kind, number = answer.body[:24], answer.body[26:50], answer.body[50], answer.body[51]
    assert sender[:16] == identity(authority.node, 0)[:16] and struct.unpack(">Q", sender[16:])[0] > 0
    assert receiver == identity(host.node, host.epoch) and (kind, number) == (1, 7), answer.body.hex()
    # In the name of somebody else.
    for datagram in (b"garbage", identity(authority.node, 1) + ping[24:]):
        answer = authority.request("POST", "/api/gossip/membership", datagram, [OCTETS], key=host.signing)
        assert answer.status == 204 and not answer.body, (answer.status, answer.body)
