use alloc::{vec, vec::Vec};
use core::mem::size_of;

use super::*;
use crate::{
    config,
    wire::{
        certs::{ZCert, ZControllerCert},
        config::{AppInstanceConfig, ConfigResponse, EdgeDevConfig, NetworkInstanceConfig},
    },
};

const EMPTY_GROUP: [u8; 4] = [0xa3, 0x06, 0xa4, 0x06];
const EMPTY_APP: [u8; 2] = [0x22, 0x00];

/// `content` as field `tag` of a message.
fn field(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag << 3 | 2];
    prost::encode_length_delimiter(content.len(), &mut bytes).unwrap();
    bytes.extend(content);
    bytes
}

/// A response whose configuration is `content`.
fn response(content: &[u8]) -> Vec<u8> {
    field(1, content)
}

fn element(shape: Shape, tag: u64) -> (usize, Shape) {
    let field = SHAPES[shape.0].iter().find(|field| field.tag == tag).unwrap();
    let Kind::Message(inner) = field.kind else { panic!("not a message") };
    (field.element, Shape(inner))
}

#[test]
fn elements_are_not_thought_smaller_than_they_are() {
    let (_, config) = element(CONFIG_RESPONSE, 1);
    assert!(element(config, 4).0 >= size_of::<AppInstanceConfig>());
    assert!(element(config, 16).0 >= size_of::<NetworkInstanceConfig>());
    assert!(element(CONTROLLER_CERT, 1).0 >= size_of::<ZCert>());
    // Nor so much larger that real ones would be refused.
    assert!(element(config, 4).0 <= 3 * size_of::<AppInstanceConfig>());
}

#[test]
fn a_flood_of_empty_elements_is_refused_also_behind_groups() {
    let flood = EMPTY_APP.repeat(100_000);
    let behind = [EMPTY_GROUP.as_slice(), &flood].concat();
    let inside = [&[0xa3, 0x06], flood.as_slice(), &[0xa4, 0x06]].concat();
    for content in [&flood, &behind] {
        assert_eq!(config::parse_response(&response(content)), Err(config::ConfigError::TooMuch));
        let outer = [EMPTY_GROUP.as_slice(), &response(content)].concat();
        assert_eq!(config::parse_response(&outer), Err(config::ConfigError::TooMuch));
    }
    // prost skips what is in a group, and so does the walk.
    let skipped = config::parse_response(&response(&inside)).unwrap();
    assert_eq!(skipped.config, Some(EdgeDevConfig::default()));

    let flood = [EMPTY_GROUP.as_slice(), &[0x0a, 0x00].repeat(100_000)].concat();
    assert_eq!(check(&flood, CONTROLLER_CERT, 1 << 20), Err(Refused::TooMuch));
    // `quoteResp` of an attestation's answer has a list of keys.
    let keys = [EMPTY_GROUP.as_slice(), &[0x1a, 0x00, 0x12, 0x00].repeat(50_000)].concat();
    let refused = |tag| check(&field(tag, &keys), ATTEST_RESPONSE, 1 << 20) == Err(Refused::TooMuch);
    assert!((1..16).any(refused));
}

#[test]
fn groups_that_do_not_close_are_malformed() {
    for bytes in [&[0xa3, 0x06][..], &[0xa4, 0x06], &[0xa3, 0x06, 0xa3, 0x06, 0xa4, 0x06]] {
        assert_eq!(check(bytes, CONFIG_RESPONSE, 1000), Err(Refused::Malformed));
    }
}

#[test]
fn a_flood_deep_inside_is_found() {
    // `disks` holds lists of its own kind, at any depth.
    for depth in 0..40 {
        let mut disks = [0x1a, 0x00].repeat(50_000);
        for _ in 0..depth {
            disks = field(3, &disks);
        }
        let mut content = Vec::new();
        for tag in 1..60_u32 {
            // Whichever field it is, the others are not in the schema as a message with a field 3.
            let mut bytes = Vec::new();
            prost::encoding::encode_key(tag, prost::encoding::WireType::LengthDelimited, &mut bytes);
            prost::encode_length_delimiter(disks.len(), &mut bytes).unwrap();
            bytes.extend(&disks);
            if check(&response(&bytes), CONFIG_RESPONSE, 1 << 20).is_err() {
                content = bytes;
                break;
            }
        }
        assert!(!content.is_empty(), "depth {depth}");
    }
}

#[test]
fn a_length_that_lies_is_malformed() {
    // The inner message claims more than the outer one has: prost would read on behind it.
    let mut lying = response(&[0x22, 0x7f]);
    lying.extend(EMPTY_APP.repeat(1000));
    assert_eq!(check(&lying, CONFIG_RESPONSE, 1 << 20), Err(Refused::Malformed));
}

#[test]
fn text_that_looks_like_a_message_is_only_text() {
    let mut config = EdgeDevConfig { apps: vec![AppInstanceConfig::default()], ..EdgeDevConfig::default() };
    config.apps[0].user_data = "*\"2:".repeat(10_000);
    let payload =
        prost::Message::encode_to_vec(&ConfigResponse { config: Some(config), ..Default::default() });
    assert!(config::parse_response(&payload).is_ok());
}

#[test]
fn what_prost_decodes_is_within_the_estimate() {
    let certs = vec![ZCert { cert: vec![7; 100], ..ZCert::default() }; 33];
    let payload = prost::Message::encode_to_vec(&ZControllerCert { certs });
    let estimate = check(&payload, CONTROLLER_CERT, usize::MAX).unwrap();
    assert!(estimate >= 33 * (size_of::<ZCert>() + 100), "{estimate}");
}

#[test]
fn garbage_does_not_go_unnoticed_by_only_one_of_the_two() {
    let mut seed = 1_u32;
    for _ in 0..20_000 {
        let bytes: Vec<u8> = (0..24)
            .map(|_| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                // Mostly small numbers: keys, lengths.
                (seed >> 24) as u8 & 0x3f
            })
            .collect();
        if <ConfigResponse as prost::Message>::decode(bytes.as_slice()).is_ok() {
            assert!(check(&bytes, CONFIG_RESPONSE, 1 << 20).is_ok(), "{bytes:02x?}");
        }
    }
}
