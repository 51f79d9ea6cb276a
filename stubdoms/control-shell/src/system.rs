//! What control stands on.

use core::{ops::Deref, time::Duration};

use board_support_hyp::{Pages, Sched, Spawn};
use stubdoms_service::footing::Footing;
use stubdoms_web::tls::CryptoProvider;

/// What control stands on: on the device the real things, on the host others.
pub trait System: Footing<Xen: Sched, Runtime: Pages> {
    /// Starts tasks of this domain.
    type Spawner: Spawn;
    /// A value for tasks of this domain alone, in places that ask for `Send` and `Sync`.
    type Local<T: 'static>: Deref<Target = T> + Send + Sync;

    /// Takes a value for this domain's tasks.
    fn local<T: 'static>(value: T) -> Self::Local<T>;

    /// The time since 1970-01-01 00:00 UTC; `None` if the machine does not know it.
    fn time_of_day() -> Option<Duration>;

    /// The primitives of TLS.
    fn tls() -> CryptoProvider;
}
