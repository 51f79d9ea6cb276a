//! What a driver of a disk waits with.

use core::{future::Future, time::Duration};

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// The interrupt came.
    Interrupt,
    /// It is time.
    Time,
}

/// The clock of the domain, and the interrupt of the device. The shell implements it on the runtime, a test on
/// virtual time.
pub trait Waits {
    /// The time since a moment that stays the same, such as power-on.
    fn now(&self) -> Duration;

    /// Waits until the device's interrupt has come, or until the clock reads `until`. An interrupt that came
    /// since the last wait that one has ended counts: none is lost between a look at the device and the wait.
    fn interrupt(&self, until: Duration) -> impl Future<Output = Woken>;

    /// Waits until the clock reads `until`.
    fn sleep(&self, until: Duration) -> impl Future<Output = ()>;
}
