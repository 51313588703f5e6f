"""A host of the mesh in Python: joins by token, writes records, exchanges them."""
import base64
import copy
import hashlib
import hmac
import json
import os
import struct
import time

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

import cms
import wire
from transport import Connection

CMS = "application/pkcs7-mime"


def read_token(line):
    """The parts of a join token."""
    raw = base64.urlsafe_b64decode(line.strip().removeprefix("reverie-join-") + "==")
    body, checksum = raw[:-4], raw[-4:]
    assert body[0] == 1 and hashlib.sha256(body).digest()[:4] == checksum
    names = ["id", "secret", "mesh", "trust_domain", "node", "issuer", "issuer_key", "issuer_kem", "expires_at"]
    return dict(zip(names, cbor2.loads(body[1:])))


def public_key(point):
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)


def spki(key):
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


class Host:
    def __init__(self, node, address):
        self.node, self.address = node, address
        self.signing, self.kem = cms.signing_key(), cms.kem_key()
        self.epoch = int(time.time() * 1000)
        self.author = wire.Author(node, self.signing, self.epoch)
        self.issuing = cms.signing_key()
        self.mesh = self.server = self.server_node = self.server_kem = None
        self.vector = {}

    def connect(self, **how):
        return Connection(self.address, key=self.signing, **how)

    def csr(self):
        csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(self.issuing, hashes.SHA256())
        return csr.public_bytes(serialization.Encoding.DER)

    def join_body(self, token, exporter, csr=None):
        csr = csr or self.csr()
        signing, kem = cms.point(self.signing.public_key()), self.kem.public_key().public_bytes_raw()
        content = b"reverie-join-v1" + exporter + token["id"]
        content += struct.pack(">Q", len(self.node)) + self.node.encode()
        content += signing + kem + struct.pack(">Q", len(csr)) + csr
        self.binding = hashlib.sha256(content).digest()
        mac = hmac.new(token["secret"], content, hashlib.sha256)
        return json.dumps(
            {
                "node": self.node,
                "token_id": token["id"].hex(),
                "signing_key": signing.hex(),
                "kem_key": kem.hex(),
                "csr": base64.urlsafe_b64encode(csr).rstrip(b"=").decode(),
                "mac": mac.hexdigest(),
            }
        ).encode()

    def join(self, line):
        """Redeems the token; returns the answer, a map."""
        token = read_token(line)
        connection = self.connect()
        assert cms.point(connection.server_key()) == token["issuer_key"], "the server shows the key that the token pins"
        body = self.join_body(token, connection.exporter())
        answer = connection.request("POST", "/api/mesh/join", body, [("Content-Type", "application/json")])
        connection.close()
        assert answer.status == 200, (answer.status, answer.body)
        self.server, self.mesh = public_key(token["issuer_key"]), token["mesh"]
        self.server_node = token["issuer"]
        plain = cms.open_envelope(answer.body, self.server, self.kem)
        version, mesh, sender, recipient, fields = wire.read(plain)
        assert (mesh, sender, recipient) == (token["mesh"], token["issuer"], self.node)
        joined = cbor2.loads(fields[wire.BODY])
        assert joined[0] == self.binding, "the answer is to this request"
        self.server_kem = joined[8]
        return joined

    def as_asked(self, agent, key, kem):
        """The same host, asking another agent, whose keys are these."""
        other = copy.copy(self)
        other.address, other.server_node, other.server, other.server_kem = agent.address, agent.node, key, kem
        return other

    def renewal(self, wanted=0, signer=None, **changed):
        """A renewal request; keywords forge the statement and who signs it."""
        fields = {
            "mesh": self.mesh,
            "node": self.node,
            "kid": cms.kid(cms.point(self.signing.public_key())),
            "authority": self.server_node,
            "nonce": os.urandom(16),
            "at": int(time.time() * 1000),
            "wanted": wanted,
            "csr": self.csr(),
        }
        fields.update(changed)
        statement = {key: value for key, value in enumerate(fields.values()) if value is not None}
        signature = wire.sign(signer or self.signing, cbor2.dumps(statement), b"reverie-renewal-v1")
        return cbor2.dumps([statement, signature])

    def renew(self, request=None, connection=None, signer=None, change=None, **message):
        """Asks for the next intermediate; returns the answer and what it must be bound to. Nobody has to show a certificate."""
        request = request or self.renewal()
        fields = {wire.KIND: wire.RENEWAL, wire.BODY: request, **message.pop("fields", {})}
        who = {"mesh": self.mesh, "sender": self.node, "recipient": self.server_node, "epoch": self.epoch, **message}
        envelope = cms.seal(wire.message(fields=fields, **who), signer or self.signing, self.kem_public(), change)
        connection = connection or Connection(self.address)
        answer = connection.request("POST", "/api/mesh/join", envelope, [("Content-Type", CMS)])
        return answer, hashlib.sha256(request).digest()

    def kem_public(self):
        from cryptography.hazmat.primitives.asymmetric import mlkem

        return mlkem.MLKEM768PublicKey.from_public_bytes(self.server_kem)

    def envelope(self, records=(), signer=None, change=None, kem=None, **message):
        """A sync request; keywords forge what is said and how it is signed."""
        fields = {
            wire.KIND: wire.SYNC,
            wire.SINCE: wire.vector(self.vector),
            wire.VECTOR: wire.vector(self.vector),
            wire.MORE: False,
            wire.RECORDS: list(records),
        }
        fields.update(message.pop("fields", {}))
        who = {"mesh": self.mesh, "sender": self.node, "recipient": self.server_node, "epoch": self.epoch}
        who.update(message)
        plain = wire.message(fields=fields, **who)
        return cms.seal(plain, signer or self.signing, kem or self.kem_public(), change)

    def post(self, envelope, connection=None, media=CMS):
        """Sends an envelope, answers status and answer."""
        connection = connection or self.connect()
        return connection.request("POST", "/api/gossip/sync", envelope, [("Content-Type", media)])

    def sync(self, records=()):
        """An exchange; returns the records of the answer."""
        nonce = os.urandom(16)
        answer = self.post(self.envelope(records, nonce=nonce))
        assert answer.status == 200, (answer.status, answer.body)
        assert answer.headers["content-type"] == CMS
        plain = cms.open_envelope(answer.body, self.server, self.kem)
        _, mesh, sender, recipient, fields = wire.read(plain)
        assert (mesh, sender, recipient) == (self.mesh, self.server_node, self.node)
        assert fields[wire.IN_REPLY_TO] == nonce, "the answer is to this question"
        for record in fields[wire.RECORDS]:
            statement = cbor2.loads(record)[0]
            self.vector[statement[2]] = max(tuple(statement[4]), self.vector.get(statement[2], (0, 0)))
        return fields[wire.RECORDS]

    def kem_registered(self):
        """Body of register-kem."""
        encode = lambda key: base64.urlsafe_b64encode(spki(key)).rstrip(b"=").decode()
        return {
            "node_id": self.node,
            "kem_public_key_der": encode(self.kem.public_key()),
            "gossip_signing_pub_key_der": encode(self.signing.public_key()),
        }
