//! Time since power-on, and waiting for it to pass.
//!
//! The clock is Xen's system time, the same in every domain. One timer is set to the earliest
//! deadline of all tasks, and to none when there is none.

pub mod deadlines;

pub use board_support_hyp::{Instant, runtime::Elapsed};

#[cfg(target_os = "none")]
pub use waiting::{Sleep, now, poll_until, sleep, sleep_until, with_deadline, with_timeout};
#[cfg(target_os = "none")]
pub(crate) use waiting::{arm, expire, fired};

#[cfg(target_os = "none")]
mod waiting;
