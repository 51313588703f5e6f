"""A reader that grants no window: it meets no backlog, and is cut off. HTTP/2 by hand. Usage: stalling.py RUN"""
import socket
import struct
import subprocess
import sys
import time

run = sys.argv[1]


def ask(path, body=None):
    data = ["--data", body] if body else []
    url = f"http://localhost/{path}"
    return subprocess.run(["curl", "-sf", "--unix-socket", f"{run}/admin.sock", *data, url], check=True, capture_output=True, text=True).stdout


def rotate():
    ask("api/admin/rotate", '{"identity":"inside"}')


def metric(name):
    lines = [line for line in ask("metrics").splitlines() if line.startswith(f'{name}{{call="FetchX509SVID"}} ')]
    return float(lines[0].split()[1]) if lines else 0


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def literal(name, value):
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


class Reader:
    """One stream, whose window is nothing until it is granted."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(f"{run}/workload.sock")
        headers = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/SpiffeWorkloadAPI/FetchX509SVID")]
        headers += [(b":authority", b"/not/an/authority"), (b"content-type", b"application/grpc"), (b"te", b"trailers")]
        headers += [(b"workload.spiffe.io", b"true")]
        block = b"".join(literal(*header) for header in headers)
        self.socket.sendall(
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
            + frame(4, 0, 0, struct.pack(">HI", 4, 0))
            + frame(1, 4, 1, block)
            + frame(0, 1, 1, b"\0" * 5)
        )

    def grant(self):
        self.socket.sendall(frame(8, 0, 1, struct.pack(">I", 1 << 20)))

    def messages(self, seconds):
        """What has come after so long, as messages; and whether the stream has ended."""
        data, received, ended = b"", b"", False
        self.socket.settimeout(seconds)
        try:
            while more := self.socket.recv(65536):
                received += more
        except TimeoutError:
            pass
        while len(received) >= 9:
            length, kind, flags = int.from_bytes(received[:3], "big"), received[3], received[4]
            if kind == 0:
                data += received[9 : 9 + length]
            elif kind == 6 and flags == 0:
                # It lives: pings are answered.
                try:
                    self.socket.sendall(frame(6, 1, 0, received[9 : 9 + length]))
                except BrokenPipeError:
                    pass
            ended |= kind in (0, 1) and flags & 1 == 1
            received = received[9 + length :]
        messages = []
        while data:
            length = int.from_bytes(data[1:5], "big")
            messages.append(data[5 : 5 + length])
            data = data[5 + length :]
        return messages, ended


def handed():
    return ask("api/admin/audit?limit=1000").count("by the Workload API")


reader = Reader()
time.sleep(1)
assert reader.messages(0.5) == ([], False)
for _ in range(4):
    rotate()
    time.sleep(0.1)
assert handed() == 2, "one message waits, with two keys, and no key that is not in it was handed out"
reader.grant()
got, ended = reader.messages(1.5)
assert len(got) == 2 and not ended, f"{len(got)} messages: the one that waited, and the newest"
assert handed() == 3

silent = Reader()
time.sleep(0.5)
for _ in range(2):
    rotate()
    assert len(reader.messages(1)[0]) == 1
assert handed() == 7, "the silent one is in one message"
assert metric("reverie_streams_open") == 2
deadline = time.monotonic() + 45
while metric("reverie_streams_open") != 1:
    assert time.monotonic() < deadline, "it is not cut off"
    assert silent.messages(0.2) == reader.messages(0.2) == ([], False)
rotate()
assert len(reader.messages(1)[0]) == 1, "the other goes on"
