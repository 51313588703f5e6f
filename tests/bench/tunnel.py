"""Tunnels beside stunnel, haproxy and nginx (stream), in turn, in one run.

    tunnel.py BINDIR SECONDS      the agent's programs, and for how long each figure is measured

Two of each kind stand in a row on loopback: a client's plain TCP in, mutual TLS 1.3 between the two, plain TCP out to a real service.
All show the same certificates (two hosts of one mesh), offer AES-256-GCM and X25519 alone, verify the whole chain, and resume nothing.
Ours besides looks at SPIFFE ID, issuer and revocation, and has its handshakes signed by another process, whose time counts as well.
iperf3 measures throughput, redis-benchmark connections and questions; CPU is what both ends of the tunnel took, from /proc.
"""

import json
import os
import pathlib
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROUNDS = 3
IDLE = 2000
SERVICES = ("redis", "iperf")
SUITE = "TLS_AES_256_GCM_SHA384"

programs, seconds = pathlib.Path(sys.argv[1]).resolve(), float(sys.argv[2])
scratch = pathlib.Path(tempfile.mkdtemp(prefix="reverie-tunnel."))
started = []


def start(*command, **options):
    log = open(scratch / f"log-{len(started)}-{pathlib.Path(command[0]).name}", "w")
    child = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, **options)
    started.append(child)
    return child.pid


def free_ports():
    """Ports below those that the kernel gives to clients, so that none is taken before it is listened on."""
    for port in range(21000, 32000):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        yield port


ports = free_ports()


def until(what, condition, limit=30):
    begun = time.monotonic()
    while not condition():
        if time.monotonic() - begun > limit:
            logs = [path.read_text()[-2000:] for path in sorted(scratch.glob("log-*"))[-2:]]
            raise SystemExit("\n".join([f"waited {limit} s until {what}; what was started last says:", *logs]))
        time.sleep(0.05)


def answers(port):
    """True if redis is there, behind whatever is between."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as stream:
            stream.sendall(b"PING\r\n")
            return stream.recv(7) == b"+PONG\r\n"
    except OSError:
        return False


# The services.
backend = {service: next(ports) for service in SERVICES}
start("redis-server", "--port", backend["redis"], "--bind", "127.0.0.1", "--save", "", "--maxclients", 8000, cwd=scratch)
start("iperf3", "--server", "--bind", "127.0.0.1", "--port", backend["iperf"])
until("redis answers", lambda: answers(backend["redis"]))


# Ours: two hosts of one mesh. Their certificates are everybody's.
def tunnel(name, identity, accept, connect, peer, exchange):
    return (f'[[tunnel]]\nname = "{name}"\nidentity = "{identity}"\naccept = "{accept}"\nconnect = "{connect}"\n'
            f'peers = ["spiffe://bench.example/svc/{peer}"]\nkey_exchange = "{exchange}"\n')


def agentctl(host, *command, **options):
    environment = {**os.environ, "REVERIE_RUN": str(scratch / host / "run")}
    return subprocess.run([programs / "agentctl", *command], env=environment, check=True, capture_output=True, **options).stdout


def mesh():
    """Starts both; returns the ports by key exchange, and the agents."""
    near = {exchange: {service: next(ports) for service in SERVICES} for exchange in ("x25519", "hybrid")}
    gossip, agents = next(ports), []
    declared = {"one": "", "two": ""}
    for exchange, each in near.items():
        for service, port in each.items():
            far = next(ports)
            name = f"{service}-{exchange}"
            declared["one"] += tunnel(name, "app", f"tcp:127.0.0.1:{port}", f"tls:127.0.0.1:{far}", "service", exchange)
            declared["two"] += tunnel(name, "service", f"tls:127.0.0.1:{far}", f"tcp:127.0.0.1:{backend[service]}", "app", exchange)
    for number, (host, tunnels) in enumerate(declared.items(), 1):
        (scratch / host).mkdir()
        identities = "".join(f'[[identity]]\nname = "{name}"\ndns = ["{host}.bench.example"]\nmatch = {{ uid = {os.getuid()} }}\n'
                             f'files = {{ mode = "0400" }}\n' for name in ("app", "service"))
        (scratch / host / "agent.toml").write_text(
            f'trust_domain = "bench.example"\nnode_id = "{host}.bench.example"\n'
            f'[paths]\nrun = "{scratch / host / "run"}"\nstate = "{scratch / host / "state"}"\n[seal]\nmode = "file"\n'
            f'[gossip]\nlisten = ["127.0.0.{number}:{gossip}"]\nadvertise = ["127.0.0.{number}:{gossip}"]\n{identities}{tunnels}')
        agents.append(start(programs / "reverie-agent", "--config", scratch / host / "agent.toml"))
        until(f"{host} answers", lambda: subprocess.run(
            [programs / "agentctl", "whoami"], env={**os.environ, "REVERIE_RUN": str(scratch / host / "run")},
            capture_output=True).returncode == 0)
    agentctl("one", "mesh", "init")
    token = agentctl("one", "mesh", "invite", "two.bench.example")
    agentctl("two", "mesh", "join", f"127.0.0.1:{gossip}", input=token)
    until("the tunnels carry", lambda: all(answers(each["redis"]) for each in near.values()), 60)
    return near, agents


def files(host, identity):
    folder = scratch / host / "run/certs" / identity
    until(f"{identity} has files", lambda: (folder / "tls.crt").exists())
    kept = scratch / f"{identity}.files"
    kept.mkdir()
    for name in ("tls.crt", "tls.key", "ca.crt"):
        shutil.copy(folder / name, kept / name)
    (kept / "combined.pem").write_text((kept / "tls.crt").read_text() + (kept / "tls.key").read_text())
    return kept


def pair(near_config, far_config, command):
    """Writes the two configurations of one kind and starts it; returns its ports by service, and its processes."""
    near, far = ({service: next(ports) for service in SERVICES} for _ in range(2))
    pids = []
    for end, text in (("near", near_config(near, far)), ("far", far_config(far, backend))):
        path = scratch / f"{pathlib.Path(command[0]).name}-{end}.conf"
        path.write_text(text)
        pids.append(start(*command, path))
    until(f"{command[0]} carries", lambda: answers(near["redis"]))
    return near, pids


def each(accept, connect, form):
    return "".join(form.format(name=name, accept=accept[name], connect=connect[name]) for name in SERVICES)


def stunnel(app, service):
    def config(client, own):
        head = f"foreground = yes\npid =\ndebug = 3\nclient = {client}\nsslVersion = TLSv1.3\nciphersuites = {SUITE}\ncurves = X25519\n"
        head += "options = NO_TICKET\nsessionResume = no\nsocket = l:TCP_NODELAY=1\nsocket = r:TCP_NODELAY=1\n"
        head += f"cert = {own}/tls.crt\nkey = {own}/tls.key\nCAfile = {own}/ca.crt\nverifyChain = yes\n"
        return lambda a, c: head + each(a, c, "[{name}]\naccept = 127.0.0.1:{accept}\nconnect = 127.0.0.1:{connect}\n")
    return pair(config("yes", app), config("no", service), ["stunnel4"])


def haproxy(app, service):
    head = (f"global\n nbthread {os.cpu_count()}\n maxconn 8000\n tune.ssl.cachesize 0\n"
            "defaults\n mode tcp\n timeout connect 10s\n timeout client 1h\n timeout server 1h\n")
    tls = f"verify required ssl-min-ver TLSv1.3 ciphersuites {SUITE} no-tls-tickets"
    def near(a, c):
        to = f"ssl {tls} crt {app}/combined.pem ca-file {app}/ca.crt no-ssl-reuse"
        return head + each(a, c, "listen {name}\n bind 127.0.0.1:{accept}\n server far 127.0.0.1:{connect} " + to + "\n")
    def far(a, c):
        at = f"ssl {tls} crt {service}/combined.pem ca-file {service}/ca.crt curves X25519"
        return head + each(a, c, "listen {name}\n bind 127.0.0.1:{accept} " + at + "\n server it 127.0.0.1:{connect}\n")
    return pair(near, far, ["haproxy", "-db", "-f"])


def nginx(app, service):
    def config(further, end):
        head = (f"daemon off;\npid {scratch}/nginx-{end}.pid;\nerror_log stderr error;\nworker_processes {os.cpu_count()};\n"
                "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\nevents { worker_connections 16384; }\nstream {\n"
                "tcp_nodelay on;\nproxy_buffer_size 64k;\n" + further)
        listen = " ssl" if end == "far" else ""
        form = "server {{ listen 127.0.0.1:{accept}" + listen + "; proxy_pass 127.0.0.1:{connect}; }}\n"
        return lambda a, c: head + each(a, c, form) + "}\n"
    def tls(prefix, own):
        return (f"{prefix}_certificate {own}/tls.crt;\n{prefix}_certificate_key {own}/tls.key;\n{prefix}_protocols TLSv1.3;\n"
                f"{prefix}_conf_command Ciphersuites {SUITE};\n{prefix}_verify_depth 3;\n")
    near = ("proxy_ssl on;\nproxy_ssl_verify on;\nproxy_ssl_name two.bench.example;\nproxy_ssl_session_reuse off;\n"
            f"proxy_ssl_trusted_certificate {app}/ca.crt;\n" + tls("proxy_ssl", app))
    far = (f"ssl_verify_client on;\nssl_client_certificate {service}/ca.crt;\nssl_session_cache off;\nssl_session_tickets off;\n"
           "ssl_ecdh_curve X25519;\n" + tls("ssl", service))
    return pair(config(near, "near"), config(far, "far"), ["nginx", "-e", "stderr", "-c"])


def stat(pid):
    """From the third field of /proc/PID/stat on (proc(5)): what is before may contain anything."""
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def family(pids):
    """These and their children."""
    everybody = [int(path.name) for path in pathlib.Path("/proc").glob("[0-9]*")]
    def is_ours(pid):
        try:
            return pid in pids or int(stat(pid)[1]) in pids
        except OSError:
            return False
    return [pid for pid in everybody if is_ours(pid)]


def cpu(pids):
    times = (stat(pid)[11:13] for pid in family(pids))
    return sum(int(user) + int(system) for user, system in times) / os.sysconf("SC_CLK_TCK")


def memory(pids):
    """Private to them, kB."""
    lines = [line.split() for pid in family(pids) for line in open(f"/proc/{pid}/smaps_rollup")]
    return sum(int(line[1]) for line in lines if line[0] in ("Private_Clean:", "Private_Dirty:"))


def iperf(port, *options):
    """GB/s."""
    command = ["iperf3", "--client", "127.0.0.1", "--port", str(port), "--time", str(max(1, round(seconds))), "--json", *options]
    for _ in range(20):
        result = json.loads(subprocess.run(command, capture_output=True, timeout=60 + seconds).stdout)
        if "error" not in result:
            return result["end"]["sum_received"]["bits_per_second"] / 8e9
        time.sleep(0.2)
    raise SystemExit(f"iperf3: {result['error']}")


def redis(port, count, *options):
    """Answers per second, and the median of the times in ms."""
    command = ["redis-benchmark", "-h", "127.0.0.1", "-p", str(port), "-n", str(count), "--csv", *options, "ping"]
    out = subprocess.run(command, capture_output=True, text=True, timeout=60 + 10 * seconds).stdout
    row = dict(zip(*(line.strip('"').split('","') for line in out.strip().splitlines()[-2:])))
    return float(row["rps"]), float(row["p50_latency_ms"])


def for_a_while(port, *options):
    """The same for about as long as was asked."""
    rate, _ = redis(port, 400, *options)
    count = max(400, int(rate * seconds))
    return (*redis(port, count, *options), count)


def bulk(*options):
    def measure(at, pids):
        before = cpu(pids)
        rate = iperf(at["iperf"], *options)
        return rate, (cpu(pids) - before) / (rate * max(1, round(seconds)))
    return measure


def connections(at, pids):
    redis(at["redis"], 100, "-k", "0")
    before = cpu(pids)
    rate, _, count = for_a_while(at["redis"], "-k", "0", "-c", "50")
    return rate, (cpu(pids) - before) / (count + 400) * 1000


def questions(at, pids):
    rate, _, _ = for_a_while(at["redis"], "-c", "50")
    _, one, _ = for_a_while(at["redis"], "-c", "1")
    return rate, one


FIGURES = (
    ("one stream there: GB/s, CPU s for a GB", bulk()),
    ("one stream back: the same", bulk("--reverse")),
    ("eight streams there: the same", bulk("--parallel", "8")),
    ("new connections, 50 at once: each second, CPU ms for one", connections),
    ("questions on kept connections: of 50, each second; of one, p50 ms", questions),
)


def idle(at, pids):
    before, streams = memory(pids), []
    for _ in range(IDLE):
        stream = socket.create_connection(("127.0.0.1", at["redis"]), timeout=20)
        stream.sendall(b"PING\r\n")
        assert stream.recv(7) == b"+PONG\r\n"
        streams.append(stream)
    time.sleep(2)
    taken = (memory(pids) - before) / IDLE
    for stream in streams:
        stream.close()
    return taken


def main():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    ours, agents = mesh()
    app, service = files("one", "app"), files("two", "service")
    contestants = {
        "nothing between": (backend, []),
        "reverie": (ours["x25519"], agents),
        "reverie, ML-KEM": (ours["hybrid"], agents),
        "stunnel": stunnel(app, service),
        "haproxy": haproxy(app, service),
        "nginx": nginx(app, service),
    }
    for name, measure in FIGURES:
        # In turn, so that what the machine does beside meets all alike.
        taken = {who: [] for who in contestants}
        for _ in range(ROUNDS):
            for who, (at, pids) in contestants.items():
                taken[who].append(measure(at, pids))
        print(f"{name} (median of {ROUNDS})")
        for who, values in taken.items():
            first, second = (statistics.median(column) for column in zip(*values))
            print(f"    {who:<16} {first:>10.2f} {second:>8.3f}", flush=True)
    print(f"memory of both ends for one of {IDLE} idle connections, kB")
    for who, (at, pids) in contestants.items():
        # With another key exchange it is the same, and the same processes.
        if pids and "ML-KEM" not in who:
            print(f"    {who:<16} {idle(at, pids):>10.1f}", flush=True)


try:
    main()
finally:
    for child in reversed(started):
        child.send_signal(signal.SIGTERM)
    for child in started:
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
    shutil.rmtree(scratch, ignore_errors=True)
