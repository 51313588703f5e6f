"""Opens, reads and closes the same bytes in the file view, on a tmpfs and through a passthrough of libfuse, in turn.

    view.py SECONDS VIEW TMPFS PASSTHROUGH      folders with tls.crt, bundle.pem and tls.key
"""

import os
import statistics
import sys
import time

seconds, folders = float(sys.argv[1]), dict(zip(("view", "tmpfs", "bindfs"), sys.argv[2:]))


def once(path):
    begun = time.perf_counter()
    file = os.open(path, os.O_RDONLY)
    content = os.read(file, 1 << 16)
    os.close(file)
    return time.perf_counter() - begun, content


for name in ("bundle.pem", "tls.crt", "tls.key"):
    # In turn, so that what the machine does beside meets all alike.
    times = {where: [] for where in folders}
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for where, folder in folders.items():
            taken, content = once(f"{folder}/{name}")
            assert content.startswith(b"-----BEGIN"), (where, name)
            times[where].append(taken * 1e6)
    shown = []
    for where, all_of_it in times.items():
        ranked = sorted(all_of_it)
        shown.append(f"{where} p50 {statistics.median(ranked):.1f} p99 {ranked[len(ranked) * 99 // 100]:.1f}")
    ratio = statistics.median(times["view"]) / statistics.median(times["bindfs"])
    print(f"{name:<11} µs: {', '.join(shown)}; view to bindfs {ratio:.2f}; {len(times['view'])} each")
