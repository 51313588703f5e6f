"""register-kem with each of its status codes, by tickets of a real KDC.

    kerberos.py ADDRESS SERVER KEYTABS     # KEYTABS holds second.keytab, other.keytab and alice.keytab

The environment names the KDC. The end is `N passed, N failed`.
"""
import base64
import hashlib
import json
import os
import sys
import traceback

import gssapi
from cryptography.hazmat.primitives import serialization
from gssapi.raw import ChannelBindings

import cms
from host import Host
from transport import Connection

ADDRESS, SERVER, KEYTABS = sys.argv[1:4]
host = Host("second.mesh.test", ADDRESS)
TESTS = []


def test(function):
    TESTS.append(function)
    return function


def binding(connection, of):
    """Channel binding: the server's certificate, and the keys that are registered."""
    certificate = connection.server_certificate().public_bytes(serialization.Encoding.DER)
    point = of.signing.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    keys = b"reverie-register-v1" + of.node.encode() + point + of.kem.public_key().public_bytes_raw()
    return b"tls-server-end-point:" + hashlib.sha256(certificate).digest() + hashlib.sha256(keys).digest()


def ticket(connection, keytab="second", principal=None, bound=True, of=None):
    store = {b"client_keytab": f"{KEYTABS}/{keytab}.keytab".encode(), b"ccache": f"MEMORY:{os.urandom(4).hex()}".encode()}
    name = gssapi.Name(principal or "HTTP/second.mesh.test", gssapi.NameType.kerberos_principal)
    credentials = gssapi.Credentials(name=name, usage="initiate", store=store)
    bindings = ChannelBindings(application_data=binding(connection, of or host)) if bound else None
    target = gssapi.Name(f"HTTP@{SERVER}", gssapi.NameType.hostbased_service)
    flags = gssapi.RequirementFlag.mutual_authentication
    context = gssapi.SecurityContext(name=target, creds=credentials, usage="initiate", flags=flags, channel_bindings=bindings)
    return context, context.step()


def register(body=None, connection=None, token=None, **how):
    connection = connection or Connection(ADDRESS)
    context = None
    if token is None:
        context, token = ticket(connection, **how)
    headers = [("Content-Type", "application/json"), ("Authorization", "Negotiate " + base64.b64encode(token).decode())]
    body = json.dumps(host.kem_registered() if body is None else body).encode()
    answer = connection.request("POST", "/api/gossip/register-kem", body, headers)
    return context, answer


def refused(answer, status):
    assert answer.status == status, (answer.status, answer.body)


@test
def a_token_that_is_none_is_asked_for_again():
    _, answer = register(token=b"garbage")
    refused(answer, 401)
    assert answer.headers["www-authenticate"].startswith("Negotiate")


@test
def a_token_without_a_channel_binding_is_refused():
    refused(register(bound=False)[1], 401)


@test
def a_token_bound_to_another_certificate_is_refused():
    class Between:
        def server_certificate(self):
            from transport import certificate

            return certificate(cms.signing_key())

    _, token = ticket(Between())
    refused(register(token=token)[1], 401)


@test
def keys_that_were_exchanged_on_the_way_are_refused():
    other = Host(host.node, ADDRESS)
    other.kem = host.kem
    refused(register(other.kem_registered())[1], 401)
    other.signing, other.kem = host.signing, cms.kem_key()
    refused(register(other.kem_registered())[1], 401)


@test
def all_three_fields_are_needed():
    for field in ("node_id", "kem_public_key_der", "gossip_signing_pub_key_der"):
        for value in (None, ""):
            body = host.kem_registered()
            if value is None:
                del body[field]
            else:
                body[field] = value
            refused(register(body)[1], 400)
    body = host.kem_registered()
    body["kem_public_key_der"] = body["gossip_signing_pub_key_der"]
    refused(register(body)[1], 400)


@test
def a_user_and_another_host_are_refused():
    refused(register(keytab="alice", principal="alice")[1], 403)
    refused(register(keytab="other", principal="HTTP/other.mesh.test")[1], 403)


@test
def a_host_that_is_not_on_the_list_is_refused():
    other = Host("other.mesh.test", ADDRESS)
    refused(register(other.kem_registered(), keytab="other", principal="HTTP/other.mesh.test", of=other)[1], 403)


@test
def a_host_registers_and_the_server_proves_who_it_is():
    context, answer = register()
    assert answer.status == 200, (answer.status, answer.body)
    scheme, token = answer.headers["www-authenticate"].split()
    context.step(base64.b64decode(token))
    assert context.complete
    assert answer.json()["outcome"] == "fresh" and answer.json()["node_id"] == SERVER, answer.body


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
    host.kem = cms.kem_key()
    refused(register()[1], 409)


def main():
    failed = 0
    for run in TESTS:
        try:
            run()
            print("ok", run.__name__, file=sys.stderr)
        except Exception:
            failed += 1
            print("FAILED", run.__name__, file=sys.stderr)
            traceback.print_exc()
    print(f"{len(TESTS) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
