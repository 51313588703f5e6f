"""A client of SDS in all three variants. Usage: discovering.py RUN"""
import queue
import subprocess
import sys

import grpc
from google.protobuf import descriptor_pool, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

run = sys.argv[1]
channel = grpc.insecure_channel(f"unix:{run}/workload.sock")
pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
service = pool.FindServiceByName("envoy.service.secret.v3.SecretDiscoveryService")


def message(name):
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


Secret = message("envoy.extensions.transport_sockets.tls.v3.Secret")
SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
Request, Delta = message("envoy.service.discovery.v3.DiscoveryRequest"), message("envoy.service.discovery.v3.DeltaDiscoveryRequest")
OWN, THEIRS = "spiffe://example.org/svc/web", "spiffe://example.org/svc/theirs"


def admin(path, body):
    url = f"http://localhost/api/admin/{path}"
    subprocess.run(["curl", "-sf", "-o", "/dev/null", "--unix-socket", f"{run}/admin.sock", "--data", body, url], check=True)


class Stream:
    def __init__(self, method):
        described = service.methods_by_name[method]
        response = message_factory.GetMessageClass(described.output_type)
        self.requests = queue.Queue()
        self.call = channel.stream_stream(
            f"/{service.full_name}/{method}", request_serializer=lambda m: m.SerializeToString(), response_deserializer=response.FromString
        )(iter(self.requests.get, None))
        self.answers = queue.Queue()
        import threading

        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        try:
            for answer in self.call:
                self.answers.put(answer)
        except grpc.RpcError as error:
            self.answers.put(error)

    def send(self, request):
        self.requests.put(request)

    def next(self):
        return self.answers.get(timeout=20)

    def silent(self):
        try:
            return self.answers.get(timeout=0.7) and False
        except queue.Empty:
            return True


def secrets(resources):
    assert all(resource.type_url == SECRET for resource in resources)
    return {secret.name: secret for secret in (Secret.FromString(resource.value) for resource in resources)}


# State of the world.
stream = Stream("StreamSecrets")
stream.send(Request(resource_names=["default", "ROOTCA", THEIRS], type_url=SECRET))
first = stream.next()
got = secrets(first.resources)
assert set(got) == {"default", "ROOTCA"}, set(got)
assert b"BEGIN PRIVATE KEY" in got["default"].tls_certificate.private_key.inline_bytes
context = got["ROOTCA"].validation_context
assert b"BEGIN CERTIFICATE" in context.trusted_ca.inline_bytes and context.crl.inline_bytes.count(b"BEGIN X509 CRL") == 2
stream.send(Request(resource_names=["default", "ROOTCA", THEIRS], version_info=first.version_info, response_nonce=first.nonce))
assert stream.silent(), "an ACK is not answered"
stream.send(Request(resource_names=["ALL"], response_nonce="stale"))
assert stream.silent(), "a stale request is ignored"
admin("rotate", '{"identity":"theirs"}')
assert stream.silent(), "nothing of its own has changed"
admin("rotate", '{"identity":"web"}')
second = stream.next()
assert second.version_info != first.version_info and second.nonce != first.nonce
refused = Request(resource_names=["default", "ROOTCA", THEIRS], version_info=first.version_info, response_nonce=second.nonce)
refused.error_detail.code, refused.error_detail.message = 13, "bad key"
stream.send(refused)
assert stream.silent(), "what was refused is not sent again"
admin("rotate", '{"identity":"web"}')
third = stream.next()
stream.send(Request(resource_names=["ALL", OWN], response_nonce=third.nonce))
fourth = secrets(stream.next().resources)
assert set(fourth) == {"ALL", OWN}
validator = fourth["ALL"].validation_context.custom_validator_config
assert validator.name == "envoy.tls.cert_validator.spiffe"
config = message("envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig").FromString(validator.typed_config.value)
bundle = config.trust_domains[0].trust_bundle.inline_bytes
assert config.trust_domains[0].name == "example.org" and b"BEGIN CERTIFICATE" in bundle and b"BEGIN X509 CRL" in bundle

# Incremental.
delta = Stream("DeltaSecrets")
delta.send(Delta(type_url=SECRET, resource_names_subscribe=["default", "ROOTCA", THEIRS]))
first = delta.next()
assert {resource.name for resource in first.resources} == {"default", "ROOTCA"} and list(first.removed_resources) == [THEIRS]
delta.send(Delta(response_nonce=first.nonce))
admin("rotate", '{"identity":"web"}')
second = delta.next()
assert [resource.name for resource in second.resources] == ["default"] and not second.removed_resources, "only what changed"
delta.send(Delta(response_nonce=second.nonce, resource_names_unsubscribe=["default"]))
assert delta.silent()
admin("rotate", '{"identity":"web"}')
assert delta.silent(), "it is not wanted any more"
versions = {resource.name: resource.version for resource in first.resources}
again = Stream("DeltaSecrets")
again.send(Delta(resource_names_subscribe=["default", "ROOTCA"], initial_resource_versions=versions))
assert [resource.name for resource in again.next().resources] == ["default"], "it has the roots"

# Asked once.
fetch = channel.unary_unary(
    f"/{service.full_name}/FetchSecrets",
    request_serializer=lambda m: m.SerializeToString(),
    response_deserializer=message("envoy.service.discovery.v3.DiscoveryResponse").FromString,
)
assert set(secrets(fetch(Request(resource_names=["default", THEIRS])).resources)) == {"default"}
for request, code in [
    (Request(resource_names=["nothing"]), grpc.StatusCode.PERMISSION_DENIED),
    (Request(resource_names=["default"], type_url="type.googleapis.com/envoy.config.cluster.v3.Cluster"), grpc.StatusCode.INVALID_ARGUMENT),
    (Request(resource_names=[str(n) for n in range(200)]), grpc.StatusCode.INVALID_ARGUMENT),
]:
    try:
        fetch(request)
        raise SystemExit(f"answered: {request}")
    except grpc.RpcError as error:
        assert error.code() == code, error

# Far more than Envoy says at first is refused, and what it says is not.
node = Request(resource_names=["default"])
stream = Stream("StreamSecrets")
stream.send(Request.FromString(node.SerializeToString() + b"\x12\x80\xf0\x03" + b"\x00" * 63488))
assert stream.next().resources
stream = Stream("StreamSecrets")
stream.send(Request.FromString(node.SerializeToString() + b"\x12\x80\x80\x20" + b"\x00" * 524288))
assert stream.next().code() in (grpc.StatusCode.OUT_OF_RANGE, grpc.StatusCode.RESOURCE_EXHAUSTED)
