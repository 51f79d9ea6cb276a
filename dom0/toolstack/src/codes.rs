//! The codes of what goes wrong here; each `match` names every variant.

use proto_errors::{Code, Coded, boot, build, pci, svc};
use proto_svc::device::Refusal;

use crate::{
    acpi::AcpiError, error::BuildError, image::ImageError, interface::InterfaceError, pci::PciError,
    ramdisk::RamdiskError, registers::RegistersError, request::Refused, transport::TransportError,
};

impl Coded for RamdiskError {
    fn code(&self) -> Code {
        match self {
            Self::Missing => boot::NO_ARCHIVE,
            Self::Archive(_) => boot::BAD_ARCHIVE,
            Self::NoTable => boot::NO_TABLE,
            Self::Table(_) => boot::BAD_TABLE,
        }
    }
}

impl Coded for InterfaceError {
    fn code(&self) -> Code {
        match self {
            Self::Version { .. } => boot::XEN_VERSION,
            Self::Refused(_) => boot::NOT_DOM0,
        }
    }
}

impl Coded for AcpiError {
    fn code(&self) -> Code {
        match self {
            Self::Unreadable { .. } | Self::Signature { .. } | Self::Length { .. } | Self::NoMcfg => {
                boot::NO_PCI
            }
        }
    }
}

impl Coded for BuildError {
    fn code(&self) -> Code {
        match self {
            Self::Xen { .. } => build::XEN_REFUSED,
            Self::Memory { .. } => build::MEMORY,
            Self::Image(error) => error.code(),
            Self::Elf(_) => build::BAD_ELF,
            Self::Vcpus { .. } => build::VCPUS,
            Self::Layout(_) => build::LAYOUT,
            Self::Wiring(_) | Self::TooManyChannels => build::WIRING,
            Self::NoSuchDomain => build::NO_DOMAIN,
            Self::Device(error) => error.code(),
            Self::Transport(error) => error.code(),
            Self::Registers(error) => error.code(),
        }
    }
}

impl Coded for TransportError {
    fn code(&self) -> Code {
        match self {
            Self::NotFound { .. } => build::NO_TRANSPORT,
            Self::Reset { .. } => pci::RESET,
            Self::References { .. } | Self::Grant(_) | Self::Xen { .. } => build::XEN_REFUSED,
        }
    }
}

impl Coded for RegistersError {
    fn code(&self) -> Code {
        match self {
            Self::NotFound { .. } => build::NO_REGISTERS,
            Self::Xen { .. } => build::XEN_REFUSED,
        }
    }
}

impl Coded for ImageError {
    fn code(&self) -> Code {
        match self {
            Self::Missing => build::NO_IMAGE,
            Self::Hash { .. } => build::WRONG_IMAGE,
        }
    }
}

impl Coded for PciError {
    fn code(&self) -> Code {
        match self {
            Self::NotFound { .. } => pci::NOT_FOUND,
            Self::TooFewVectors { .. } => pci::VECTORS,
            Self::NoSuchBar { .. } => pci::NO_BAR,
            Self::BadBar { .. } => pci::BAD_BAR,
            Self::TooManyWindows { .. } => pci::WINDOWS,
            Self::Reset { .. } => pci::RESET,
            Self::Xen { .. } => pci::REFUSED,
        }
    }
}

impl Coded for Refused {
    fn code(&self) -> Code {
        match self.refusal {
            Refusal::Unknown
            | Refusal::TooMany
            | Refusal::WrongState
            | Refusal::Memory
            | Refusal::Vcpus
            | Refusal::ImageSize
            | Refusal::ImagePiece
            | Refusal::ImageHash => svc::REFUSED,
            Refusal::ImageFormat => build::BAD_ELF,
            Refusal::Build => build::XEN_REFUSED,
        }
    }
}
