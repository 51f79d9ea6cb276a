//! One TOML file as it is written, and how one is laid over another.
//!
//! Every key is optional here, because files are parts; what the whole must have is asked in
//! [`super::compile`]. Every value keeps its span.

use core::ops::Range;
use std::{collections::BTreeMap, string::String, vec::Vec};

use serde::Deserialize;
use toml::Spanned;

/// Declares a part of a file: all keys optional, unknown keys refused, `lay_over` and `shift`
/// written once for all of them.
macro_rules! part {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(super) struct $name {
            $($(#[$field_doc])* pub(super) $field: Option<Spanned<$type>>,)*
        }

        impl $name {
            fn lay_over(&mut self, later: Self) {
                $(if later.$field.is_some() {
                    self.$field = later.$field;
                })*
            }

            fn shift(&mut self, base: usize) {
                $(if let Some(value) = self.$field.take() {
                    self.$field = Some(value.shifted(base));
                })*
            }
        }
    };
}

part!(Machine { arch: String, memory_mib: u32 });
part!(Xen { options: Vec<String>, memory_mib: u32, });
part!(Dom0 { memory_mib: u32, accepts: Vec<Accept>, });
part!(Domain {
    image: String,
    memory_mib: u32,
    vcpus: u8,
    heap_kib: u32,
    provisioning: bool,
    order: u32,
    offers: Vec<Offer>,
    accepts: Vec<Accept>,
    devices: Vec<Spanned<String>>,
});
part!(Device {
    kind: String,
    id: String,
    class: String,
    skip: u8,
    bars: Vec<u8>,
    vectors: u8,
    transport: u8,
    pool_kib: u32,
});
part!(Applications { memory_mib: u32, count: u8, vcpus: u8, image_kib: u32 });

/// A whole file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(default)]
    pub(super) inherits: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) machine: Machine,
    #[serde(default)]
    pub(super) xen: Xen,
    #[serde(default)]
    pub(super) dom0: Dom0,
    #[serde(default)]
    pub(super) domain: BTreeMap<Spanned<String>, Domain>,
    #[serde(default)]
    pub(super) device: BTreeMap<Spanned<String>, Device>,
    #[serde(default)]
    pub(super) applications: Applications,
}

/// `{ channel = "…", to = "…" }`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Offer {
    pub(super) channel: Spanned<String>,
    pub(super) to: Spanned<String>,
}

/// `{ channel = "…", from = "…" }`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Accept {
    pub(super) channel: Spanned<String>,
    pub(super) from: Spanned<String>,
}

impl File {
    /// Takes every key that `later` sets; the list of inherited files stays out of it.
    pub(super) fn lay_over(&mut self, later: Self) {
        self.machine.lay_over(later.machine);
        self.xen.lay_over(later.xen);
        self.dom0.lay_over(later.dom0);
        self.applications.lay_over(later.applications);
        for (name, domain) in later.domain {
            self.domain.entry(name).or_default().lay_over(domain);
        }
        for (name, device) in later.device {
            self.device.entry(name).or_default().lay_over(device);
        }
    }

    /// Moves all spans by `base`.
    pub(super) fn shift(&mut self, base: usize) {
        self.inherits = core::mem::take(&mut self.inherits).shifted_inside(base);
        self.machine.shift(base);
        self.xen.shift(base);
        self.dom0.shift(base);
        self.applications.shift(base);
        self.domain = shift_entries(core::mem::take(&mut self.domain), base, Domain::shift);
        self.device = shift_entries(core::mem::take(&mut self.device), base, Device::shift);
    }
}

fn shift_entries<T>(
    entries: BTreeMap<Spanned<String>, T>,
    base: usize,
    shift: fn(&mut T, usize),
) -> BTreeMap<Spanned<String>, T> {
    let shifted = entries.into_iter().map(|(name, mut value)| {
        shift(&mut value, base);
        (name.shifted(base), value)
    });
    shifted.collect()
}

/// A value whose spans can be moved.
trait Shift: Sized {
    fn shifted(self, base: usize) -> Self;
}

/// The same for what lies inside of a span.
trait ShiftInside: Sized {
    fn shifted_inside(self, base: usize) -> Self;
}

impl<T: ShiftInside> Shift for Spanned<T> {
    fn shifted(self, base: usize) -> Self {
        let Range { start, end } = self.span();
        Spanned::new(start + base..end + base, self.into_inner().shifted_inside(base))
    }
}

impl<T: ShiftInside> ShiftInside for Spanned<T> {
    fn shifted_inside(self, base: usize) -> Self {
        self.shifted(base)
    }
}

impl<T: ShiftInside> ShiftInside for Vec<T> {
    fn shifted_inside(self, base: usize) -> Self {
        self.into_iter().map(|item| item.shifted_inside(base)).collect()
    }
}

impl ShiftInside for Offer {
    fn shifted_inside(self, base: usize) -> Self {
        Self { channel: self.channel.shifted(base), to: self.to.shifted(base) }
    }
}

impl ShiftInside for Accept {
    fn shifted_inside(self, base: usize) -> Self {
        Self { channel: self.channel.shifted(base), from: self.from.shifted(base) }
    }
}

macro_rules! no_spans_inside {
    ($($type:ty),*) => {
        $(impl ShiftInside for $type {
            fn shifted_inside(self, _base: usize) -> Self {
                self
            }
        })*
    };
}

no_spans_inside!(String, u8, u32, bool);
