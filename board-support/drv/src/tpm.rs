//! TPM 2.0: how a command gets to it and the answer back.
//!
//! | module | what it drives |
//! |---|---|
//! | [`tis`] | a FIFO of bytes: discrete chips, QEMU's `tpm-tis` and `tpm-tis-device` |
//! | [`crb`] | a buffer for command and answer: TPMs of firmware, QEMU's `tpm-crb` |
//!
//! Both are machines behind [`Transport`]: a command is begun, then the machine is polled, as often as its owner
//! likes, until there is an answer. A poll looks at registers and never waits; every step has a deadline. There
//! are no interrupts: a TPM has one vector at most, and none that a domain is given.
//!
//! The one before may have died in mid-command, and the TPM goes on with its command all the same. So each
//! command begins by making the interface idle, in the way that is right for it whatever it was doing; nothing is
//! taken for an answer that was not asked for by this driver.
//!
//! Trust: none in the TPM. Lengths that it tells are checked against the room that there is.
//!
//! Source: TCG PC Client Platform TPM Profile 1.05, section 6 ("the profile"). Locality 0 alone is used.

use core::{fmt, task::Poll, time::Duration};

pub mod crb;
pub mod tis;

#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;

/// Bytes of the longest command that is sent, and of the longest answer that is taken.
pub const MAX_BYTES: usize = 2048;

/// Bytes of tag, length and code, which begin commands and answers.
const HEADER: usize = 10;

/// How long changes of the interface take at most: the profile's longest (TIMEOUT_B), twice.
const CHANGE: Duration = Duration::from_secs(4);

/// How long a command of the one before may still take: making an RSA key.
const PREDECESSOR: Duration = Duration::from_secs(120);

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing answers at these registers, or something else does.
    Absent {
        /// What the register that tells the interface reads.
        id: u32,
    },
    /// A step of the interface did not come about in time.
    Stuck {
        /// Which.
        step: Step,
        /// What the register reads that should show it.
        status: u32,
    },
    /// The TPM did not answer in time. It may still be at the command.
    Silent {
        /// How long it was waited.
        waited: Duration,
    },
    /// The length that an answer tells is none, or more than there is room for.
    Length {
        /// It.
        told: u32,
    },
    /// There are more or fewer bytes than were told.
    Bytes {
        /// What the status reads.
        status: u32,
    },
    /// The buffers do not lie in the page of the registers.
    Elsewhere {
        /// Where the command's is.
        address: u64,
    },
    /// The TPM reports that it is broken.
    Broken {
        /// What the status reads.
        status: u32,
    },
}

/// A step of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The command of the one before ends.
    Predecessor,
    /// Locality 0 is granted.
    Locality,
    /// The interface is idle.
    Idle,
    /// The interface takes a command.
    Ready,
    /// The command is taken.
    Send,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent { id } => write!(f, "no TPM answers at its registers (they read {id:#x})"),
            Self::Stuck { step, status } => write!(f, "interface is stuck at {step:?} (status {status:#x})"),
            Self::Silent { waited } => write!(f, "no answer within {} s", waited.as_secs()),
            Self::Length { told } => write!(f, "answer tells a length of {told} bytes"),
            Self::Bytes { status } => {
                write!(f, "answer has another length than it tells (status {status:#x})")
            }
            Self::Elsewhere { address } => {
                write!(f, "its buffer at {address:#x} is not in the page of its registers")
            }
            Self::Broken { status } => write!(f, "it reports that it is broken (status {status:#x})"),
        }
    }
}

/// A way to a TPM. Times count from any one instant, the same for all calls.
pub trait Transport {
    /// Begins a command, whose answer may take `patience`. One that was begun before is dropped; the TPM finishes
    /// it all the same.
    ///
    /// # Panics
    /// When the command has more than [`MAX_BYTES`], or none.
    fn begin(&mut self, now: Duration, command: &[u8], patience: Duration);

    /// Goes on with what was begun, and copies the answer out when it is whole.
    ///
    /// # Errors
    /// [`Fault`]; what was begun is dropped.
    ///
    /// # Panics
    /// When nothing was begun, or `answer` is shorter than [`MAX_BYTES`].
    fn poll(&mut self, now: Duration, answer: &mut [u8]) -> Poll<Result<usize, Fault>>;
}

/// A command on its way, and where its interface stands.
struct Work<S>(Option<(Pending, S)>);

/// How far a step came.
enum Progress<S> {
    /// Go on at once.
    Next(S),
    /// Look again later.
    Later(S),
    /// The answer has so many bytes.
    Done(usize),
}

impl<S: Copy> Work<S> {
    const fn none() -> Self {
        Self(None)
    }

    /// See [`Transport::begin`]; `first` is where an interface stands of which nothing was asked.
    fn begin(&mut self, command: &[u8], patience: Duration, first: S) {
        self.0 = Some((Pending::new(command, patience), first));
    }

    /// See [`Transport::poll`]: steps until one of them has to wait.
    fn poll(
        &mut self,
        answer: &mut [u8],
        mut step: impl FnMut(&Pending, S, &mut [u8]) -> Result<Progress<S>, Fault>,
    ) -> Poll<Result<usize, Fault>> {
        assert!(answer.len() >= MAX_BYTES, "there is room for every answer");
        let (pending, state) = self.0.as_mut().expect("a command was begun");
        let outcome = loop {
            match step(pending, *state, answer) {
                Err(fault) => break Err(fault),
                Ok(Progress::Next(next)) => *state = next,
                Ok(Progress::Later(next)) => {
                    *state = next;
                    return Poll::Pending;
                }
                Ok(Progress::Done(length)) => break Ok(length),
            }
        };
        self.0 = None;
        Poll::Ready(outcome)
    }
}

/// A command on its way.
struct Pending {
    bytes: [u8; MAX_BYTES],
    length: usize,
    patience: Duration,
}

impl Pending {
    fn new(command: &[u8], patience: Duration) -> Self {
        assert!(!command.is_empty() && command.len() <= MAX_BYTES, "commands are bounded");
        let mut bytes = [0; MAX_BYTES];
        bytes[..command.len()].copy_from_slice(command);
        Self { bytes, length: command.len(), patience }
    }

    fn command(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// Commands hold authorizations.
impl Drop for Pending {
    fn drop(&mut self) {
        self.bytes.fill(0);
        // The bytes are looked at after they were written, as far as the compiler knows.
        core::hint::black_box(&self.bytes);
    }
}

/// The length that an answer's first bytes tell.
fn told_length(head: &[u8; HEADER], room: usize) -> Result<usize, Fault> {
    let told = u32::from_be_bytes([head[2], head[3], head[4], head[5]]);
    match usize::try_from(told) {
        Ok(length) if (HEADER..=room).contains(&length) => Ok(length),
        _ => Err(Fault::Length { told }),
    }
}
