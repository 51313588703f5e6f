"""Hosts that are out, and what only an authority's word can bring about. Last: the mesh is another one afterwards."""
import cbor2
from OpenSSL import SSL

import cms
import kerberos
from asking import authority, host, member, refused, test, until
from host import Host
from joining import join
from transport import Connection


def persistently(ask):
    """The connections of a host that is out are closed each time the mesh changes."""
    for _ in range(20):
        try:
            return ask()
        except (SSL.Error, ConnectionError):
            pass
    return ask()


@test
def a_host_that_was_put_out_is_refused_everywhere_and_comes_back_by_readmission_alone():
    out = Host("tenth.mesh.test", authority.address)
    token = authority.token(out.node)
    out.join(token)
    assert out.post(out.envelope()).status == 200
    authority.admin("POST", "/api/admin/mesh/evict", {"node_id": out.node, "reason": "stolen"})
    octets = [("Content-Type", "application/octet-stream")]
    for ask in (
        lambda: out.post(out.envelope()),
        lambda: authority.get("/api/gossip/digest", key=out.signing),
        lambda: authority.request("POST", "/api/gossip/membership", b"", octets, key=out.signing),
        lambda: authority.get("/api/gossip/wrapping-key", [("X-Reverie-Node-Id", out.node)]),
        lambda: out.renew()[0],
        # Its token was good, and the answer to it is not given again.
        lambda: join(out, token),
    ):
        refused(persistently(ask), 403, "not_admitted")
    private = lambda: persistently(lambda: member.get("/api/gossip/stats", key=out.signing))
    until("the member has heard of it", lambda: private().status == 403)
    refused(private(), 403, "not_admitted")
    token = authority.token(out.node, again=True)
    refused(persistently(lambda: join(out, token)), 409, "conflict")
    back = Host(out.node, authority.address)
    assert join(back, token).status == 200


@test
def a_host_that_was_put_out_does_not_come_back_by_kerberos():
    authority.admin("POST", "/api/admin/mesh/evict", {"node_id": kerberos.host.node, "reason": "gone"})
    kerberos.host.signing, kerberos.host.kem = cms.signing_key(), cms.kem_key()
    assert "mesh readmit" in refused(kerberos.register()[1], 403, "not_admitted")["message"]


@test
def a_host_that_another_authority_let_in_meanwhile_is_not_let_in_again():
    authority.admin("POST", "/api/admin/mesh/promote", {"node_id": member.node})
    until("it leads", lambda: member.admin("GET", "/api/admin/mesh")["state"] == "authority")
    here, there = Host("twelfth.mesh.test", authority.address), Host("twelfth.mesh.test", member.address)
    tokens = authority.token(here.node), member.token(here.node)
    here.join(tokens[0])
    until("it knows", lambda: member.get("/api/gossip/digest", key=here.signing).status == 200)
    connection = Connection(member.address, key=here.signing)
    assert "already" in refused(join(there, tokens[1], connection), 409, "conflict")["message"]


@test
def a_host_without_a_kem_key_is_answered_in_the_clear_alone():
    authority.admin("POST", "/api/admin/mesh/promote", {"node_id": host.node})
    host.sync()
    mute = Host("thirteenth.mesh.test", authority.address).as_asked(authority, host.server, host.server_kem)
    mute.mesh = host.mesh
    point = cms.point(mute.signing.public_key())
    admission = {0: mute.node, 1: point, 2: None, 3: 0, 4: "token", 5: {}}
    host.sync([host.author.record(2, f"{mute.node}/{cms.kid(point).hex()}", admission)])
    until("it is known", lambda: authority.get("/api/gossip/digest", key=mute.signing).status == 200)
    refused(mute.post(mute.envelope()), 403, "no_key")
    refused(authority.get("/api/gossip/wrapping-key", [("X-Reverie-Node-Id", mute.node)]), 403, "no_key")
    refused(mute.renew()[0], 403, "no_key")


@test
def what_the_mesh_names_no_more_is_not_handed_out():
    host.vector = {}
    said = [cbor2.loads(record)[0] for record in host.sync()]
    versions = {statement[1] for statement in said if statement[0] == 10 and len(statement) == 9}
    host.sync([host.author.record(10, version, None) for version in sorted(versions)])
    ask = lambda: authority.get("/api/gossip/wrapping-key", [("X-Reverie-Node-Id", host.node)], key=host.signing)
    until("there is none", lambda: ask().status == 503)
    refused(ask(), 503, "unavailable")


@test
def a_host_whose_own_record_is_gone_says_that_it_is_not_registered():
    host.sync([host.author.record(1, authority.node, None)])
    answers = [authority.get("/api/gossip/kem-info") for _ in range(20)]
    unregistered = [answer for answer in answers if answer.status == 404]
    assert unregistered and unregistered[0].json() == {"registered": False}, answers
    # Its next look at its own record mends that; the new version of the key has it look at once.
    authority.admin("POST", "/api/admin/mesh/rotate", {"what": "wrapping-key"})
    until("it says its own record again", lambda: authority.get("/api/gossip/kem-info").status == 200)
