//! Which protocols a board's channels may speak.

use crate::{Message, device, measure, network, sealing, storage, vault};

/// The protocols, which are what channels are called. The one to dom0 that every service has, [`supervision`],
/// is not among them.
///
/// [`supervision`]: crate::supervision
pub const PROTOCOLS: &[&str] = &[
    device::ToControl::CHANNEL,
    network::ToControl::CHANNEL,
    storage::ToStorage::CHANNEL,
    vault::ToVault::CHANNEL,
    sealing::ToVault::CHANNEL,
    measure::ToVault::CHANNEL,
];

/// Those whose other end dom0 serves.
pub const SERVED_BY_DOM0: &[&str] = &[device::ToControl::CHANNEL, measure::ToVault::CHANNEL];
