//! The real Xen and the real runtime.

use core::time::Duration;

use board_support_hyp::Xen;
use board_support_rt::{Domain, Spawner, entropy, local::Local, wallclock};
use stubdoms_control_shell::System;
use stubdoms_service::footing::Footing;
use stubdoms_web::tls::{self, CryptoProvider};

/// This domain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Device;

impl Footing for Device {
    type Xen = Xen;
    type Runtime = Domain;

    fn xen(&self) -> &Xen {
        &Xen
    }

    fn runtime(&self) -> &Domain {
        &Domain
    }

    fn fill(bytes: &mut [u8]) {
        entropy::fill(bytes);
    }
}

impl System for Device {
    type Spawner = Spawner;
    type Local<T: 'static> = Local<T>;

    fn local<T: 'static>(value: T) -> Local<T> {
        Local::new(value)
    }

    fn time_of_day() -> Option<Duration> {
        wallclock::now().map(|time| Duration::new(time.seconds, time.nanoseconds))
    }

    fn tls() -> CryptoProvider {
        tls::provider()
    }
}
