//! The switch between hosts: `agent/sys/examples/mesh_switch.rs`.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::programs::built;

/// How frames go from one host to another.
#[derive(Debug, Clone, Copy, Default)]
pub struct Link {
    /// One way, milliseconds.
    pub delay_ms: f64,
    /// More or less of that, either way.
    pub jitter_ms: f64,
    /// Probability that a frame is lost.
    pub loss: f64,
    /// Probability that one arrives twice.
    pub duplication: f64,
}

/// A running switch; hosts are numbered from 1.
#[derive(Debug)]
pub struct Switch {
    process: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Switch {
    /// Gives each of these processes' network namespaces a device and an address.
    pub fn start(pids: &[u32]) -> Self {
        let mut command = Command::new("unshare");
        // A namespace of its own: the devices have their names there before they move.
        command.args(["--net", "--"]).arg(built("examples/mesh_switch")).arg("1");
        command.args(pids.iter().map(u32::to_string)).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().expect("the switch starts");
        let orders = process.stdin.take().expect("its input");
        let mut answers = BufReader::new(process.stdout.take().expect("its output"));
        let mut answer = String::new();
        answers.read_line(&mut answer).expect("an answer");
        assert_eq!(answer.trim(), "ready", "the switch did not start: it needs root, /dev/net/tun, ip and nsenter");
        Self { process, orders, answers }
    }

    fn order(&mut self, order: &str) -> String {
        self.orders.write_all(format!("{order}\n").as_bytes()).expect("the switch runs");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("an answer");
        assert!(!answer.is_empty() && !answer.starts_with("refused"), "{order}: {answer}");
        answer.trim().to_owned()
    }

    /// How all frames from `a` to `b` go from now on; 0 is every host.
    pub fn link(&mut self, a: usize, b: usize, link: Link) {
        let Link { delay_ms, jitter_ms, loss, duplication } = link;
        self.order(&format!("link {a} {b} {delay_ms} {jitter_ms} {loss} {duplication}"));
    }

    /// Nothing goes from `a` to `b`; 0 is every host. The way back is another link.
    pub fn cut(&mut self, a: usize, b: usize) {
        self.order(&format!("cut {a} {b}"));
    }

    /// Takes a cut back.
    pub fn mend(&mut self, a: usize, b: usize) {
        self.order(&format!("mend {a} {b}"));
    }

    /// Every link is perfect again.
    pub fn clear(&mut self) {
        self.order("clear");
    }

    /// Bytes that each host has sent and been sent, headers included.
    pub fn bytes(&mut self) -> Vec<(u64, u64)> {
        let pair = |text: &str| {
            let (sent, received) = text.split_once('/').expect("two numbers");
            (sent.parse().expect("a number"), received.parse().expect("a number"))
        };
        self.order("bytes").split(' ').map(pair).collect()
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
