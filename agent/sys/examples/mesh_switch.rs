//! An Ethernet switch for hosts in network namespaces, for tests: each link can be slow, unsteady, lossy, repeating, or cut, in
//! one direction or both. (Kernels without netem are common; a switch of our own works everywhere.)
//!
//! `mesh_switch SEED PID…`: gives the network namespace of the Nth process the interface `eth0`, address 10.77.0.N/16, and
//! answers `ready`. Needs root; run it in a namespace of its own, so that the names of its devices meet nobody. It ends when
//! its standard input does.
//!
//! A line on standard input is an order, answered by one line:
//!
//! - `link A B DELAY_MS JITTER_MS LOSS DUPLICATION`: how frames go from host A to host B; 0 stands for every host; the last two
//!   are probabilities.
//! - `cut A B`, `mend A B`: nothing goes from A to B; all goes as before the cut.
//! - `clear`: every link is perfect again.
//! - `bytes`: what each host has sent and been sent so far, `SENT/RECEIVED` in the order of hosts.

use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, Read, Write};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The largest frame: an MTU of 1500 and the header, with room.
const FRAME: usize = 2048;
/// A frame that is to arrive later than this is lost: the queue is bounded by time.
const LATEST: Duration = Duration::from_secs(10);

/// How frames go from one host to another.
#[derive(Debug, Clone, Copy, Default)]
struct Link {
    delay: Duration,
    jitter: Duration,
    loss: f64,
    duplication: f64,
}

#[derive(Debug, Default)]
struct Links {
    links: BTreeMap<(usize, usize), Link>,
    cuts: BTreeSet<(usize, usize)>,
}

impl Links {
    /// What is said of this pair, else of one side, else of all.
    fn between(&self, from: usize, to: usize) -> Option<Link> {
        let names = [(from, to), (from, 0), (0, to), (0, 0)];
        if names.iter().any(|name| self.cuts.contains(name)) {
            return None;
        }
        Some(names.iter().find_map(|name| self.links.get(name)).copied().unwrap_or_default())
    }
}

/// A frame under way, the earliest first.
struct Late {
    due: Instant,
    number: u64,
    to: usize,
    frame: Vec<u8>,
}

impl PartialEq for Late {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Late {}
impl PartialOrd for Late {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Late {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.due, other.number).cmp(&(self.due, self.number))
    }
}

struct Port {
    tap: File,
    sent: AtomicU64,
    received: AtomicU64,
}

struct Switch {
    ports: Vec<Port>,
    links: Mutex<Links>,
    macs: Mutex<BTreeMap<[u8; 6], usize>>,
    random: Mutex<u64>,
    number: AtomicU64,
    late: Sender<Late>,
}

impl Switch {
    /// Uniform in 0..1 (xorshift64*): what is lost can be repeated by its seed as far as the timing of processes allows.
    fn random(&self) -> f64 {
        let mut state = lock(&self.random);
        *state ^= *state >> 12;
        *state ^= *state << 25;
        *state ^= *state >> 27;
        (state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Hosts are numbered from 1.
    fn deliver(&self, to: usize, frame: &[u8]) {
        let Some(port) = self.ports.get(to - 1) else { return };
        port.received.fetch_add(frame.len() as u64, Ordering::Relaxed);
        // A host that is being torn down takes nothing.
        let _ = (&port.tap).write(frame);
    }

    fn forward(&self, from: usize, to: usize, frame: &[u8]) {
        let Some(link) = lock(&self.links).between(from, to) else { return };
        if link.loss > 0.0 && self.random() < link.loss {
            return;
        }
        let copies = if link.duplication > 0.0 && self.random() < link.duplication { 2 } else { 1 };
        for _ in 0..copies {
            let pause = match link.jitter.is_zero() {
                true => link.delay,
                false => (link.delay + link.jitter.mul_f64(2.0 * self.random())).saturating_sub(link.jitter),
            };
            match pause.is_zero() {
                true => self.deliver(to, frame),
                false => {
                    let number = self.number.fetch_add(1, Ordering::Relaxed);
                    let due = Instant::now() + pause.min(LATEST);
                    let _ = self.late.send(Late { due, number, to, frame: frame.to_vec() });
                }
            }
        }
    }

    /// Reads one host's frames for as long as the process lives.
    fn serve(&self, from: usize) {
        let Some(port) = self.ports.get(from - 1) else { return };
        let mut buffer = [0; FRAME];
        while let Ok(count) = (&port.tap).read(&mut buffer) {
            let frame = &buffer[..count];
            let (Some(Ok(target)), Some(Ok(source))) =
                (frame.get(..6).map(<[u8; 6]>::try_from), frame.get(6..12).map(<[u8; 6]>::try_from))
            else {
                continue;
            };
            port.sent.fetch_add(count as u64, Ordering::Relaxed);
            let known = {
                let mut macs = lock(&self.macs);
                macs.insert(source, from);
                macs.get(&target).copied().filter(|_| target[0] & 1 == 0)
            };
            match known {
                Some(to) if to == from => {}
                Some(to) => self.forward(from, to, frame),
                None => (1..=self.ports.len()).filter(|to| *to != from).for_each(|to| self.forward(from, to, frame)),
            }
        }
    }

    fn order(&self, line: &str) -> Result<String, String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number =
            |at: usize| words.get(at).and_then(|word| word.parse::<f64>().ok()).ok_or_else(|| format!("word {at} is no number"));
        let host = |at: usize| {
            let host = words.get(at).and_then(|word| word.parse::<usize>().ok()).filter(|host| *host <= self.ports.len());
            host.ok_or_else(|| format!("word {at} is no host"))
        };
        let mut links = lock(&self.links);
        match words.first() {
            Some(&"link") => {
                let millis = |at| number(at).map(|ms| Duration::from_secs_f64(ms.clamp(0.0, 10_000.0) / 1000.0));
                let link = Link { delay: millis(3)?, jitter: millis(4)?, loss: number(5)?, duplication: number(6)? };
                links.links.insert((host(1)?, host(2)?), link);
            }
            Some(&"cut") => drop(links.cuts.insert((host(1)?, host(2)?))),
            Some(&"mend") => drop(links.cuts.remove(&(host(1)?, host(2)?))),
            Some(&"clear") => *links = Links::default(),
            Some(&"bytes") => {
                let of = |port: &Port| format!("{}/{}", port.sent.load(Ordering::Relaxed), port.received.load(Ordering::Relaxed));
                return Ok(self.ports.iter().map(of).collect::<Vec<_>>().join(" "));
            }
            _ => return Err("unknown order".to_owned()),
        }
        Ok("ok".to_owned())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Delivers what is under way, when it is due.
fn post(switch: &Switch, arriving: &Receiver<Late>) {
    let mut waiting: BinaryHeap<Late> = BinaryHeap::new();
    loop {
        let now = Instant::now();
        while waiting.peek().is_some_and(|late| late.due <= now) {
            if let Some(late) = waiting.pop() {
                switch.deliver(late.to, &late.frame);
            }
        }
        let pause = waiting.peek().map_or(LATEST, |late| late.due.saturating_duration_since(now));
        match arriving.recv_timeout(pause) {
            Ok(late) => waiting.push(late),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// A TAP device of that name, without the header that tells protocols.
fn tap(name: &str) -> std::io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).open("/dev/net/tun")?;
    let mut request = [0u8; 40];
    request[..name.len()].copy_from_slice(name.as_bytes());
    let flags = libc::IFF_TAP | libc::IFF_NO_PI;
    request[16..18].copy_from_slice(&u16::try_from(flags).unwrap_or_default().to_ne_bytes());
    // SAFETY: TUNSETIFF reads and writes one `struct ifreq`, which is 40 bytes, no more than the buffer that outlives the call.
    let outcome = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, request.as_mut_ptr()) };
    if outcome < 0 { Err(std::io::Error::last_os_error()) } else { Ok(file) }
}

fn run(program: &str, arguments: &[&str]) -> std::io::Result<()> {
    match Command::new(program).args(arguments).status()?.success() {
        true => Ok(()),
        false => Err(std::io::Error::other(format!("{program} {arguments:?} failed"))),
    }
}

/// The device moves into the host's namespace; the descriptor stays here.
fn plug(number: usize, pid: &str) -> std::io::Result<File> {
    let name = format!("host{number}");
    let tap = tap(&name)?;
    run("ip", &["link", "set", &name, "netns", pid, "name", "eth0"])?;
    let address = format!("10.77.{}.{}/16", number / 256, number % 256);
    let script = format!("ip link set lo up; ip address add {address} dev eth0; ip link set eth0 up");
    run("nsenter", &[&format!("--net=/proc/{pid}/ns/net"), "sh", "-ec", &script])?;
    Ok(tap)
}

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let seed = arguments.next().and_then(|seed| seed.parse().ok()).unwrap_or(1u64).max(1);
    let taps = arguments.enumerate().map(|(index, pid)| plug(index + 1, &pid)).collect::<std::io::Result<Vec<_>>>()?;
    let ports = taps.into_iter().map(|tap| Port { tap, sent: AtomicU64::new(0), received: AtomicU64::new(0) }).collect();
    let (late, arriving) = channel();
    let (links, macs) = (Mutex::default(), Mutex::default());
    let switch = Arc::new(Switch { ports, links, macs, random: Mutex::new(seed), number: AtomicU64::new(0), late });
    for number in 1..=switch.ports.len() {
        let switch = Arc::clone(&switch);
        std::thread::spawn(move || switch.serve(number));
    }
    let postman = Arc::clone(&switch);
    std::thread::spawn(move || post(&postman, &arriving));
    println!("ready");
    for line in std::io::stdin().lock().lines() {
        println!("{}", switch.order(&line?).unwrap_or_else(|why| format!("refused: {why}")));
    }
    Ok(())
}
