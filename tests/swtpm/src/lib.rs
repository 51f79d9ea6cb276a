//! A software TPM in a process (`swtpm`, which `cargo xtask setup` installs), spoken to over its socket: the real
//! other end for host tests. Where it is not installed the tests fail.

#![forbid(unsafe_code)]

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// How long the process may take to open its socket.
const PATIENCE: Duration = Duration::from_secs(20);

/// A TPM that was manufactured and not started up yet. Its state goes with the value.
pub struct Swtpm {
    state: TempDir,
    running: Option<(Child, UnixStream)>,
}

impl Swtpm {
    /// A new one, as from the factory.
    ///
    /// # Panics
    /// When swtpm cannot be started.
    pub fn new() -> Self {
        let state = tempfile::tempdir().expect("a folder for the state");
        let running = Some(start(state.path()));
        Self { state, running }
    }

    /// Switches it off and on: PCRs and sessions are gone, what is persistent is not.
    ///
    /// # Panics
    /// When swtpm cannot be started.
    pub fn reset(&mut self) {
        self.stop();
        self.running = Some(start(self.state.path()));
    }

    /// Sends a command and gives the answer.
    ///
    /// # Panics
    /// When the process has ended.
    pub fn transact(&mut self, command: &[u8]) -> Vec<u8> {
        let (_, socket) = self.running.as_mut().expect("it runs between resets");
        socket.write_all(command).expect("swtpm takes a command");
        let mut answer = vec![0; 10];
        socket.read_exact(&mut answer).expect("swtpm answers");
        let length = u32::from_be_bytes([answer[2], answer[3], answer[4], answer[5]]);
        answer.resize(usize::try_from(length).expect("a length"), 0);
        socket.read_exact(&mut answer[10..]).expect("swtpm answers to the end");
        answer
    }

    fn stop(&mut self) {
        if let Some((mut child, socket)) = self.running.take() {
            drop(socket);
            // It may have ended by itself when its socket was closed.
            let _ = child.kill();
            child.wait().expect("swtpm ends");
        }
    }
}

impl Default for Swtpm {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        self.stop();
    }
}

fn start(state: &Path) -> (Child, UnixStream) {
    let socket = state.join("server");
    let _ = std::fs::remove_file(&socket);
    let mut child = Command::new("swtpm")
        .args(["socket", "--tpm2", "--flags", "not-need-init"])
        .arg("--tpmstate")
        .arg(format!("dir={}", state.display()))
        .arg("--server")
        .arg(format!("type=unixio,path={}", socket.display()))
        .arg("--ctrl")
        .arg(format!("type=unixio,path={}", state.join("control").display()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        // It tells of every end of a connection.
        .stderr(Stdio::null())
        .spawn()
        .expect("swtpm is installed by `cargo xtask setup`");
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Ok(stream) = UnixStream::connect(&socket) {
            return (child, stream);
        }
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            panic!("swtpm has ended: {status}");
        }
        assert!(Instant::now() < deadline, "swtpm opens no socket");
        std::thread::sleep(Duration::from_millis(5));
    }
}
