//! A question by UDP that goes from server to server until one answers: what looking a name up and asking for the time
//! have in common.

use alloc::vec::Vec;
use core::net::SocketAddrV4;
use core::time::Duration;

/// What is to be done next. `End` is what comes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<End> {
    /// Send this from a fresh random port, and come back at `until` or with what came to that port.
    Send {
        /// The server.
        to: SocketAddrV4,
        /// The question.
        packet: Vec<u8>,
        /// When to come back.
        until: Duration,
    },
    /// Come back then, or with a packet.
    Wait {
        /// When to come back.
        until: Duration,
    },
    /// It is over.
    Done(End),
}

/// Such a question.
pub(crate) trait Question {
    /// What comes of it.
    type End;

    /// What to do now. `nonce` is a fresh random number; it is used if there is something to send.
    fn step(&mut self, now: Duration, nonce: u64) -> Step<Self::End>;

    /// Takes a packet that came to the port of the last question. What is not its answer is ignored.
    fn input(&mut self, now: Duration, from: SocketAddrV4, packet: &[u8]);
}
