"""register-kem with each of its status codes, by tickets of a real KDC, which the environment names."""
import base64
import hashlib
import json
import os

import cbor2
import gssapi
from cryptography.hazmat.primitives import serialization
from gssapi.raw import ChannelBindings

import asking
import cms
import wire
from asking import JSON, WORLD, authority, refused, test
from host import Host
from transport import Connection, certificate

# It comes by Kerberos; asking.host came by token.
host = Host("second.mesh.test", authority.address)


def binding(connection, of):
    """Channel binding: the server's certificate, and the keys that are registered."""
    certificate = connection.server_certificate().public_bytes(serialization.Encoding.DER)
    point = of.signing.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    keys = b"reverie-register-v1" + of.node.encode() + point + of.kem.public_key().public_bytes_raw()
    return b"tls-server-end-point:" + hashlib.sha256(certificate).digest() + hashlib.sha256(keys).digest()


def ticket(connection, keytab="second", principal=None, bound=True, of=None, server=authority.node):
    keytab_file = f"{WORLD['keytabs']}/{keytab}.keytab"
    store = {b"client_keytab": keytab_file.encode(), b"ccache": f"MEMORY:{os.urandom(4).hex()}".encode()}
    name = gssapi.Name(principal or f"HTTP/{keytab}.mesh.test", gssapi.NameType.kerberos_principal)
    credentials = gssapi.Credentials(name=name, usage="initiate", store=store)
    bindings = ChannelBindings(application_data=binding(connection, of or host)) if bound else None
    target = gssapi.Name(f"HTTP@{server}", gssapi.NameType.hostbased_service)
    flags = gssapi.RequirementFlag.mutual_authentication
    context = gssapi.SecurityContext(name=target, creds=credentials, usage="initiate", flags=flags, channel_bindings=bindings)
    return context, context.step()


def register(body=None, connection=None, token=None, **how):
    connection = connection or Connection(authority.address)
    context = None
    if token is None:
        context, token = ticket(connection, **how)
    headers = [JSON, ("Authorization", "Negotiate " + base64.b64encode(token).decode())]
    body = json.dumps(host.kem_registered() if body is None else body).encode()
    answer = connection.request("POST", "/api/gossip/register-kem", body, headers)
    return context, answer


def not_authenticated(answer, error):
    refused(answer, 401, error)
    assert answer.headers["www-authenticate"] == "Negotiate", answer.headers


@test
def without_a_token_one_is_asked_for():
    for scheme in (None, "Basic YTpi", "Negotiate", "Negotiate !!", "Bearer YQ=="):
        headers = [JSON] + ([("Authorization", scheme)] if scheme else [])
        not_authenticated(authority.request("POST", "/api/gossip/register-kem", b"{}", headers), "no_token")


@test
def a_token_that_is_none_is_asked_for_again():
    not_authenticated(register(token=b"garbage")[1], "not_authenticated")


@test
def a_token_without_a_channel_binding_is_refused():
    not_authenticated(register(bound=False)[1], "not_authenticated")


@test
def a_token_bound_to_another_certificate_is_refused():
    class Between:
        def server_certificate(self):
            return certificate(cms.signing_key())

    _, token = ticket(Between())
    not_authenticated(register(token=token)[1], "not_authenticated")


@test
def keys_that_were_exchanged_on_the_way_are_refused():
    other = Host(host.node, authority.address)
    other.kem = host.kem
    not_authenticated(register(other.kem_registered())[1], "not_authenticated")
    other.signing, other.kem = host.signing, cms.kem_key()
    not_authenticated(register(other.kem_registered())[1], "not_authenticated")


@test
def all_three_fields_are_needed():
    for field in ("node_id", "kem_public_key_der", "gossip_signing_pub_key_der"):
        for value in (None, ""):
            body = host.kem_registered()
            if value is None:
                del body[field]
            else:
                body[field] = value
            refused(register(body)[1], 400, "malformed")
    body = host.kem_registered()
    body["kem_public_key_der"] = body["gossip_signing_pub_key_der"]
    refused(register(body)[1], 400)


@test
def a_user_and_another_host_are_refused():
    refused(register(keytab="alice", principal="alice")[1], 403)
    refused(register(keytab="other", principal="HTTP/other.mesh.test")[1], 403)


@test
def a_realm_that_ours_trusts_does_not_name_our_hosts():
    refused(register(keytab="foreign", principal="HTTP/second.mesh.test@TRUSTED.TEST")[1], 403)


@test
def a_host_that_is_not_on_the_list_is_refused():
    other = Host("other.mesh.test", authority.address)
    refused(register(other.kem_registered(), keytab="other", principal="HTTP/other.mesh.test", of=other)[1], 403)


@test
def a_host_registers_and_the_server_proves_who_it_is():
    context, answer = register()
    assert answer.status == 200, (answer.status, answer.body)
    scheme, token = answer.headers["www-authenticate"].split()
    context.step(base64.b64decode(token))
    assert context.complete
    assert answer.json()["outcome"] == "fresh" and answer.json()["node_id"] == authority.node, answer.body


@test
def a_ticket_is_good_once():
    connection = Connection(authority.address)
    _, token = ticket(connection)
    assert register(connection=connection, token=token)[1].status == 200
    not_authenticated(register(connection=connection, token=token)[1], "not_authenticated")


@test
def what_registered_is_given_a_certificate_though_it_does_not_know_the_mesh_yet():
    der = base64.urlsafe_b64decode(authority.get("/api/gossip/kem-info").json()["kem_public_key"] + "==")
    registered = host.as_asked(authority, Connection(authority.address).server_key(), der[-1184:])
    # All that a joiner gets.
    answer, bound_to = registered.renew(registered.renewal(wanted=1), mesh=bytes(16))
    assert answer.status == 200, (answer.status, answer.body)
    fields = wire.read(cms.open_envelope(answer.body, registered.server, host.kem))[4]
    joined = cbor2.loads(fields[wire.BODY])
    assert joined[0] == bound_to and joined[1] == asking.host.mesh and joined[13], joined


@test
def registering_again_changes_nothing():
    _, answer = register()
    assert answer.status == 200 and answer.json()["outcome"] == "unchanged", answer.body


@test
def another_signing_key_is_taken_with_the_same_kem_key():
    host.signing = cms.signing_key()
    _, answer = register()
    assert answer.status == 200 and answer.json()["outcome"] == "signing-key", answer.body


@test
def another_kem_key_is_never_taken():
    known, host.kem = host.kem, cms.kem_key()
    refused(register()[1], 409, "conflict")
    host.kem = known


@test
def a_host_that_came_by_token_changes_nothing_by_kerberos():
    by_token = Host(asking.host.node, authority.address)
    by_token.signing, by_token.kem = asking.host.signing, asking.host.kem
    again = lambda: register(by_token.kem_registered(), keytab="python", of=by_token)[1]
    assert again().json()["outcome"] == "unchanged"
    by_token.signing = cms.signing_key()
    refused(again(), 409, "conflict")
    by_token.kem = cms.kem_key()
    refused(again(), 409, "conflict")
