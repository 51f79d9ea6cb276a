//! Results: a line for each case, and their number at the end.

use alloc::string::String;
use core::time::Duration;

use board_support_rt::timer;

/// Why a case failed.
pub(crate) type Verdict = Result<(), String>;

/// How many cases ended how.
pub(crate) struct Tally {
    ok: u32,
    failed: u32,
}

impl Tally {
    pub(crate) const fn new() -> Self {
        Self { ok: 0, failed: 0 }
    }

    /// Tells how a case ended.
    pub(crate) async fn case(&mut self, name: &str, verdict: Verdict) {
        match verdict {
            Ok(()) => {
                self.ok += 1;
                log::info!("ok {name}");
            }
            Err(why) => {
                self.failed += 1;
                log::error!("FAIL {name}: {why}");
            }
        }
        // The log is another task's to forward.
        timer::sleep(Duration::from_millis(1)).await;
    }

    /// Tells the last line, which whoever started us waits for.
    pub(crate) fn end(&self) {
        log::info!("guest: {} ok, {} failed", self.ok, self.failed);
    }
}

/// An error unless `condition` holds.
macro_rules! ensure {
    ($condition:expr, $($why:tt)+) => {
        if !$condition {
            return Err(alloc::format!($($why)+));
        }
    };
}
pub(crate) use ensure;

/// An error unless both are equal; it has both.
macro_rules! same {
    ($found:expr, $wanted:expr, $what:expr) => {{
        let (found, wanted) = (&$found, &$wanted);
        if found != wanted {
            return Err(alloc::format!("{}: {found:?} instead of {wanted:?}", $what));
        }
    }};
}
pub(crate) use same;
