"""POST /api/mesh/join: by token, and a renewal by the pinned key."""
import json
import os
import threading
import time

import cbor2
from cryptography import x509

import cms
import wire
from asking import JSON, authority, host, refused, test
from host import CMS, Host, read_token
from transport import Connection


def join(newcomer, line, connection=None, exporter=None, **how):
    """The answer to a token."""
    connection = connection or newcomer.connect()
    token = line if isinstance(line, dict) else read_token(line)
    body = newcomer.join_body(token, exporter or connection.exporter(), **how)
    return connection.request("POST", "/api/mesh/join", body, [JSON])


def issued(joined, newcomer):
    """The chain of an answer: over the key that was asked for, by a root that the answer names."""
    intermediate, root = joined[10]
    certificate, issuer = x509.load_der_x509_certificate(intermediate), x509.load_der_x509_certificate(root)
    certificate.verify_directly_issued_by(issuer)
    assert certificate.public_key() == newcomer.issuing.public_key() and root in joined[11]
    return certificate


@test
def joins_by_token():
    joined = host.join(authority.token(host.node))
    issued(joined, host)
    assert joined[1] == host.mesh and joined[3] == host.node and joined[6] == authority.node
    wrapped = wire.wrapping_key(joined[12][0], host.mesh, host.node, joined[0][:16], host.kem)
    assert len(wrapped) == 32


@test
def a_connection_between_hosts_is_post_quantum():
    assert host.connect().group().upper() == "X25519MLKEM768", host.connect().group()
    other = Host("third.mesh.test", authority.address)
    connection = other.connect(groups="X25519")
    refused(join(other, authority.token(other.node), connection), 403, "not_post_quantum")


@test
def a_token_is_good_for_its_host_its_connection_and_its_time():
    other = Host("fourth.mesh.test", authority.address)
    for wrong in ({"id": os.urandom(16)}, {"secret": os.urandom(32)}):
        token = read_token(authority.token(other.node)) | wrong
        refused(join(other, token), 403, "not_admitted")
    token = authority.token(other.node)
    refused(join(other, token, exporter=other.connect().exporter()), 403)
    assert "is for fourth.mesh.test" in refused(join(Host("fifth.mesh.test", authority.address), token), 403)["message"]
    assert join(other, token).status == 200, "what was refused has not used it up"
    token = authority.token("fifth.mesh.test", ttl=1)
    time.sleep(1.2)
    assert "ended at" in refused(join(Host("fifth.mesh.test", authority.address), token), 403)["message"]


@test
def a_token_is_redeemed_once_also_when_two_come_at_once():
    token = authority.token("fifth.mesh.test")
    both = [Host("fifth.mesh.test", authority.address) for _ in range(2)]
    answers = [None, None]

    def redeem(which):
        answers[which] = join(both[which], token)

    threads = [threading.Thread(target=redeem, args=[which]) for which in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.status for answer in answers) == [200, 409], answers
    first = [answer.status for answer in answers].index(200)
    assert "redeemed" in refused(answers[1 - first], 409, "conflict")["message"]
    assert join(both[first], token).status == 200, "the same host that lost its answer gets it again"
    refused(join(both[1 - first], token), 409)


@test
def keys_of_another_host_and_one_that_is_not_on_the_list_are_refused():
    copied = Host("sixth.mesh.test", authority.address)
    copied.signing, copied.kem = host.signing, host.kem
    refused(join(copied, authority.token(copied.node)), 409, "conflict")
    unlisted = Host("unlisted.mesh.test", authority.address)
    assert "not on the list" in refused(join(unlisted, authority.token(unlisted.node)), 403, "not_admitted")["message"]


@test
def what_cannot_be_read_is_refused_and_uses_no_token_up():
    other = Host("sixth.mesh.test", authority.address)
    token, connection = read_token(authority.token(other.node)), other.connect()
    whole = json.loads(other.join_body(token, connection.exporter()))
    broken = [b"", b"garbage", b"[]", json.dumps({**whole, "more": 1}).encode()]
    for field in whole:
        broken.append(json.dumps({name: value for name, value in whole.items() if name != field}).encode())
        broken += [json.dumps({**whole, field: value}).encode() for value in ("!", 7)]
    for body in broken:
        refused(connection.request("POST", "/api/mesh/join", body, [JSON]), 400, "malformed")
    forged = other.csr()
    forged = forged[:-1] + bytes([forged[-1] ^ 1])
    for csr in (b"garbage", forged, other.csr() + b"\0", bytes(4097)):
        refused(join(other, token, csr=csr), 400, "malformed")
    assert join(other, token).status == 200


@test
def a_renewal_is_answered_by_the_pinned_key_alone():
    nonce = os.urandom(16)
    answer, binding = host.renew(nonce=nonce)
    assert answer.status == 200 and answer.headers["content-type"] == CMS, (answer.status, answer.body)
    fields = wire.read(cms.open_envelope(answer.body, host.server, host.kem))[4]
    assert fields[wire.KIND] == wire.RENEWAL and fields[wire.IN_REPLY_TO] == nonce
    renewed = cbor2.loads(fields[wire.BODY])
    assert renewed[0] == binding and renewed[3] == host.node and not renewed[13]
    issued(renewed, host)


@test
def a_renewal_that_is_forged_or_by_nobody_is_refused():
    stranger = cms.signing_key()
    refused(host.renew(signer=stranger)[0], 401, "unpinned")
    refused(host.renew(change=cms.named(host.signing), signer=stranger)[0], 401, "bad_signature")
    refused(host.renew(host.renewal(signer=stranger))[0], 401, "not_authenticated")
    refused(host.renew(host.renewal(kid=bytes(20)))[0], 401, "not_authenticated")
    refused(host.renew(host.renewal(node=authority.node))[0], 401, "not_authenticated")


@test
def a_renewal_for_another_or_of_another_time_is_refused():
    now = int(time.time() * 1000)
    for changed in (
        {"authority": "other.mesh.test"},
        {"mesh": os.urandom(16)},
        {"at": now - 301_000},
        {"at": now + 40_000},
    ):
        refused(host.renew(host.renewal(**changed))[0], 409, "conflict")
    refused(host.renew(issued_at=now - 301_000)[0], 409, "stale")
    refused(host.renew(issued_at=now + 40_000)[0], 409, "stale")
    message = {"nonce": os.urandom(16), "issued_at": now}
    assert host.renew(**message)[0].status == 200
    refused(host.renew(**message)[0], 409, "stale")


@test
def a_renewal_that_cannot_be_read_is_refused():
    send = lambda body: Connection(authority.address).request("POST", "/api/mesh/join", body, [("Content-Type", CMS)])
    refused(send(b"garbage"), 400)
    # An exchange of records has another place.
    assert "/api/gossip/sync" in refused(send(host.envelope()), 400)["message"]
    refused(host.renew(mesh=os.urandom(16))[0], 400)
    refused(host.renew(recipient="other.mesh.test")[0], 400)
    refused(host.renew(b"garbage")[0], 400, "malformed")
    refused(host.renew(host.renewal(csr=b"garbage"))[0], 400, "malformed")
    message = refused(host.renew(version=99)[0], 400, "malformed")["message"]
    assert "wire version 99" in message and "upgrade" in message, message


@test
def a_renewal_is_answered_once_and_six_in_a_minute():
    # Two were answered, and one had a request that is none.
    request = host.renewal()
    assert host.renew(request)[0].status == 200
    refused(host.renew(request)[0], 409, "conflict")
    statuses = [host.renew()[0].status for _ in range(6)]
    assert statuses[-1] == 429 and set(statuses) <= {200, 429}, statuses
    refused(host.renew()[0], 429, "too_many")
