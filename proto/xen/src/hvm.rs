//! Parameters and saved context of translated guests. Source: `hvm/params.h`, `hvm/hvm_op.h`,
//! `arch-x86/hvm/save.h`.

/// Subcommands.
pub mod op {
    /// [`super::Param`].
    pub const SET_PARAM: u64 = 0;
    /// [`super::Param`].
    pub const GET_PARAM: u64 = 1;
}

/// One parameter.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Param {
    /// Whose.
    pub domid: u16,
    /// Not used.
    pub padding: u16,
    /// [`param`].
    pub index: u32,
    /// In or out.
    pub value: u64,
}

/// Indices of parameters.
pub mod param {
    /// How upcalls arrive: see [`callback_vector`](super::callback_vector).
    pub const CALLBACK_IRQ: u32 = 0;
    /// Frame of the PV console's page.
    pub const CONSOLE_PFN: u32 = 17;
    /// The guest's port of the PV console.
    pub const CONSOLE_EVTCHN: u32 = 18;
    /// What a triple fault counts as.
    pub const TRIPLE_FAULT_REASON: u32 = 31;
}

/// Value of [`param::CALLBACK_IRQ`] by which upcalls arrive as interrupt `vector`, without an EOI.
#[must_use]
pub const fn callback_vector(vector: u8) -> u64 {
    2 << 56 | vector as u64
}

const _: () = assert!(size_of::<Param>() == 16);
