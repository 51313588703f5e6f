"""One user opens hundreds of streams with megabytes each and takes nothing: what waits for it is bounded, and another user is
answered. Usage: hoarding.py RUN PID"""
import multiprocessing
import os
import re
import socket
import struct
import sys
import threading
import time

run, pid = sys.argv[1:3]
STREAMS, CONNECTIONS = 100, 4
MIB = 1 << 20


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def literal(name, value):
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


def hoard(path, opened, done):
    os.setgroups([])
    os.setgid(46001)
    os.setuid(46001)
    headers = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", path), (b":authority", b"x")]
    headers += [(b"content-type", b"application/grpc"), (b"te", b"trailers"), (b"workload.spiffe.io", b"true")]
    block = b"".join(literal(*header) for header in headers)
    held = []
    for _ in range(CONNECTIONS):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(f"{run}/workload.sock")
        held.append(connection)
        # The connection as a whole may be sent all, each stream as much as is usual.
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0) + frame(8, 0, 0, struct.pack(">I", 1 << 30)))
        for stream in range(1, 2 * STREAMS, 2):
            connection.sendall(frame(1, 4, stream, block) + frame(0, 1, stream, bytes(5)))
    opened.set()
    done.wait()


def resident():
    with open(f"/proc/{pid}/status") as status:
        return int(re.search(r"VmRSS:\s+(\d+)", status.read())[1]) * 1024


multiprocessing.set_start_method("fork")
opened, done = multiprocessing.Event(), multiprocessing.Event()
path = b"/SpiffeWorkloadAPI/FetchJWTBundles"
hoarder = multiprocessing.Process(target=hoard, args=(path, opened, done), daemon=True)
before = resident()
hoarder.start()
assert opened.wait(30)
highest, watched = [before], threading.Event()


def watch():
    while not watched.wait(0.1):
        highest[0] = max(highest[0], resident())


watcher = threading.Thread(target=watch, daemon=True)
watcher.start()
time.sleep(5)

import grpc  # noqa: E402 after the fork

METADATA = (("workload.spiffe.io", "true"),)
channel = grpc.insecure_channel(f"unix:{run}/workload.sock")
for method in ["FetchX509SVID", "FetchJWTBundles"]:
    begun = time.monotonic()
    stream = channel.unary_stream(f"/SpiffeWorkloadAPI/{method}")(b"", metadata=METADATA, timeout=20)
    message = next(stream)
    stream.cancel()
    print(method, len(message), time.monotonic() - begun)
    assert time.monotonic() - begun < 5, method
assert len(message) > 2 * MIB, "the messages are large"
time.sleep(5)
watched.set()
watcher.join()
grown = highest[0] - before
print("grown by", grown // MIB, "MiB")
assert grown < 220 * MIB, f"the keeper grew by {grown // MIB} MiB"
done.set()
hoarder.join(20)
