"""What a member answers: like an authority, but for what takes one; and how strangers are slowed down there."""
import base64

import cbor2

import kerberos
import wire
from asking import authority, host, member, refused, test, until
from host import Host
from joining import join
from shapes import PATHS
from transport import Connection


def there():
    """Our host, which asks the member."""
    der = base64.urlsafe_b64decode(member.get("/api/gossip/kem-info", key=host.signing).json()["kem_public_key"] + "==")
    return host.as_asked(member, Connection(member.address, key=host.signing).server_key(), der[-1184:])


def names_the_authority(message):
    assert "takes an authority" in message, message
    # As it advertises itself.
    assert f"{authority.node} (127.0.0.1:{authority.address.split(':')[1]})" in message, message


@test
def a_member_speaks_with_a_host_that_it_never_let_in():
    until("it knows us", lambda: member.get("/api/gossip/digest", key=host.signing).status == 200)
    asked = there()
    asked.vector = {}
    records = asked.sync()
    assert {wire.fits_the_schema(record) for record in records} >= {"nodes", "admissions"}
    for record in records:
        if cbor2.loads(record)[0][2] == member.node:
            wire.verify(record, asked.server)


@test
def a_member_renews_nobody_and_says_who_does():
    answer, _ = there().renew(connection=there().connect())
    names_the_authority(refused(answer, 503, "unavailable")["message"])


@test
def a_member_registers_nobody_by_kerberos_and_says_who_does():
    how = {"connection": there().connect(), "server": member.node}
    names_the_authority(refused(kerberos.register(**how)[1], 503, "unavailable")["message"])


@test
def a_member_knows_no_token_and_says_where_to_go_with_it():
    newcomer = Host("eleventh.mesh.test", member.address)
    answer = join(newcomer, authority.token(newcomer.node), Connection(member.address, key=host.signing))
    assert "join at the host that made the token" in refused(answer, 403, "not_admitted")["message"]


@test
def stats_are_for_peers_alone_where_that_is_configured():
    path = "/api/gossip/stats"
    refused(member.get(path), 401, "no_certificate")
    refused(member.get(path, key=host.signing, groups="X25519"), 403, "not_post_quantum")
    assert member.get(path, key=host.signing).json()["node_id"] == member.node


@test
def a_stranger_that_asks_too_often_is_told_to_wait_wherever_it_asks_and_a_peer_is_not():
    stranger, peer = Connection(member.address), there().connect()
    for path in PATHS + ["/"]:
        for _ in range(50):
            answer = stranger.request("GET", path)
            if answer.status == 429:
                break
        refused(answer, 429, "too_many")
    for _ in range(50):
        assert peer.request("GET", "/api/gossip/digest").status == 200
