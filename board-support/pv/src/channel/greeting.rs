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
    use proto_svc::{MAX_MESSAGE, decode, device, encode, network, supervision};

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
    }
}
