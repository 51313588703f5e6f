"""Server reflection, both versions of it, and with the messages that it describes: WIT-SVIDs. Usage: reflecting.py RUN"""
import base64
import json
import sys

import grpc
from google.protobuf import descriptor_pool, message_factory
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

channel = grpc.insecure_channel(f"unix:{sys.argv[1]}/workload.sock")
database = ProtoReflectionDescriptorDatabase(channel)
services = set(database.get_services())
assert {"SpiffeWorkloadAPI", "envoy.service.secret.v3.SecretDiscoveryService"} <= services, services
pool = descriptor_pool.DescriptorPool(database)
service = pool.FindServiceByName("SpiffeWorkloadAPI")
methods = {method.name for method in service.methods}
assert {"FetchX509SVID", "FetchX509Bundles", "FetchJWTSVID", "ValidateJWTSVID", "FetchWITSVID", "FetchWITBundles"} <= methods, methods

# The messages of both versions are the same.
ask = channel.stream_stream(
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
    response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
)
answer = next(ask(iter([reflection_pb2.ServerReflectionRequest(list_services="")])))
assert {service.name for service in answer.list_services_response.service} >= {"SpiffeWorkloadAPI"}, answer


def first(method):
    described = service.methods_by_name[method]
    response = message_factory.GetMessageClass(described.output_type)
    call = channel.unary_stream(f"/SpiffeWorkloadAPI/{method}", response_deserializer=response.FromString)
    return next(call(b"", metadata=(("workload.spiffe.io", "true"),), timeout=20))


def decoded(part):
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


svids = first("FetchWITSVID").svids
assert [(svid.spiffe_id, svid.hint) for svid in svids] == [
    ("spiffe://example.org/svc/inside", "internal"),
    ("spiffe://example.org/svc/outside", "external"),
]
for svid in svids:
    header, claims = (decoded(part) for part in svid.wit_svid.split(".")[:2])
    key = json.loads(svid.wit_svid_key)
    assert claims["sub"] == svid.spiffe_id and header["typ"] == "wit+jwt", (header, claims)
    bound = claims["cnf"]["jwk"]
    assert key["d"] and (key["x"], key["y"]) == (bound["x"], bound["y"]), bound
    keys = json.loads(first("FetchWITBundles").bundles["spiffe://example.org"])["keys"]
    import jwt

    signer = next(one for one in keys if one["kid"] == header["kid"])
    jwt.decode(svid.wit_svid, jwt.PyJWK(signer).key, algorithms=["ES256"])
    # Whoever has the private half has the public one.
    from cryptography.hazmat.primitives.asymmetric import ec

    private = ec.derive_private_key(int.from_bytes(base64.urlsafe_b64decode(key["d"] + "="), "big"), ec.SECP256R1())
    assert private.public_key().public_numbers().x == int.from_bytes(base64.urlsafe_b64decode(key["x"] + "="), "big")
