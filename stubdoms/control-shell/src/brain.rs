//! The agent, shared by the tasks of this domain. Whoever tells it something wakes the task that
//! carries out what it wants next.

use alloc::{borrow::ToOwned, rc::Rc};
use core::cell::{Ref, RefCell, RefMut};

use embassy_sync::{blocking_mutex::raw::NoopRawMutex, signal::Signal};
use proto_svc::supervision::{Level, LogRecord};
use stubdoms_agent::{Agent, Now, Severity};

use crate::{clock::TimeOfDay, contents::Contents, system::System};

/// The agent, the contents that it holds, and the bell of the task that serves it.
pub(crate) struct Brain<S>(Rc<Inner<S>>);

struct Inner<S> {
    system: S,
    clock: TimeOfDay<S>,
    agent: RefCell<Agent>,
    contents: RefCell<Contents>,
    changed: Signal<NoopRawMutex, ()>,
}

impl<S> Clone for Brain<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: System> Brain<S> {
    pub(crate) fn new(system: S, clock: TimeOfDay<S>, agent: Agent) -> Self {
        Self(Rc::new(Inner {
            system,
            clock,
            agent: RefCell::new(agent),
            contents: RefCell::default(),
            changed: Signal::new(),
        }))
    }

    /// Tells the agent something.
    pub(crate) fn tell<R>(&self, what: impl FnOnce(&mut Agent, Now) -> R) -> R {
        let result = what(&mut self.0.agent.borrow_mut(), self.0.clock.now());
        self.0.changed.signal(());
        result
    }

    /// Asks the agent something, which changes nothing for others.
    pub(crate) fn ask<R>(&self, what: impl FnOnce(&mut Agent, Now) -> R) -> R {
        what(&mut self.0.agent.borrow_mut(), self.0.clock.now())
    }

    /// What this domain stands on.
    pub(crate) fn system(&self) -> &S {
        &self.0.system
    }

    /// The time of day.
    pub(crate) fn clock(&self) -> &TimeOfDay<S> {
        &self.0.clock
    }

    /// Waits until someone told the agent something.
    pub(crate) async fn changed(&self) {
        self.0.changed.wait().await;
    }

    /// The contents that are held.
    pub(crate) fn contents(&self) -> Ref<'_, Contents> {
        self.0.contents.borrow()
    }

    /// The contents that are held, to add or drop some.
    pub(crate) fn contents_mut(&self) -> RefMut<'_, Contents> {
        self.0.contents.borrow_mut()
    }

    /// Hands over a line of the log of dom0 or a service. `mark` is how far the log has come with it.
    pub(crate) fn log(&self, domain: &str, record: &LogRecord, mark: u64) {
        let severity = match record.level {
            Level::Error => Severity::Error,
            Level::Warn => Severity::Warning,
            Level::Info => Severity::Info,
            Level::Debug => Severity::Debug,
        };
        let line = stubdoms_agent::LogRecord {
            severity,
            source: domain.to_owned(),
            content: record.text.as_str().to_owned(),
            at: self.0.clock.wall_time_at(record.at_ns),
        };
        self.tell(|agent, now| agent.log(now, &line, mark));
    }
}
