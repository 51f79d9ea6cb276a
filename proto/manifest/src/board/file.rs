//! One TOML file as it is written, and how one is laid over another.
//!
//! Every key is optional here, because files are parts; what the whole must have is asked in
//! [`super::compile`]. Every value keeps its place.

use std::{collections::BTreeMap, string::String, vec::Vec};

use toml::{Spanned, de::DeValue};

use super::{
    error::{Fault, Location},
    source::{Item, Read, Reader, table},
};

/// Declares a table: all keys optional, unknown keys refused, reading and `lay_over` written once for all.
macro_rules! part {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default)]
        pub(super) struct $name {
            /// Where the table is, in the last file that has it.
            pub(super) at: Option<Location>,
            $(pub(super) $field: Option<Item<$type>>,)*
        }

        impl $name {
            const KEYS: &[&str] = &[$(stringify!($field)),*];
        }

        impl LayOver for $name {
            fn lay_over(&mut self, later: Self) {
                if later.at.is_some() {
                    self.at = later.at;
                }
                $(if later.$field.is_some() {
                    self.$field = later.$field;
                })*
            }
        }

        impl Read for $name {
            fn read(reader: &mut Reader<'_>, at: &Location, value: &Spanned<DeValue<'_>>) -> Option<Self> {
                let table = table(reader, at, value)?;
                let mut part = Self { at: Some(at.clone()), ..Self::default() };
                for (key, value) in table {
                    let at = reader.inside(at, key.get_ref(), &key.span());
                    match key.get_ref().as_ref() {
                        $(stringify!($field) => part.$field = reader.item(at, value),)*
                        _ => reader.wrong(&at, Fault::UnknownKey { known: Self::KEYS }),
                    }
                }
                Some(part)
            }
        }
    };
}

part!(Machine { arch: String, memory_mib: u32 });
part!(Xen { options: Vec<Item<String>>, memory_mib: u32 });
part!(Dom0 { memory_mib: u32, accepts: Vec<Item<Accept>> });
part!(Domain {
    image: String,
    memory_mib: u32,
    vcpus: u8,
    cpus: Vec<Item<u8>>,
    heap_kib: u32,
    provisioning: bool,
    vital: bool,
    order: u32,
    offers: Vec<Item<Offer>>,
    accepts: Vec<Item<Accept>>,
    devices: Vec<Item<String>>,
});
part!(Device {
    kind: String,
    id: String,
    class: String,
    skip: u8,
    bars: Vec<Item<u8>>,
    vectors: u8,
    transport: u8,
    pool_kib: u32,
    address: u64,
    optional: bool,
});
part!(Applications { memory_mib: u32, count: u8, vcpus: u8, cpus: Vec<Item<u8>>, image_kib: u32 });
part!(
    /// `{ channel = "…", to = "…" }`
    Offer { channel: String, to: String }
);
part!(
    /// `{ channel = "…", from = "…" }`
    Accept { channel: String, from: String }
);

/// What a later file replaces in an earlier one.
pub(super) trait LayOver {
    fn lay_over(&mut self, later: Self);
}

/// Tables by their names: `[domain.NAME]`.
#[derive(Debug, Clone)]
pub(super) struct Named<T>(pub(super) BTreeMap<String, T>);

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Default + LayOver> LayOver for Named<T> {
    fn lay_over(&mut self, later: Self) {
        for (name, part) in later.0 {
            self.0.entry(name).or_default().lay_over(part);
        }
    }
}

impl<T: Read> Read for Named<T> {
    fn read(reader: &mut Reader<'_>, at: &Location, value: &Spanned<DeValue<'_>>) -> Option<Self> {
        let mut parts = BTreeMap::new();
        for (name, value) in table(reader, at, value)? {
            let at = reader.inside(at, name.get_ref(), &name.span());
            if let Some(part) = T::read(reader, &at, value) {
                parts.insert(name.get_ref().clone().into_owned(), part);
            }
        }
        Some(Self(parts))
    }
}

/// A whole file.
#[derive(Debug, Clone, Default)]
pub(super) struct File {
    pub(super) inherits: Option<Item<Vec<Item<String>>>>,
    pub(super) machine: Machine,
    pub(super) xen: Xen,
    pub(super) dom0: Dom0,
    pub(super) domain: Named<Domain>,
    pub(super) device: Named<Device>,
    pub(super) applications: Applications,
}

const TABLES: &[&str] = &["inherits", "machine", "xen", "dom0", "domain", "device", "applications"];

impl LayOver for File {
    /// Takes every key that `later` sets; the list of inherited files stays out of it.
    fn lay_over(&mut self, later: Self) {
        self.machine.lay_over(later.machine);
        self.xen.lay_over(later.xen);
        self.dom0.lay_over(later.dom0);
        self.domain.lay_over(later.domain);
        self.device.lay_over(later.device);
        self.applications.lay_over(later.applications);
    }
}

impl Read for File {
    fn read(reader: &mut Reader<'_>, at: &Location, value: &Spanned<DeValue<'_>>) -> Option<Self> {
        let mut file = Self::default();
        for (key, value) in table(reader, at, value)? {
            let at = reader.inside(at, key.get_ref(), &key.span());
            match key.get_ref().as_ref() {
                "inherits" => file.inherits = reader.item(at, value),
                "machine" => file.machine = read_or_default(reader, &at, value),
                "xen" => file.xen = read_or_default(reader, &at, value),
                "dom0" => file.dom0 = read_or_default(reader, &at, value),
                "domain" => file.domain = read_or_default(reader, &at, value),
                "device" => file.device = read_or_default(reader, &at, value),
                "applications" => file.applications = read_or_default(reader, &at, value),
                _ => reader.wrong(&at, Fault::UnknownKey { known: TABLES }),
            }
        }
        Some(file)
    }
}

/// What cannot be read is noted already.
fn read_or_default<T: Read + Default>(
    reader: &mut Reader<'_>,
    at: &Location,
    value: &Spanned<DeValue<'_>>,
) -> T {
    T::read(reader, at, value).unwrap_or_default()
}
