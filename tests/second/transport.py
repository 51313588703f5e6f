"""HTTP/1.1 over TLS 1.3 by pyOpenSSL, with the exporter and with a certificate over any key."""
import datetime
import json
import socket

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID
from OpenSSL import SSL, crypto

# Every (path, status) that was answered.
SEEN = set()


def certificate(key, name="second"):
    """Self-signed, long ended: between hosts the key counts and nothing else."""
    begun = datetime.datetime(2020, 1, 1)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(begun).not_valid_after(begun + datetime.timedelta(days=1))
    return builder.sign(key, hashes.SHA256())


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)


class Connection:
    def __init__(self, address, key=None, bundle=None, name=None, chain=None, source=None, groups=None):
        """`key`: present a certificate over it. `bundle`: verify the server for `name` by these roots (PEM file).
        `source`: the address to come from. `groups`: the key exchanges to offer."""
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_min_proto_version(SSL.TLS1_3_VERSION)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        if groups:
            # pyOpenSSL has no name of its own for it.
            assert SSL._lib.SSL_CTX_set1_curves_list(context._context, groups.encode()) == 1
        if bundle:
            context.load_verify_locations(bundle)
            context.set_verify(SSL.VERIFY_PEER, lambda *_: _[-1])
        if key:
            leaf, *issuers = chain or [certificate(key)]
            context.use_certificate(crypto.X509.from_cryptography(leaf))
            for issuer in issuers:
                context.add_extra_chain_cert(crypto.X509.from_cryptography(issuer))
            context.use_privatekey(crypto.PKey.from_cryptography_key(key))
        host, port = address.rsplit(":", 1)
        self.host = name or host.strip("[]")
        raw = socket.create_connection((host.strip("[]"), int(port)), timeout=10, source_address=source and (source, 0))
        # pyOpenSSL wants a blocking socket without a timeout of its own.
        raw.settimeout(None)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, (40).to_bytes(8, "little") + bytes(8))
        self.tls = SSL.Connection(context, raw)
        self.tls.set_tlsext_host_name(self.host.encode())
        if bundle and name:
            self.tls.set_verify(SSL.VERIFY_PEER)
        self.tls.set_connect_state()
        self.tls.do_handshake()
        self.buffer = b""

    def group(self):
        return self.tls.get_group_name()

    def server_key(self):
        return self.tls.get_peer_certificate().to_cryptography().public_key()

    def server_certificate(self):
        return self.tls.get_peer_certificate().to_cryptography()

    def exporter(self):
        return self.tls.export_keying_material(b"EXPORTER-reverie-join", 32, b"")

    def request(self, method, path, body=b"", headers=(), announced=None):
        self.send(method, path, body, headers, announced)
        return self.answer()

    def send(self, method, path, body=b"", headers=(), announced=None):
        """`announced`: the length that the head tells, or "chunked", where that is not the body's."""
        length = "Transfer-Encoding: chunked" if announced == "chunked" else f"Content-Length: {announced or len(body)}"
        if announced == "chunked":
            body = b"%x\r\n%b\r\n" % (len(body), body)
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self.host}", length]
        lines += [f"{name}: {value}" for name, value in headers]
        self.path = path.split("?")[0]
        self.tls.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    def answer(self):
        while b"\r\n\r\n" not in self.buffer:
            self.fill()
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        status_line, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
        body = self.chunked() if headers.get("transfer-encoding") == "chunked" else self.exactly(int(headers.get("content-length", 0)))
        status = int(status_line.split()[1])
        SEEN.add((self.path, status))
        return Answer(status, headers, body)

    def fill(self):
        received = self.tls.recv(65536)
        if not received:
            raise ConnectionError("the server closed the connection")
        self.buffer += received

    def exactly(self, length):
        while len(self.buffer) < length:
            self.fill()
        taken, self.buffer = self.buffer[:length], self.buffer[length:]
        return taken

    def chunked(self):
        whole = b""
        while True:
            while b"\r\n" not in self.buffer:
                self.fill()
            size, self.buffer = self.buffer.split(b"\r\n", 1)
            chunk = self.exactly(int(size, 16))
            self.exactly(2)
            if not chunk:
                return whole
            whole += chunk

    def close(self):
        try:
            self.tls.shutdown()
        except SSL.Error:
            pass
        self.tls.close()
