//! What happens when the processor stops what it did: who is told.

use core::{
    fmt,
    sync::atomic::{AtomicPtr, Ordering},
};

#[cfg(target_arch = "aarch64")]
pub use crate::aarch64::vectors::Registers;
#[cfg(target_arch = "x86_64")]
pub use crate::x86_64::trap::Registers;

/// What `rt` does with traps. All run with interrupts masked.
pub struct Handlers {
    /// An event channel was raised.
    pub upcall: fn(),
    /// A device's interrupt: the vector (x86) or INTID (arm). The end-of-interrupt is sent after it.
    pub vector: fn(u32),
    /// A fault of our own code. Never returns.
    pub fault: fn(&Fault<'_>) -> !,
}

/// A fault: what the processor says about it.
pub struct Fault<'a> {
    /// The processor's name for it.
    pub name: &'static str,
    /// One more sentence where it can be told, as for a page fault.
    pub detail: Detail,
    /// The registers at that moment.
    pub registers: &'a Registers,
}

/// What is known beyond the fault's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Nothing.
    None,
    /// An access that the page tables do not allow.
    Access {
        /// The address.
        address: u64,
        /// What was tried.
        kind: Access,
        /// What lies there.
        place: Place,
    },
}

/// What was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// A read.
    Read,
    /// A write.
    Write,
    /// A jump.
    Execute,
}

/// What lies at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Nothing that we know.
    Unknown,
    /// The first page.
    Null,
    /// A page below a stack.
    StackGuard,
    /// Code.
    Text,
    /// Constants.
    Rodata,
    /// Data.
    Data,
    /// A stack.
    Stack,
}

impl Place {
    /// What lies at `address`.
    #[must_use]
    pub fn of(address: u64) -> Self {
        use crate::{layout, memory_map::Span};
        let byte = Span::of(address, 1);
        let guards = [layout::stack_guard(), layout::fault_stack_guard()];
        match () {
            () if address < 4096 => Self::Null,
            () if guards.iter().any(|guard| Span::of(*guard, 4096).contains(byte)) => Self::StackGuard,
            () if layout::text().contains(byte) => Self::Text,
            () if layout::rodata().contains(byte) => Self::Rodata,
            () if layout::data().contains(byte) => Self::Data,
            () if layout::stack().contains(byte) => Self::Stack,
            () => Self::Unknown,
        }
    }
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Access { address, kind, place } = self else { return Ok(()) };
        let kind = match kind {
            Access::Read => "read from",
            Access::Write => "write to",
            Access::Execute => "jump to",
        };
        let place = match place {
            Place::Unknown => "",
            Place::Null => ", the null page",
            Place::StackGuard => ", the guard below a stack: the stack is used up",
            Place::Text => ", in the code",
            Place::Rodata => ", in constants",
            Place::Data => ", in data",
            Place::Stack => ", on the stack",
        };
        write!(f, "{kind} {address:#x}{place}")
    }
}

static HANDLERS: AtomicPtr<Handlers> = AtomicPtr::new(core::ptr::null_mut());

/// Says who is told from now on.
pub fn set_handlers(handlers: &'static Handlers) {
    HANDLERS.store(core::ptr::from_ref(handlers).cast_mut(), Ordering::Release);
}

/// The handlers, once they are set.
pub(crate) fn handlers() -> Option<&'static Handlers> {
    let at = HANDLERS.load(Ordering::Acquire);
    // SAFETY:
    // 1. The pointer is null or was made from a `&'static Handlers`.
    // 2. Nothing writes to it: it is kept mutable for `AtomicPtr`'s sake only.
    unsafe { at.as_ref() }
}
