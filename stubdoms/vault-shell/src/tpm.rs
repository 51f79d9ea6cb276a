//! A TPM that takes a command and answers it, on a transport that is looked at again and again.

use alloc::boxed::Box;
use core::{task::Poll, time::Duration};

use board_support_drv::tpm::{Fault, Step, Transport};
use board_support_hyp::Timer;
use proto_errors::vault as code;
use proto_tpm::wire::MAX_RESPONSE;
use stubdoms_vault_core::tpm::{NoAnswer, Tpm};

const _: () = assert!(MAX_RESPONSE == board_support_drv::tpm::MAX_BYTES);

/// The first and the longest time between two looks at a TPM that works on a command.
const LOOKS: (Duration, Duration) = (Duration::from_micros(100), Duration::from_millis(5));

/// Since power-on.
pub(crate) fn now(timer: &impl Timer) -> Duration {
    Duration::from_nanos(timer.now().as_nanos())
}

/// A TPM behind its registers.
pub(crate) struct Chip<T> {
    transport: Box<dyn Transport>,
    timer: T,
}

impl<T> Chip<T> {
    pub(crate) fn new(transport: Box<dyn Transport>, timer: T) -> Self {
        Self { transport, timer }
    }
}

impl<T: Timer> Tpm for Chip<T> {
    async fn transact(
        &mut self,
        command: &[u8],
        patience: Duration,
        answer: &mut [u8; MAX_RESPONSE],
    ) -> Result<usize, NoAnswer> {
        self.transport.begin(now(&self.timer), command, patience);
        let (mut wait, longest) = LOOKS;
        loop {
            match self.transport.poll(now(&self.timer), answer) {
                Poll::Ready(Ok(length)) => return Ok(length),
                Poll::Ready(Err(fault)) => {
                    log::warn!("TPM: {fault} [{}]", code::TPM_FAILED);
                    return Err(match fault {
                        Fault::Absent { .. } => NoAnswer::Absent,
                        Fault::Silent { .. } | Fault::Stuck { step: Step::Predecessor, .. } => {
                            NoAnswer::Silent
                        }
                        Fault::Stuck { .. }
                        | Fault::Length { .. }
                        | Fault::Bytes { .. }
                        | Fault::Elsewhere { .. }
                        | Fault::Broken { .. } => NoAnswer::Interface,
                    });
                }
                Poll::Pending => {
                    self.timer.sleep(wait).await;
                    wait = (wait * 2).min(longest);
                }
            }
        }
    }

    async fn pause(&mut self, time: Duration) {
        self.timer.sleep(time).await;
    }
}
