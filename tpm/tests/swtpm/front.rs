//! The simulator's TCP protocol: a command channel, one client at a time, and a platform channel beside it.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::linux::net::TcpStreamExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::wire::{MAX_MESSAGE, Tpm};

const SEND_COMMAND: u32 = 8;
const SESSION_END: u32 = 20;
const STOP: u32 = 21;

/// The two channels; they end when this is dropped.
pub(super) struct Front {
    port: u16,
    ending: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Front {
    pub(super) fn start(listeners: [TcpListener; 2], port: u16, tpm: Arc<Mutex<Tpm>>) -> io::Result<Self> {
        let ending = Arc::new(AtomicBool::new(false));
        let [commands, platform] = listeners;
        let threads = vec![
            serve(commands, Arc::clone(&ending), move |client| {
                let _ = relay(&client, &tpm); // it hung up
                // What it left behind would be in the next client's way.
                if let Err(error) = tpm.lock().unwrap_or_else(PoisonError::into_inner).flush_all() {
                    eprintln!("swtpm front: {error}");
                }
            })?,
            serve(platform, Arc::clone(&ending), |client| {
                // Held open as long as its client's command channel: one after the other would be a deadlock.
                thread::spawn(move || acknowledge(client));
            })?,
        ];
        Ok(Self { port, ending, threads })
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::SeqCst);
        for port in [self.port, self.port + 1] {
            let _ = TcpStream::connect(("127.0.0.1", port)); // wakes accept()
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn serve(
    listener: TcpListener,
    ending: Arc<AtomicBool>,
    mut each: impl FnMut(TcpStream) + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().spawn(move || {
        for client in listener.incoming() {
            if ending.load(Ordering::SeqCst) {
                return;
            }
            let Ok(client) = client else { continue };
            let limit = Some(Duration::from_secs(30));
            if client.set_nodelay(true).and(client.set_read_timeout(limit)).and(client.set_write_timeout(limit)).is_ok() {
                each(client);
            }
        }
    })
}

fn relay(mut client: &TcpStream, tpm: &Mutex<Tpm>) -> io::Result<()> {
    loop {
        match receive_u32(client)? {
            SEND_COMMAND => {
                receive(client, 1)?; // locality
                let len = usize::try_from(receive_u32(client)?).unwrap_or(usize::MAX);
                if len > MAX_MESSAGE {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "a command too long"));
                }
                let command = receive(client, len)?;
                let answer = tpm.lock().unwrap_or_else(PoisonError::into_inner).transact(&command)?;
                let len = u32::try_from(answer.len()).map_err(io::Error::other)?;
                client.write_all(&[&len.to_be_bytes()[..], &answer, &[0; 4]].concat())?;
            }
            SESSION_END | STOP => return Ok(()),
            _ => client.write_all(&[0; 4])?,
        }
    }
}

/// Power, clock and cancel requests: all granted, none acted on.
fn acknowledge(mut client: TcpStream) {
    while let Ok(request) = receive_u32(&client) {
        if matches!(request, SESSION_END | STOP) || client.write_all(&[0; 4]).is_err() {
            return;
        }
    }
}

fn receive_u32(client: &TcpStream) -> io::Result<u32> {
    let bytes = receive(client, 4)?;
    Ok(bytes.iter().fold(0, |value, byte| value << 8 | u32::from(*byte)))
}

fn receive(mut client: &TcpStream, len: usize) -> io::Result<Vec<u8>> {
    // The client sends in small pieces; each would wait 40 ms for a delayed acknowledgement.
    client.set_quickack(true)?;
    let mut bytes = vec![0; len];
    client.read_exact(&mut bytes)?;
    Ok(bytes)
}
