//! Where a program that is loaded from memory seems to come from.
//!
//! It has to come from somewhere: some firmware takes no program without a device path.

use core::mem::MaybeUninit;

use uefi::proto::device_path::DevicePath;
use uefi::proto::device_path::build::{BuildError, DevicePathBuilder, hardware::Vendor, media::FilePath};
use uefi::{Guid, cstr16, guid};

/// A place that is ours: random once, fixed for ever.
const VENDOR: Guid = guid!("f1f6a1f2-6f0b-4d55-9b62-0c1ab1b4b6d7");

/// Room for the path.
pub(crate) struct Room([MaybeUninit<u8>; 128]);

impl Room {
    /// Empty room.
    pub(crate) const fn new() -> Self {
        Self([MaybeUninit::uninit(); 128])
    }

    /// The path, made there.
    pub(crate) fn path(&mut self) -> Option<&DevicePath> {
        let build = |room| -> Result<&DevicePath, BuildError> {
            DevicePathBuilder::with_buf(room)
                .push(&Vendor { vendor_guid: VENDOR, vendor_defined_data: &[] })?
                .push(&FilePath { path_name: cstr16!("\\sarsen.efi") })?
                .finalize()
        };
        build(&mut self.0).ok()
    }
}
