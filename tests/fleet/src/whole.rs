//! control as it is on the device: its own tasks, agent and way to the controller. What they stand on is given here.

use core::{any::Any, marker::PhantomData, ops::Deref};
use std::{cell::RefCell, time::Duration};

use stubdoms_control_shell::{Start, System};
use stubdoms_web::tls::CryptoProvider;
use tests_fakexen::time_of_day;

use crate::{
    programs::{Base, Ground, Tasks, module},
    random,
};

/// control's `main`: all is its own but what it stands on.
pub async fn main(base: Base) {
    base.supervise();
    let files = module(base.domain.world(), base.domain.id(), 1);
    let Base { domain, tasks, wiring, peers, ready, .. } = base;
    let heap_limit = wiring.heap_limit_kib as usize * 1024;
    let start = Start { wiring: &wiring, peers, files: files.as_deref(), heap_limit };
    stubdoms_control_shell::main(Ground(domain), tasks, start, || ready.signal(())).await;
}

impl System for Ground {
    type Spawner = Tasks;
    type Local<T: 'static> = Kept<T>;

    fn local<T: 'static>(value: T) -> Kept<T> {
        Kept::new(value)
    }

    fn time_of_day() -> Option<Duration> {
        time_of_day()
    }

    fn tls() -> CryptoProvider {
        random::provider()
    }
}

thread_local! {
    static VALUES: RefCell<Vec<&'static dyn Any>> = const { RefCell::new(Vec::new()) };
}

/// A value that this thread keeps for as long as it lives: it alone may look at it.
pub(crate) struct Kept<T>(usize, PhantomData<fn() -> T>);

impl<T: 'static> Kept<T> {
    fn new(value: T) -> Self {
        let place = VALUES.with_borrow_mut(|values| {
            values.push(Box::leak(Box::new(value)));
            values.len() - 1
        });
        Self(place, PhantomData)
    }
}

impl<T: 'static> Deref for Kept<T> {
    type Target = T;

    fn deref(&self) -> &T {
        let value = VALUES.with_borrow(|values| values.get(self.0).copied());
        value.and_then(<dyn Any>::downcast_ref).expect("this thread has made it")
    }
}
