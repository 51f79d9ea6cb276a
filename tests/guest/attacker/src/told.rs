//! How a case ended, for whoever reads the console.

use alloc::string::String;
use core::time::Duration;

use board_support_rt::timer;

/// What a case found, or why it failed.
pub(crate) type Verdict<T = ()> = Result<T, String>;

/// Tells how a case ended. Returns whether well.
pub(crate) async fn told(name: &str, verdict: Verdict) -> bool {
    match &verdict {
        Ok(()) => log::info!("ok {name}"),
        Err(why) => log::error!("FAIL {name}: {why}"),
    }
    // dom0 shows so many lines of a domain in a second, and no more.
    timer::sleep(Duration::from_millis(30)).await;
    verdict.is_ok()
}
