//! Handshakes of the role `net`, each of which waits for a signature of the keeper: thousands at once, of whom nobody is known.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use reverie_tests::mesh::Mesh;
use reverie_tests::programs::wait_until;

/// Holds 2,000 connections to the port of the mesh, from as many addresses. Each says ClientHello and nothing more, and is made
/// anew when it ends. Says how many there are, then, after so many seconds, how often a server's signature came.
const FLOOD: &str = r#"
import resource, selectors, socket, ssl, sys, time
port, count, seconds = (int(word) for word in sys.argv[1:])
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
outgoing = ssl.MemoryBIO()
try:
    context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="host1.mesh.test").do_handshake()
except ssl.SSLWantReadError:
    hello = outgoing.read()
ready, signed = selectors.DefaultSelector(), 0
def begin(number):
    one = socket.socket()
    one.bind((f"127.{1 + number // 62500}.{number // 250 % 250}.{1 + number % 250}", 0))
    one.connect(("127.0.0.1", port))
    one.sendall(hello)
    ready.register(one, selectors.EVENT_READ, number)
for number in range(count):
    begin(number)
print(len(ready.get_map()), flush=True)
until = time.monotonic() + seconds
while time.monotonic() < until:
    for key, _ in ready.select(0.1):
        try:
            more = key.fileobj.recv(65536)
        except OSError:
            more = b""
        signed += len(more) > 500
        if not more:
            ready.unregister(key.fileobj)
            key.fileobj.close()
            begin(key.data)
print(signed, flush=True)
"#;

#[test]
fn two_thousand_handshakes_of_strangers_at_once_do_not_keep_net_from_peers_as_root() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    let mesh = Mesh::joined(2, "[gossip]\nrate_per_second = 100000\nback_off_max_ms = 2000\nmax_connections = 8192\n");
    let wrapper = mesh.host(1).wrapper();
    let mut command = Command::new(&wrapper[0]);
    command.args(&wrapper[1..]).args(["/usr/bin/python3", "-c", FLOOD, "7438", "2000", "15"]);
    let mut flood = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(flood.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert_eq!(said.next().as_deref(), Some("2000"));

    let mut slowest = Duration::ZERO;
    let mut answers = |round: &str| {
        let begun = Instant::now();
        // A handshake of its own, from where a peer was met; and what peers tell each other.
        assert_eq!(mesh.host(2).fetch(1, "/api/gossip/stats", 5).0, 200, "{round}");
        mesh.host(1).put_client(round).ok();
        assert!(mesh.host(2).awaits_client(round, 5), "{round}");
        slowest = slowest.max(begun.elapsed());
    };
    (0..10).for_each(|round| answers(&format!("round-{round}")));
    // A keeper that signs nothing for a while: all turns are taken, and every wait comes to an end.
    mesh.host(1).agent.signal(Signal::SIGSTOP);
    std::thread::sleep(Duration::from_secs(3));
    mesh.host(1).agent.signal(Signal::SIGCONT);
    wait_until("net answers again", 10, || mesh.host(2).fetch(1, "/api/gossip/stats", 2).0 == 200);
    answers("after");
    eprintln!("the slowest answer under 2,000 handshakes: {slowest:?}");

    let signed: u32 = said.next().unwrap().parse().unwrap();
    assert!(signed >= 64, "{signed} handshakes came to a signature");
    flood.wait().unwrap();
}
