//! The first message of every protocol of [`proto_svc`].

use proto_svc::Message;
use serde::{Deserialize, Serialize};

/// Variant 0 of all of them, so that one code greets on every channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Greeting {
    Hello { version: u16 },
}

impl Message for Greeting {
    const CHANNEL: &'static str = "greeting";
    const VERSION: u16 = 1;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto_svc::{
        MAX_MESSAGE, decode, device, encode, measure, network, sealing, storage, supervision, vault,
    };

    #[test]
    fn every_protocol_greets_alike() {
        let mut buffer = [0; MAX_MESSAGE];
        let bytes = encode(&Greeting::Hello { version: 777 }, &mut buffer).unwrap();
        let version = 777;
        assert_eq!(decode(bytes), Ok(supervision::FromService::Hello { version }));
        assert_eq!(decode(bytes), Ok(supervision::ToService::Hello { version }));
        assert_eq!(decode(bytes), Ok(device::FromControl::Hello { version }));
        assert_eq!(decode(bytes), Ok(device::ToControl::Hello { version }));
        assert_eq!(decode(bytes), Ok(network::FromControl::Hello { version }));
        assert_eq!(decode(bytes), Ok(network::ToControl::Hello { version }));
        assert_eq!(decode(bytes), Ok(storage::ToStorage::Hello { version }));
        assert_eq!(decode(bytes), Ok(storage::FromStorage::Hello { version }));
        assert_eq!(decode(bytes), Ok(vault::ToVault::Hello { version }));
        assert_eq!(decode(bytes), Ok(vault::FromVault::Hello { version }));
        assert_eq!(decode(bytes), Ok(sealing::ToVault::Hello { version }));
        assert_eq!(decode(bytes), Ok(sealing::FromVault::Hello { version }));
        assert_eq!(decode(bytes), Ok(measure::ToVault::Hello { version }));
        assert_eq!(decode(bytes), Ok(measure::FromVault::Hello { version }));
    }
}
