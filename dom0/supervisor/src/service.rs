//! One service.

use crate::{
    ANSWER_WITHIN, Instant, Life, Notice, PING_EVERY, READY_LIMIT, Reason, SECOND_CHANCE, START_LIMIT,
    history::{History, Next},
};

/// A tick that comes later than this after the deadline says that dom0 itself was held up.
const LATE: Instant = Instant::from_millis(100);
/// So often a late tick is forgiven in a row.
const MAX_FORGIVEN: u8 = 3;
/// Services that would have to be asked within this time are asked now: one wake-up for all.
const TOGETHER: Instant = Instant::from_millis(200);

/// Where a service stands; drawn in the crate's documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// To be built as soon as what it needs is not being built any more.
    Waiting,
    /// Being built.
    Building,
    /// Runs, and was not heard of yet.
    Starting {
        /// When it must have been.
        until: Instant,
    },
    /// Said something lately.
    Healthy {
        /// When it is asked, unless it says something before or is at rest then.
        ask: Instant,
    },
    /// Was asked.
    Asked {
        /// When it is asked again.
        until: Instant,
    },
    /// Was asked twice.
    Suspect {
        /// When it counts as hung.
        until: Instant,
        /// Late ticks that were forgiven.
        forgiven: u8,
    },
    /// What is left of it is being taken away.
    Ending {
        /// What follows.
        next: Next,
    },
    /// Is built anew later.
    BackingOff {
        /// When.
        until: Instant,
    },
    /// Is not built any more, unless it is ordered.
    GivenUp,
}

/// What the service wants of the supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// [`crate::Command::Ping`].
    Ping,
    /// [`crate::Command::End`].
    End,
    /// [`crate::Command::Tell`].
    Tell(Notice),
}

/// What to do, in this order.
pub type Wishes = heapless::Vec<Wish, 2>;

/// One service.
#[derive(Clone, Debug)]
pub struct Service {
    state: State,
    life: Life,
    history: History,
    /// When the last instance ended, until the next one does its work.
    dead_since: Option<Instant>,
    /// An instance has done its work.
    worked: bool,
    work: Work,
}

/// How the instance that runs stands to its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    /// Does not do it, and waits for others that do not do theirs.
    Hindered,
    /// Does not do it yet.
    Due {
        /// When it must.
        until: Instant,
    },
    /// Does it.
    Done,
}

impl Default for Service {
    fn default() -> Self {
        Self {
            state: State::Waiting,
            life: Life(0),
            history: History::new(),
            dead_since: None,
            worked: false,
            work: Work::Hindered,
        }
    }
}

impl Service {
    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// The current instance.
    #[must_use]
    pub fn life(&self) -> Life {
        self.life
    }

    /// Whether an instance of it exists, or may.
    #[must_use]
    pub fn exists(&self) -> bool {
        match self.state {
            State::Building
            | State::Starting { .. }
            | State::Healthy { .. }
            | State::Asked { .. }
            | State::Suspect { .. }
            | State::Ending { .. } => true,
            State::Waiting | State::BackingOff { .. } | State::GivenUp => false,
        }
    }

    /// Whether it will be built without further delay, so that who needs it does well to wait.
    #[must_use]
    pub fn is_about_to_be(&self) -> bool {
        match self.state {
            State::Waiting | State::Building => true,
            State::Ending { next } => next == Next::Restart(Instant::ZERO),
            _ => false,
        }
    }

    /// Whether an instance of it has done its work since the start of the machine.
    #[must_use]
    pub fn has_worked(&self) -> bool {
        self.worked
    }

    /// Whether the instance that runs does its work.
    #[must_use]
    pub fn does_its_work(&self) -> bool {
        self.work == Work::Done && self.runs()
    }

    /// Notes whether all that it needs do their work: it has [`READY_LIMIT`] from then on.
    pub fn is_able(&mut self, now: Instant, able: bool) {
        self.work = match self.work {
            Work::Done => Work::Done,
            _ if !able || !self.runs() => Work::Hindered,
            Work::Hindered => Work::Due { until: now + READY_LIMIT },
            due @ Work::Due { .. } => due,
        };
    }

    /// An instance runs, and is not to end.
    fn runs(&self) -> bool {
        match self.state {
            State::Starting { .. } | State::Healthy { .. } | State::Asked { .. } | State::Suspect { .. } => {
                true
            }
            State::Waiting
            | State::Building
            | State::Ending { .. }
            | State::BackingOff { .. }
            | State::GivenUp => false,
        }
    }

    /// When time changes something.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let due = match self.work {
            Work::Due { until } if self.runs() => Some(until),
            Work::Due { .. } | Work::Hindered | Work::Done => None,
        };
        self.change().into_iter().chain(due).min()
    }

    /// When time changes the state.
    fn change(&self) -> Option<Instant> {
        match self.state {
            State::Starting { until }
            | State::Asked { until }
            | State::Suspect { until, .. }
            | State::BackingOff { until } => Some(until),
            State::Healthy { ask } => Some(ask),
            State::Waiting | State::Building | State::Ending { .. } | State::GivenUp => None,
        }
    }

    /// Begins the next instance.
    pub fn build(&mut self) -> Life {
        self.life = Life(self.life.0.wrapping_add(1));
        self.work = Work::Hindered;
        self.state = State::Building;
        self.life
    }

    /// The instance runs.
    pub fn built(&mut self, now: Instant) {
        if self.state == State::Building {
            self.state = State::Starting { until: now + START_LIMIT };
        }
    }

    /// The instance could not be made; nothing is left of it.
    pub fn not_built(&mut self, now: Instant) -> Wishes {
        let mut wishes = Wishes::new();
        if self.state == State::Building {
            self.dead_since.get_or_insert(now);
            let next = self.history.died(now);
            wish(&mut wishes, Wish::Tell(Notice::Died(Reason::NotBuilt, next)));
            self.state = after(now, next);
        }
        wishes
    }

    /// The instance said something, if only that its channel is open.
    pub fn heard(&mut self, now: Instant) {
        if let State::Starting { .. } | State::Healthy { .. } | State::Asked { .. } | State::Suspect { .. } =
            self.state
        {
            self.state = State::Healthy { ask: now + PING_EVERY };
        }
    }

    /// Whether it would be asked at `now` unless [`Self::at_rest`] comes before.
    #[must_use]
    pub fn is_to_be_asked(&self, now: Instant) -> bool {
        matches!(self.state, State::Healthy { ask } if ask <= now + TOGETHER)
    }

    /// The instance sleeps, and nothing was said to it that it has not read: it needs not be asked. One that
    /// was asked has to answer all the same.
    pub fn at_rest(&mut self, now: Instant) {
        if self.is_to_be_asked(now) {
            self.state = State::Healthy { ask: now + PING_EVERY };
        }
    }

    /// The instance does its work.
    pub fn ready(&mut self, now: Instant) -> Wishes {
        self.heard(now);
        let mut wishes = Wishes::new();
        if let State::Healthy { .. } = self.state {
            self.worked = true;
            self.work = Work::Done;
            if let Some(since) = self.dead_since.take() {
                wish(&mut wishes, Wish::Tell(Notice::Recovered(now.saturating_sub(since))));
            }
        }
        wishes
    }

    /// The instance has ended, or has to.
    pub fn died(&mut self, now: Instant, reason: Reason) -> Wishes {
        let mut wishes = Wishes::new();
        match self.state {
            State::Starting { .. } | State::Healthy { .. } | State::Asked { .. } | State::Suspect { .. } => {}
            // Given up or not, an order is an order.
            State::BackingOff { .. } | State::GivenUp if reason == Reason::Ordered => {
                self.state = State::Waiting;
                return wishes;
            }
            State::Waiting
            | State::Building
            | State::Ending { .. }
            | State::BackingOff { .. }
            | State::GivenUp => return wishes,
        }
        self.dead_since.get_or_insert(now);
        let next = match reason {
            Reason::Ordered => Next::Restart(Instant::ZERO),
            _ => self.history.died(now),
        };
        wish(&mut wishes, Wish::Tell(Notice::Died(reason, next)));
        wish(&mut wishes, Wish::End);
        self.state = State::Ending { next };
        wishes
    }

    /// Nothing is left of the instance.
    pub fn gone(&mut self, now: Instant) {
        if let State::Ending { next } = self.state {
            self.state = after(now, next);
        }
    }

    /// Does what time demands. A service that would have to be asked soon is asked now.
    pub fn tick(&mut self, now: Instant) -> Wishes {
        let mut wishes = Wishes::new();
        match self.state {
            State::Starting { until } if until <= now => return self.died(now, Reason::StartTimeout),
            _ if self.is_overdue(now) => return self.died(now, Reason::NotReady),
            State::Healthy { .. } if self.is_to_be_asked(now) => {
                wish(&mut wishes, Wish::Ping);
                self.state = State::Asked { until: now + ANSWER_WITHIN };
            }
            State::Asked { until } if until <= now => {
                wish(&mut wishes, Wish::Ping);
                self.state = State::Suspect { until: now + SECOND_CHANCE, forgiven: 0 };
            }
            State::Suspect { until, forgiven } if until + LATE <= now && forgiven < MAX_FORGIVEN => {
                // dom0 was held up, and perhaps the service with it.
                self.state = State::Suspect { until: now + SECOND_CHANCE, forgiven: forgiven + 1 };
            }
            State::Suspect { until, .. } if until <= now => return self.died(now, Reason::Hung),
            State::BackingOff { until } if until <= now => self.state = State::Waiting,
            _ => {}
        }
        wishes
    }

    /// Whether it runs, and should have done its work before `now`.
    fn is_overdue(&self, now: Instant) -> bool {
        self.runs() && matches!(self.work, Work::Due { until } if until <= now)
    }

    /// Whether [`Self::tick`] has something to do at `now`, not only could do something early.
    #[must_use]
    pub fn is_due(&self, now: Instant) -> bool {
        self.deadline().is_some_and(|deadline| deadline <= now)
    }
}

fn after(now: Instant, next: Next) -> State {
    match next {
        Next::Restart(Instant::ZERO) => State::Waiting,
        Next::Restart(delay) => State::BackingOff { until: now + delay },
        Next::GiveUp => State::GivenUp,
    }
}

fn wish(wishes: &mut Wishes, wish: Wish) {
    // A function adds two at most.
    let _ = wishes.push(wish);
}
