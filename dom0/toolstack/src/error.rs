//! Why a domain was not built.

use core::fmt;

use proto_manifest::stamp::RecordError;
use proto_xen::Errno;

use crate::{
    build::{elf::ElfError, layout::LayoutError},
    image::ImageError,
    pci::PciError,
    registers::RegistersError,
    transport::TransportError,
};

/// A call to Xen while a domain is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Saying how much memory is free.
    FreeMemory,
    /// Making an empty domain.
    Create,
    /// Setting its number of vCPUs.
    Vcpus,
    /// Saying on which CPUs its vCPUs run.
    Affinity,
    /// Saying how it reads the time stamp counter.
    Counter,
    /// Setting the width of its addresses.
    AddressSize,
    /// Setting its memory limit.
    MemoryLimit,
    /// Setting memory aside for its page tables.
    PagingPool,
    /// Giving it memory.
    Populate,
    /// Saying what a triple fault means.
    TripleFault,
    /// Mapping its memory to write to it.
    Load,
    /// Setting up a port of an event channel.
    Port,
    /// Telling it where its console is.
    Console,
    /// Having what was written into it reach its memory.
    Flush,
    /// Setting its CPU state.
    Context,
    /// Letting it run.
    Unpause,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FreeMemory => "to tell how much memory is free",
            Self::Create => "to create it",
            Self::Vcpus => "to set its vCPUs",
            Self::Affinity => "to pin its vCPUs to CPUs",
            Self::Counter => "to set its time stamp counter",
            Self::AddressSize => "to set the width of its addresses",
            Self::MemoryLimit => "to set its memory limit",
            Self::PagingPool => "memory for its page tables",
            Self::Populate => "to give it memory",
            Self::TripleFault => "to set what a triple fault means",
            Self::Load => "to map its memory",
            Self::Port => "a port of an event channel",
            Self::Console => "to tell it where its console is",
            Self::Flush => "to flush its memory from the caches",
            Self::Context => "to set its CPU state",
            Self::Unpause => "to let it run",
        })
    }
}

/// Why a domain was not built. Nothing of it is left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuildError {
    /// Xen refused a call.
    Xen {
        /// Which.
        step: Step,
        /// What Xen said.
        errno: Errno,
    },
    /// The machine has not enough free memory.
    Memory {
        /// Pages that the domain needs, with those for its page tables.
        want: u64,
        /// Pages that are free, or that it got before Xen had no more.
        got: u64,
    },
    /// Its image is not the one of the table, or there is none.
    Image(ImageError),
    /// Its image cannot be loaded.
    Elf(ElfError),
    /// Its image does not run on as many vCPUs as it is to have.
    Vcpus {
        /// vCPUs that it is to have.
        want: u32,
        /// vCPUs that its image runs on.
        most: u32,
    },
    /// Its memory cannot be laid out.
    Layout(LayoutError),
    /// Its wiring record cannot be written.
    Wiring(RecordError),
    /// It has more channels than a wiring record holds.
    TooManyChannels,
    /// The table has no such domain, or it was not created.
    NoSuchDomain,
    /// A device could not be handed over.
    Device(PciError),
    /// A virtio transport could not be lent.
    Transport(TransportError),
    /// A page of registers could not be handed over.
    Registers(RegistersError),
}

impl BuildError {
    /// For `map_err` behind a call.
    pub(crate) fn at(step: Step) -> impl Fn(Errno) -> Self {
        move |errno| Self::Xen { step, errno }
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Xen { step, errno } => write!(f, "Xen refuses {step}: {errno}"),
            Self::Memory { want, got } => {
                write!(f, "needs {want} pages of memory, and only {got} are free")
            }
            Self::Image(error) => error.fmt(f),
            Self::Elf(error) => write!(f, "image: {error}"),
            Self::Vcpus { want, most } => {
                write!(
                    f,
                    "its image runs on no more than {most} vCPU{}, and {want} are asked for",
                    plural(*most)
                )
            }
            Self::Layout(error) => error.fmt(f),
            Self::Wiring(error) => write!(f, "wiring record: {error}"),
            Self::TooManyChannels => f.write_str("has more channels than a wiring record holds"),
            Self::NoSuchDomain => f.write_str("there is no such domain"),
            Self::Device(error) => error.fmt(f),
            Self::Transport(error) => error.fmt(f),
            Self::Registers(error) => error.fmt(f),
        }
    }
}

fn plural(count: u32) -> &'static str {
    if count == 1 { "" } else { "s" }
}

impl core::error::Error for BuildError {}

impl From<ElfError> for BuildError {
    fn from(error: ElfError) -> Self {
        Self::Elf(error)
    }
}

impl From<LayoutError> for BuildError {
    fn from(error: LayoutError) -> Self {
        Self::Layout(error)
    }
}

impl From<ImageError> for BuildError {
    fn from(error: ImageError) -> Self {
        Self::Image(error)
    }
}

impl From<RecordError> for BuildError {
    fn from(error: RecordError) -> Self {
        Self::Wiring(error)
    }
}

impl From<TransportError> for BuildError {
    fn from(error: TransportError) -> Self {
        Self::Transport(error)
    }
}

impl From<RegistersError> for BuildError {
    fn from(error: RegistersError) -> Self {
        Self::Registers(error)
    }
}

impl From<PciError> for BuildError {
    fn from(error: PciError) -> Self {
        Self::Device(error)
    }
}
