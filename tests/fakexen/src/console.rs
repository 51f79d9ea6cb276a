//! Xen's console, and the end of a domain from inside.

use board_support_hyp::{Console, Sched};
use proto_xen::{DomId, Errno, sched::ShutdownReason};

use crate::{
    fault::Call,
    world::{Domain, World},
};

/// What was printed, and what was typed and not read yet.
#[derive(Debug, Default)]
pub(crate) struct ConsoleState {
    printed: Vec<(DomId, Vec<u8>)>,
    typed: Vec<u8>,
}

impl World {
    /// What was printed, by whom.
    #[must_use]
    pub fn printed(&self) -> Vec<(DomId, String)> {
        let state = self.state();
        let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
        state.console.printed.iter().map(|(id, bytes)| (*id, text(bytes))).collect()
    }

    /// Types at the serial console.
    pub fn type_bytes(&self, bytes: &[u8]) {
        self.state_mut().console.typed.extend_from_slice(bytes);
    }
}

impl Console for Domain {
    fn write(&self, text: &[u8]) -> Result<(), Errno> {
        let mut state = self.call(Call::ConsoleWrite, || "console write".into())?;
        state.console.printed.push((self.id(), text.to_vec()));
        Ok(())
    }

    fn read(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        let mut state = self.privileged(Call::ConsoleRead, || "console read".into())?;
        let count = buffer.len().min(state.console.typed.len());
        for (to, byte) in buffer.iter_mut().zip(state.console.typed.drain(..count)) {
            *to = byte;
        }
        Ok(count)
    }
}

impl Sched for Domain {
    /// Tasks wait by [`Wait`](board_support_hyp::Wait); there is nothing to block.
    fn block(&self) {}

    /// Where an [`Executor`](crate::Executor) was told to, others run meanwhile.
    fn yield_now(&self) {
        let others = self.state().on_yield.clone();
        if let Some(others) = others {
            others();
        }
    }

    /// Returns, for it is a host's function that called; but nothing that the domain does from now on has an
    /// effect.
    fn shutdown(&self, reason: ShutdownReason) -> Errno {
        if self.runs() {
            self.world().crash(self.id(), reason);
        }
        Errno::EINVAL
    }
}
