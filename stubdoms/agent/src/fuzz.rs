//! Entries for fuzzing: a configuration without the controller that would have signed it, the note of the certificates
//! without the vault that has kept it, and what storage gives back.

use alloc::{rc::Rc, vec::Vec};

use proto_eve::{
    key::{Signer, SoftwareKey},
    wire::config::EdgeDevConfig,
};

pub use crate::report::{
    logs::fuzz::{piece, piece_seed},
    metrics::fuzz::{metrics_piece, metrics_seed},
};
use crate::{
    Agent, WallTime,
    agent::Origin,
    clock::Random,
    identity::{self, DigestSigner, Keys, Public},
};

/// Applies a configuration as if a controller had sent it that the agent believes.
pub fn apply(agent: &mut Agent, config: &EdgeDevConfig) {
    agent.apply(config, Origin::Controller);
}

/// Makes certificates by any note, with a key that signs and its point; the note that is kept then.
///
/// # Panics
/// If they are not the same ones when they are made again by that note, without a clock.
pub fn identity_note(key: &Rc<SoftwareKey>, point: &[u8], note: &[u8]) -> Vec<u8> {
    let signing = key.clone();
    let sign: DigestSigner = Rc::new(move |digest| signing.sign_digest(digest).ok());
    let public = |key: &[u8], tpm: &[u8]| Some(Public { key: key.to_vec(), tpm: tpm.to_vec() });
    let keys = Keys {
        device: public(point, b""),
        ecdh: public(point, b""),
        quote: public(point, b"quote"),
        endorsement: public(&[0xc1; 256], b"area"),
    };
    let wall = Some(WallTime { seconds: 1_798_761_600, nanos: 0 });
    let mut random = Random::new(1);
    let mut begun = Vec::new();
    let made = identity::issue(&keys, None, &sign, note, &mut begun, wall, &mut random);
    let made = made.expect("there is a clock and a signer");
    let kept = made.note.unwrap_or_else(|| note.to_vec());
    assert!(kept.len() <= proto_svc::vault::MAX_NOTE, "the vault takes it");
    let mute: DigestSigner = Rc::new(|_| None);
    let again = identity::issue(&keys, None, &mute, &kept, &mut begun, None, &mut random);
    let again = again.expect("nothing is to be made");
    assert!(again.note.is_none() && again.published == made.published && again.ecdh_pem == made.ecdh_pem);
    kept
}
