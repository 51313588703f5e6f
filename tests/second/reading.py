"""What anyone may ask: kem-info, wrapping-key, stats and await-client."""
import base64
import os
import time

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap

import cms
import wire
from asking import authority, host, refused, test
from host import CMS
from transport import Connection


@test
def kem_info_tells_the_key_to_seal_to():
    answer = authority.get("/api/gossip/kem-info")
    assert answer.status == 200 and set(answer.json()) == {"registered", "node_id", "kem_public_key"}, answer.body
    assert answer.json()["registered"] is True and answer.json()["node_id"] == authority.node
    der = base64.urlsafe_b64decode(answer.json()["kem_public_key"] + "==")
    assert len(der) == 1206 and der.endswith(host.server_kem), "it is the key of the join answer"


@test
def the_trust_bundle_is_for_everyone():
    answer = authority.get("/api/federation/bundle")
    assert answer.status == 200, answer.body
    keys = answer.json()["keys"]
    uses = sorted({key["use"] for key in keys})
    assert uses == ["jwt-svid", "wit-svid", "x509-svid"], uses
    root = x509.load_der_x509_certificate(base64.b64decode(next(key for key in keys if key["use"] == "x509-svid")["x5c"][0]))
    assert root.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert all(key.get("kid") for key in keys if key["use"] != "x509-svid") and not any("d" in key for key in keys)


def wrapping_key(*headers, **how):
    return authority.get("/api/gossip/wrapping-key", headers, **how)


@test
def the_wrapping_key_opens_for_whom_it_is_and_for_that_question_alone():
    def digest():
        host.vector = {}
        said = [cbor2.loads(record)[0] for record in host.sync()]
        return {cbor2.loads(value[8])[0]: cbor2.loads(value[8])[1] for value in said if value[0] == 10 and len(value) == 9}

    digests = digest()
    for header in ("X-Ahdapa-Node-Id", "X-Reverie-Node-Id"):
        for nonce in (os.urandom(16), None):
            headers = [(header, host.node)] + ([("X-Reverie-Nonce", nonce.hex())] if nonce else [])
            answer = wrapping_key(*headers, key=host.signing)
            assert answer.status == 200 and answer.headers["content-type"] == CMS, (answer.status, answer.body)
            _, _, sender, recipient, fields = wire.read(cms.open_envelope(answer.body, host.server, host.kem))
            assert (sender, recipient, fields[wire.KIND]) == (authority.node, host.node, wire.WRAPPING_KEY)
            assert fields.get(wire.IN_REPLY_TO) == nonce
            said = cbor2.loads(fields[wire.BODY])
            assert (said[0], said[1], said[2]) == (host.mesh, host.node, nonce or bytes(16))
            key = wire.wrapping_key(said[3][0], host.mesh, host.node, nonce or bytes(16), host.kem)
            assert wire.wrapping_key_digest(key) == digests[said[3][0][0]]
            for other in ((host.node, os.urandom(16)), (authority.node, nonce or bytes(16))):
                try:
                    wire.wrapping_key(said[3][0], host.mesh, *other, host.kem)
                    raise SystemExit("it opened for another question")
                except InvalidUnwrap:
                    pass


@test
def wrapping_key_refuses_the_nameless_the_unknown_and_a_nonce_that_is_none():
    name = ("X-Ahdapa-Node-Id", host.node)
    for headers in (
        [],
        [("X-Ahdapa-Node-Id", "not a name")],
        [name, ("X-Reverie-Node-Id", authority.node)],
        [name, ("X-Reverie-Nonce", "00" * 15)],
        [name, ("X-Reverie-Nonce", "00" * 17)],
        [name, ("X-Reverie-Nonce", "zz" * 16)],
    ):
        refused(wrapping_key(*headers), 400, "malformed")
    refused(wrapping_key(("X-Ahdapa-Node-Id", "nobody.mesh.test")), 404, "not_found")


@test
def who_asks_for_the_wrapping_key_in_anothers_name_takes_nothing_from_it():
    name = ("X-Ahdapa-Node-Id", host.node)
    statuses = [wrapping_key(name).status for _ in range(9)]
    assert statuses[-1] == 429 and 200 in statuses, statuses
    refused(wrapping_key(name), 429, "too_many")
    assert wrapping_key(name, key=host.signing).status == 200


STATS = {
    "node_id": str,
    "crdt_generation": int,
    "counts": dict,
    "peers": {"configured": list, "topology_discovered": list},
    "active_signing_kid": (str, type(None)),
    "kem_enrolled": bool,
    "gossip_signing_enrolled": bool,
    "gossip": {
        "started_at": int,
        "rounds_completed": int,
        "last_round_at": (int, type(None)),
        "peer_last_sync": dict,
        "persist_errors": int,
        "wrapping_key_pull_errors": int,
    },
}


def fits(value, shape):
    if isinstance(shape, dict):
        assert set(value) == set(shape), value
        for field in shape:
            fits(value[field], shape[field])
    else:
        assert isinstance(value, shape), (value, shape)


@test
def stats_has_every_field_and_no_other():
    stats = authority.get("/api/gossip/stats").json()
    fits(stats, STATS)
    now, gossip = time.time(), stats["gossip"]
    assert stats["node_id"] == authority.node and stats["kem_enrolled"] and stats["gossip_signing_enrolled"]
    assert stats["crdt_generation"] > 0 and stats["counts"]["nodes"] >= 1
    assert host.node in stats["peers"]["configured"], stats["peers"]
    assert now - 600 < gossip["started_at"] <= now and gossip["persist_errors"] == 0
    # The other agent is spoken with.
    assert gossip["rounds_completed"] > 0 and now - 60 < gossip["last_round_at"] <= now + 1, gossip
    assert now - 120 < gossip["peer_last_sync"][host.node] <= now + 1, gossip


def await_client(client, timeout_ms, **how):
    """A connection that waits."""
    connection = Connection(authority.address, **how)
    connection.send("GET", f"/api/gossip/await-client?client_id={client}&timeout_ms={timeout_ms}")
    return connection


@test
def await_client_answers_as_soon_as_the_client_is_there():
    waiting = await_client("app%2E1", 2000)
    time.sleep(0.2)
    authority.admin("PUT", "/api/admin/clients/app.1", {})
    answer = waiting.answer()
    assert answer.status == 200 and answer.json() == {"client_id": "app.1", "found": True}, answer.body
    assert authority.get("/api/gossip/await-client?client_id=app.1").status == 200


@test
def await_client_waits_as_long_as_it_is_asked_to_and_as_it_may():
    for asked, least in ((400, 0.4), (4_000_000_000, 2)):
        begun = time.time()
        answer = await_client("nobody", asked).answer()
        assert answer.status == 408 and answer.json() == {"client_id": "nobody", "found": False}, answer.body
        assert least <= time.time() - begun < least + 5, time.time() - begun
    for query in ("", "?client_id=", "?client_id=x&timeout_ms=soon", "?client_id=x&timeout_ms=-1", "?client_id=" + "x" * 257):
        refused(authority.get("/api/gossip/await-client" + query), 400, "malformed")


@test
def who_waits_is_counted_for_its_address_and_in_all():
    # Four wait for one address, six in all.
    waiting = [await_client(f"nobody{index}", 1500, source="127.0.0.1") for index in range(8)]
    waiting += [await_client(f"nobody{index}", 1500, source="127.0.0.2") for index in range(4)]
    answers = [connection.answer() for connection in waiting]
    assert sum(answer.status == 408 for answer in answers) == 6, [answer.status for answer in answers]
    assert sum(answer.status == 408 for answer in answers[:8]) <= 4
    for answer in answers:
        if answer.status != 408:
            refused(answer, 429, "too_many")
    assert authority.get("/api/gossip/await-client?client_id=app.1").status == 200, "the places are free again"
