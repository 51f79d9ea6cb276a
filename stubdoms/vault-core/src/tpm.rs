//! What the vault stands on: a TPM that takes commands, and random numbers.

use core::{fmt, future::Future, time::Duration};

use proto_tpm::{
    command::Command,
    ids::Code,
    rc::{Meaning, ResponseCode},
    response::{self, Answer, Failure},
    wire::{MAX_RESPONSE, Malformed},
};
use zeroize::{Zeroize, Zeroizing};

/// Why there is no answer at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// There is no TPM at its registers.
    Absent,
    /// It did not answer in time.
    Silent,
    /// Its interface does what it must not.
    Interface,
}

/// A TPM that takes a command and answers it.
pub trait Tpm {
    /// Sends a command and copies the answer out, however long that takes within `patience`. A call that is
    /// dropped before its end leaves the TPM at its command; the next call begins anew.
    fn transact(
        &mut self,
        command: &[u8],
        patience: Duration,
        answer: &mut [u8; MAX_RESPONSE],
    ) -> impl Future<Output = Result<usize, NoAnswer>>;

    /// Waits.
    fn pause(&mut self, time: Duration) -> impl Future<Output = ()>;
}

/// Random numbers that nobody predicts.
pub trait Random {
    /// Fills with random bytes.
    fn fill(&mut self, bytes: &mut [u8]);
}

/// 32 of them, wiped at the end.
pub(crate) fn random(source: &mut impl Random) -> Zeroizing<[u8; 32]> {
    let mut bytes = Zeroizing::new([0; 32]);
    source.fill(&mut *bytes);
    bytes
}

/// What went wrong with a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// There was no answer.
    NoAnswer(NoAnswer),
    /// It was refused.
    Refused {
        /// The command.
        command: Code,
        /// What the TPM said.
        rc: ResponseCode,
    },
    /// The answer is none.
    Malformed {
        /// The command.
        command: Code,
        /// What is wrong.
        malformed: Malformed,
    },
    /// The answer is that of a TPM of family 1.2.
    Family12,
    /// The answer is not of the TPM that the session is with; or the session's key is none.
    Forged {
        /// The command.
        command: Code,
    },
}

impl Trouble {
    pub(crate) fn of(command: Code) -> impl Fn(Failure) -> Self {
        move |failure| match failure {
            Failure::Code(rc) => Self::Refused { command, rc },
            Failure::Malformed(malformed) => Self::Malformed { command, malformed },
            Failure::Family12 => Self::Family12,
            Failure::Forged => Self::Forged { command },
        }
    }

    pub(crate) fn malformed(command: Code) -> impl Fn(Malformed) -> Self {
        move |malformed| Self::Malformed { command, malformed }
    }

    /// Whether the TPM refused with this code.
    pub(crate) fn is(&self, wanted: ResponseCode) -> bool {
        matches!(self, Self::Refused { rc, .. } if rc.base() == wanted)
    }

    /// Whether the TPM works and has only refused this one command.
    pub(crate) fn is_refusal(&self) -> bool {
        // One that wants to be started up was reset since; one without room is to be emptied.
        let fatal = |rc: ResponseCode| {
            matches!(rc.meaning(), Meaning::FailureMode | Meaning::NoRoom) || rc == ResponseCode::INITIALIZE
        };
        matches!(self, Self::Refused { rc, .. } if !fatal(*rc))
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAnswer(NoAnswer::Absent) => write!(f, "no TPM at its registers"),
            Self::NoAnswer(NoAnswer::Silent) => write!(f, "the TPM does not answer"),
            Self::NoAnswer(NoAnswer::Interface) => write!(f, "the TPM's interface does what it must not"),
            Self::Refused { command, rc } => write!(f, "the TPM refuses {command:?}: {rc}"),
            Self::Malformed { command, malformed } => write!(f, "answer to {command:?}: {malformed}"),
            Self::Family12 => write!(f, "it is a TPM 1.2"),
            Self::Forged { command } => write!(f, "answer to {command:?} is not the TPM's"),
        }
    }
}

/// How a command is authorized.
#[derive(Clone, Copy)]
pub(crate) enum Authorization<'a> {
    None,
    Password(&'a [u8]),
}

/// The first and the longest wait before a command is sent again that the TPM put off, and how often.
const AGAIN: (Duration, Duration, u32) = (Duration::from_millis(5), Duration::from_millis(500), 16);

/// The TPM, with room for one answer.
pub(crate) struct Link<T> {
    tpm: T,
    answer: Zeroizing<[u8; MAX_RESPONSE]>,
}

impl<T: Tpm> Link<T> {
    pub(crate) fn new(tpm: T) -> Self {
        Self { tpm, answer: Zeroizing::new([0; MAX_RESPONSE]) }
    }

    /// Sends a command, again while the TPM puts it off, and opens the answer.
    pub(crate) async fn run(
        &mut self,
        command: &Command,
        authorization: Authorization<'_>,
    ) -> Result<Answer<'_>, Trouble> {
        let frame = match authorization {
            Authorization::None => command.plain(),
            Authorization::Password(password) => command.with_password(password),
        };
        let bytes = self.exchange(command.code(), frame.as_slice()).await?;
        response::open(command.code(), bytes).map_err(Trouble::of(command.code()))
    }

    /// Sends a frame, again while the TPM puts it off: a command that was put off was not begun.
    pub(crate) async fn exchange(&mut self, command: Code, frame: &[u8]) -> Result<&[u8], Trouble> {
        let (mut wait, longest, times) = AGAIN;
        let mut length = self.send(command, frame).await?;
        for _ in 1..times {
            let opened = response::open(command, &self.answer[..length]);
            if !matches!(opened, Err(Failure::Code(rc)) if rc.meaning() == Meaning::Retry) {
                break;
            }
            self.tpm.pause(wait).await;
            wait = (wait * 2).min(longest);
            length = self.send(command, frame).await?;
        }
        Ok(&self.answer[..length])
    }

    async fn send(&mut self, command: Code, frame: &[u8]) -> Result<usize, Trouble> {
        self.answer.zeroize();
        let length = self.tpm.transact(frame, patience(command), &mut self.answer).await;
        let length = length.map_err(Trouble::NoAnswer)?;
        if length > MAX_RESPONSE {
            let malformed = Malformed::TooLong { length, most: MAX_RESPONSE };
            return Err(Trouble::Malformed { command, malformed });
        }
        Ok(length)
    }
}

/// How long a command may take: making keys takes a chip long, and so does its self test.
const fn patience(command: Code) -> Duration {
    match command {
        Code::CreatePrimary | Code::Create | Code::SelfTest => Duration::from_secs(120),
        _ => Duration::from_secs(20),
    }
}
