"""Every endpoint with each of its status codes, asked by a host that shares no code with the product.

    endpoints.py ADDRESS BUNDLE < token        # a token for the host second.mesh.test

What is asked for goes to standard error; the end is `N passed, N failed`.
"""
import base64
import json
import os
import sys
import time
import traceback

import cbor2
from cryptography.x509.oid import ExtensionOID

import cms
import wire
from host import CMS, Host
from transport import Connection

ADDRESS, BUNDLE = sys.argv[1:3]
NODE = "second.mesh.test"
host = Host(NODE, ADDRESS)
JOINED = {}
TESTS = []


def test(function):
    TESTS.append(function)
    return function


def get(path, headers=(), key=None):
    connection = Connection(ADDRESS, key=key)
    answer = connection.request("GET", path, headers=headers)
    connection.close()
    return answer


def refused(answer, status):
    assert answer.status == status, (answer.status, answer.body)
    body = answer.json()
    assert body["error"], body
    return body


@test
def joins_by_token():
    JOINED.update(host.join(sys.stdin.readline()))


@test
def the_server_shows_a_certificate_that_the_bundle_vouches_for():
    name = host.server_node
    connection = Connection(ADDRESS, bundle=BUNDLE, name=name)
    sans = connection.server_certificate().extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME)
    assert name in str(sans.value), sans


@test
def a_connection_between_hosts_is_post_quantum():
    assert host.connect().group().upper() == "X25519MLKEM768", host.connect().group()


@test
def kem_info_tells_the_key_to_seal_to():
    answer = get("/api/gossip/kem-info")
    assert answer.status == 200 and answer.json()["registered"] is True and answer.json()["node_id"] == host.server_node
    der = base64.urlsafe_b64decode(answer.json()["kem_public_key"] + "==")
    assert der.endswith(host.server_kem), "it is the key of the join answer"


@test
def sync_gives_every_record_with_its_authors_signature():
    host.vector = {}
    records = host.sync()
    assert len(records) >= 4, len(records)
    authors = {cbor2.loads(record)[0][2] for record in records}
    assert host.server_node in authors
    for record in records:
        if cbor2.loads(record)[0][2] == host.server_node:
            wire.verify(record, host.server)
    collections = {wire.fits_the_schema(record) for record in records}
    assert {"nodes", "admissions", "bundles", "intermediates", "crls"} <= collections, collections


@test
def a_record_of_ours_is_taken_and_a_forged_one_is_not():
    kid = cms.kid(cms.point(host.signing.public_key()))
    kem_kid = cms.kid(host.kem.public_key().public_bytes_raw())
    node = {0: ["127.0.0.1:1"], 1: "second/1", 2: 1, 3: kid, 4: kem_kid}
    host.sync([host.author.record(1, NODE, node)])
    # In the server's name, by our key.
    forger = wire.Author(host.server_node, host.signing, host.epoch)
    answer = host.post(host.envelope([forger.record(14, "forged", {0: "forged"})]))
    assert answer.status in (200, 400), (answer.status, answer.body)
    assert get("/api/gossip/await-client?client_id=forged&timeout_ms=300").status == 408


@test
def sync_refuses_a_key_that_is_not_pinned():
    stranger = cms.signing_key()
    envelope = host.envelope(signer=stranger)
    refused(host.post(envelope), 401)
    refused(host.post(envelope, Connection(ADDRESS, key=stranger)), 401)
    refused(host.post(host.envelope(), Connection(ADDRESS)), 401)


@test
def sync_refuses_what_is_malformed():
    refused(host.post(b"garbage"), 400)
    refused(host.post(host.envelope()[:-7]), 400)
    refused(host.post(host.envelope() + b"\0"), 400)


def with_certificate(signed):
    from cryptography.hazmat.primitives import serialization
    from pyasn1.codec.der import decoder
    from pyasn1_alt_modules import rfc5652

    from transport import certificate

    der = certificate(host.signing).public_bytes(serialization.Encoding.DER)
    choice = rfc5652.CertificateChoices()
    choice["certificate"], _ = decoder.decode(der, asn1Spec=choice["certificate"].clone())
    signed["certificates"][0] = choice


@test
def sync_refuses_an_embedded_certificate():
    refused(host.post(host.envelope(change=with_certificate)), 400)


@test
def sync_refuses_what_is_for_or_by_somebody_else():
    refused(host.post(host.envelope(recipient="other.mesh.test")), 400)
    refused(host.post(host.envelope(sender=host.server_node)), 400)
    refused(host.post(host.envelope(mesh=os.urandom(16))), 400)
    refused(host.post(host.envelope(kem=cms.kem_key().public_key())), 400)


@test
def sync_refuses_a_replay_what_is_stale_and_what_is_from_the_future():
    envelope = host.envelope()
    assert host.post(envelope).status == 200
    refused(host.post(envelope), 409)
    now = int(time.time() * 1000)
    refused(host.post(host.envelope(issued_at=now - 400_000)), 409)
    refused(host.post(host.envelope(issued_at=now + 120_000)), 409)


@test
def sync_refuses_what_is_too_large_before_it_has_come():
    connection = host.connect()
    head = f"POST /api/gossip/sync HTTP/1.1\r\nHost: x\r\nContent-Type: {CMS}\r\nContent-Length: 999999999\r\n\r\n"
    connection.tls.sendall(head.encode())
    refused(connection.answer(), 413)


@test
def sync_wants_its_method_and_media_type():
    refused(host.post(host.envelope(), media="text/plain"), 415)
    answer = get("/api/gossip/sync", key=host.signing)
    assert answer.status == 405 and "POST" in answer.headers["allow"], answer.headers


@test
def wrapping_key_is_sealed_to_whoever_is_named():
    nonce = os.urandom(16)
    for header in ("X-Ahdapa-Node-Id", "X-Reverie-Node-Id"):
        answer = get("/api/gossip/wrapping-key", [(header, NODE), ("X-Reverie-Nonce", nonce.hex())])
        assert answer.status == 200 and answer.headers["content-type"] == CMS, (answer.status, answer.body)
        plain = cms.open_envelope(answer.body, host.server, host.kem)
        _, _, _, recipient, fields = wire.read(plain)
        assert recipient == NODE and fields[wire.KIND] == wire.WRAPPING_KEY
        try:
            cms.open_envelope(answer.body, host.server, cms.kem_key())
            raise SystemExit("another key opened it")
        except AssertionError:
            pass


@test
def wrapping_key_refuses_the_nameless_and_the_unknown():
    refused(get("/api/gossip/wrapping-key"), 400)
    refused(get("/api/gossip/wrapping-key", [("X-Ahdapa-Node-Id", "not a name")]), 400)
    refused(get("/api/gossip/wrapping-key", [("X-Ahdapa-Node-Id", "nobody.mesh.test")]), 404)


@test
def stats_has_every_field():
    stats = get("/api/gossip/stats").json()
    for field in (
        "node_id crdt_generation counts peers active_signing_kid kem_enrolled gossip_signing_enrolled gossip".split()
    ):
        assert field in stats, (field, stats)
    gossip = stats["gossip"]
    for field in "started_at rounds_completed last_round_at peer_last_sync persist_errors wrapping_key_pull_errors".split():
        assert field in gossip, (field, gossip)
    assert stats["node_id"] == host.server_node and stats["kem_enrolled"] and stats["gossip_signing_enrolled"]
    assert stats["crdt_generation"] > 0 and stats["counts"]["nodes"] >= 1
    assert gossip["peer_last_sync"][NODE] >= time.time() - 120, gossip


@test
def await_client_waits_and_caps():
    begun = time.time()
    assert get("/api/gossip/await-client?client_id=nobody&timeout_ms=400").status == 408
    assert 0.3 < time.time() - begun < 10
    refused(get("/api/gossip/await-client"), 400)
    refused(get("/api/gossip/await-client?client_id=x&timeout_ms=soon"), 400)


@test
def await_client_limits_how_many_wait():
    waiting = []
    statuses = []
    for index in range(8):
        connection = Connection(ADDRESS)
        path = f"/api/gossip/await-client?client_id=nobody{index}&timeout_ms=2000"
        connection.tls.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        waiting.append(connection)
    for connection in waiting:
        statuses.append(connection.answer().status)
    assert 429 in statuses, statuses
    # Whoever waited longest is answered all the same.
    assert 408 in statuses, statuses


@test
def digest_is_for_peers_alone():
    refused(get("/api/gossip/digest"), 401)
    answer = get("/api/gossip/digest", key=host.signing)
    assert answer.status == 200, (answer.status, answer.body)


@test
def register_kem_asks_for_kerberos():
    connection = Connection(ADDRESS)
    body = json.dumps(host.kem_registered()).encode()
    answer = connection.request("POST", "/api/gossip/register-kem", body, [("Content-Type", "application/json")])
    assert answer.status == 401 and answer.headers["www-authenticate"] == "Negotiate", answer.headers


@test
def a_token_is_redeemed_once():
    other = Host(NODE, ADDRESS)
    connection = other.connect()
    token = {"id": os.urandom(16), "secret": os.urandom(32)}
    body = other.join_body(token, connection.exporter())
    refused(connection.request("POST", "/api/mesh/join", body, [("Content-Type", "application/json")]), 403)


@test
def nothing_else_is_there():
    refused(get("/"), 404)
    refused(get("/api/admin/status"), 404)


failed = 0
for run in TESTS:
    try:
        run()
        print("ok", run.__name__, file=sys.stderr)
    except Exception:
        failed += 1
        print("FAILED", run.__name__, file=sys.stderr)
        traceback.print_exc()
        if run is joins_by_token:
            break
print(f"{len(TESTS) - failed} passed, {failed} failed")
sys.exit(1 if failed else 0)
