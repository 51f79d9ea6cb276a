//! `GET certs`: signing and ECDH certificates of the controller.

use proto_eve::Message as _;
use proto_eve::wire::certs::{ZCert, ZCertType, ZControllerCert};
use proto_eve::wire::common::HashAlgorithm;

use super::Answer;
use crate::key::sha256;
use crate::pki::Leaf;
use crate::state::State;

/// The certificates in an envelope. Devices must not depend on the order, so it is not the obvious one.
pub(super) fn serve(state: &State) -> Answer {
    let certs = vec![
        entry(&state.pki.exchange, ZCertType::CertTypeControllerEcdhExchange),
        entry(&state.pki.signing, ZCertType::CertTypeControllerSigning),
    ];
    Answer::sealed(200, state, ZControllerCert { certs }.encode_to_vec())
}

fn entry(leaf: &Leaf, kind: ZCertType) -> ZCert {
    let hash = sha256(leaf.cert.as_bytes());
    ZCert {
        hash_algo: HashAlgorithm::Sha25616bytes as i32,
        cert_hash: hash.iter().take(16).copied().collect(),
        r#type: kind as i32,
        cert: leaf.cert.clone().into_bytes(),
        ..ZCert::default()
    }
}
