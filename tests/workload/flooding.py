"""One user opens as many streams as it gets; another and the administrator are answered all the same. Usage: flooding.py RUN"""
import multiprocessing
import os
import subprocess
import sys
import time

run = sys.argv[1]
socket = f"unix:{run}/workload.sock"
METADATA = (("workload.spiffe.io", "true"),)


def flood(ready, done):
    os.setgroups([])
    os.setgid(46001)
    os.setuid(46001)
    import grpc

    held = []
    for _ in range(15):
        channel = grpc.insecure_channel(socket, options=[("grpc.use_local_subchannel_pool", 1)])
        call = channel.unary_stream("/SpiffeWorkloadAPI/FetchX509SVID")
        held.append((channel, [call(b"", metadata=METADATA) for _ in range(100)]))
    streams = [stream for _, streams in held for stream in streams]
    refused, deadline = 0, time.monotonic() + 30
    while refused == 0 and time.monotonic() < deadline:
        time.sleep(0.1)
        refused = sum(stream.done() and stream.code() == grpc.StatusCode.RESOURCE_EXHAUSTED for stream in streams)
    ready.put(refused)
    done.wait()


multiprocessing.set_start_method("fork")
ready, done = multiprocessing.Queue(), multiprocessing.Event()
flooder = multiprocessing.Process(target=flood, args=(ready, done))
flooder.start()
refused = ready.get(timeout=45)
assert refused > 0, "1500 streams of one user are all served"

for path in ["api/admin/status", "metrics"]:
    begun = time.monotonic()
    url = f"http://localhost/{path}"
    subprocess.run(["curl", "-sf", "--max-time", "5", "-o", "/dev/null", "--unix-socket", f"{run}/admin.sock", url], check=True)
    assert time.monotonic() - begun < 2, path

import grpc  # noqa: E402 after the fork

begun = time.monotonic()
stream = grpc.insecure_channel(socket).unary_stream("/SpiffeWorkloadAPI/FetchX509SVID")(b"", metadata=METADATA, timeout=5)
assert b"/svc/inside" in next(stream)
assert time.monotonic() - begun < 2
stream.cancel()
done.set()
flooder.join(20)
