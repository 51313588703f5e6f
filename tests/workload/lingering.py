"""A user without an identity: long questions, questions without an end, and no question. Usage: lingering.py RUN"""
import os
import socket
import sys
import time

os.setgroups([])
os.setgid(46002)
os.setuid(46002)

HEADERS, RESET, SETTINGS, DATA = 1, 3, 4, 0
END_STREAM, END_HEADERS = 1, 4
REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
DISCOVERY = "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets"


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def field(name, value):
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


class Client:
    """As much of HTTP/2 as it takes to begin calls, and to see which are over."""

    def __init__(self):
        self.socket, self.got, self.over, self.next = socket.socket(socket.AF_UNIX), b"", set(), 1
        self.socket.connect(f"{sys.argv[1]}/workload.sock")
        self.socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0))

    def begin(self, path, data=b""):
        fields = {b":method": b"POST", b":scheme": b"http", b":path": path.encode(), b":authority": b"x",
                  b"content-type": b"application/grpc", b"te": b"trailers"}
        headers = b"".join(field(*one) for one in fields.items())
        self.socket.sendall(frame(HEADERS, END_HEADERS, self.next, headers) + (frame(DATA, 0, self.next, data) if data else b""))
        self.next += 2

    def ended(self, seconds, enough):
        """Calls that are over by then, or as soon as there are so many."""
        until = time.monotonic() + seconds
        while len(self.over) < enough and (left := until - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                self.got += self.socket.recv(65536)
            except TimeoutError:
                break
            while len(self.got) >= 9 and len(self.got) >= 9 + (length := int.from_bytes(self.got[:3], "big")):
                kind, flags, stream = self.got[3], self.got[4], int.from_bytes(self.got[5:9], "big")
                if kind == RESET or (kind in (HEADERS, DATA) and flags & END_STREAM):
                    self.over.add(stream)
                self.got = self.got[9 + length:]
        return len(self.over)


def message(length, sent):
    return b"\x00" + length.to_bytes(4, "big") + bytes(sent)


long = Client()
for _ in range(10):
    long.begin(REFLECTION, message(4 << 20, 10))
assert long.ended(5, 10) == 10, f"{10 - len(long.over)} questions of 4 MiB are waited for"

mute = Client()
mute.begin(DISCOVERY)
assert mute.ended(5, 1) == 1, "a stream of secrets is kept open for who has none"

slow = Client()
for _ in range(20):
    slow.begin(REFLECTION, message(100, 10))
refused = slow.ended(5, 20)
assert 4 <= refused < 20, f"{refused} of 20 were refused at once"
assert slow.ended(20, 20) == 20, f"{20 - len(slow.over)} questions without an end are waited for"
