//! The Internet checksum: computed in full, and adjusted when one word changes.
//!
//! Source: RFC 1071; RFC 1624 equation 3 for the adjustment.

use core::net::Ipv4Addr;

use crate::packet::{ETHERNET_HEADER, ETHERTYPE_IPV4, Ethernet, IP_HEADER, Packet, Transport, put_word};

/// Ones' complement sum of `bytes` on top of `start`, not yet inverted.
fn sum(start: u32, bytes: &[u8]) -> u32 {
    let mut total = start;
    let mut words = bytes.chunks_exact(2);
    for word in &mut words {
        // Frames are short: 757 words of 16 bits stay far below 32 bits.
        total = total.wrapping_add(u32::from(u16::from_be_bytes([word[0], word[1]])));
    }
    if let [last] = words.remainder() {
        total = total.wrapping_add(u32::from(*last) << 8);
    }
    total
}

fn fold(mut total: u32) -> u16 {
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    // The loop left 16 bits.
    total as u16
}

/// Checksum of `bytes`. Over bytes that include a right checksum the result is 0.
#[must_use]
pub fn of(bytes: &[u8]) -> u16 {
    !fold(sum(0, bytes))
}

/// Checksum of a TCP or UDP `segment` with the pseudo header that belongs to it.
#[must_use]
pub fn of_segment(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, segment: &[u8]) -> u16 {
    let mut total = sum(0, &source.octets());
    total = sum(total, &destination.octets());
    total = total.wrapping_add(u32::from(protocol));
    // A segment is shorter than a frame.
    total = total.wrapping_add(segment.len() as u32);
    !fold(sum(total, segment))
}

/// What `checksum` becomes when one 16-bit word under it changes from `old` to `new`.
///
/// The first form of the equation (RFC 1141) is wrong for sums of zero; this one is right for all.
#[must_use]
pub fn adjusted(checksum: u16, old: u16, new: u16) -> u16 {
    !fold(u32::from(!checksum) + u32::from(!old) + u32::from(new))
}

/// [`adjusted`] for the two words of an address.
#[must_use]
pub fn adjusted_address(checksum: u16, old: Ipv4Addr, new: Ipv4Addr) -> u16 {
    let ([a, b, c, d], [e, f, g, h]) = (old.octets(), new.octets());
    let checksum = adjusted(checksum, u16::from_be_bytes([a, b]), u16::from_be_bytes([e, f]));
    adjusted(checksum, u16::from_be_bytes([c, d]), u16::from_be_bytes([g, h]))
}

/// Fills in the TCP or UDP checksum of an Ethernet frame whose sender left that to us. A frame that is
/// neither stays as it is; whatever is wrong with it is found later.
pub fn complete(frame: &mut [u8]) {
    let Some((Ethernet { ethertype: ETHERTYPE_IPV4, .. }, payload)) = Ethernet::parse(frame) else {
        return;
    };
    let Ok(packet) = Packet::parse(payload) else {
        return;
    };
    let (protocol, at) = match packet.transport {
        Transport::Tcp { .. } => (6, 16),
        Transport::Udp { .. } => (17, 6),
        Transport::Echo { .. } | Transport::Error(_) => return,
    };
    let Some(segment) = frame
        .get_mut(ETHERNET_HEADER + IP_HEADER..)
        .and_then(|rest| rest.get_mut(..packet.length - IP_HEADER))
    else {
        return;
    };
    put_word(segment, at, 0);
    let sum = of_segment(packet.source, packet.destination, protocol, segment);
    // UDP's zero means "none"; its other form is as right, for TCP too.
    put_word(segment, at, if sum == 0 { 0xffff } else { sum });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The worked example of RFC 1071 §3: the sum is ddf2.
    #[test]
    fn the_printed_example() {
        assert_eq!(of(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
    }

    /// RFC 1624 §4: checksum dd2f, word 5555 becomes 3285, and the result is 0000 and not ffff.
    #[test]
    fn the_corner_of_rfc_1624() {
        assert_eq!(adjusted(0xdd2f, 0x5555, 0x3285), 0x0000);
    }

    proptest! {
        #[test]
        fn adjusting_equals_computing_anew(
            mut words in proptest::collection::vec(any::<u16>(), 1..40), at in any::<prop::sample::Index>(), new: u16,
        ) {
            let bytes = |words: &[u16]| words.iter().flat_map(|w| w.to_be_bytes()).collect::<std::vec::Vec<_>>();
            let before = of(&bytes(&words));
            let at = at.index(words.len());
            let old = core::mem::replace(&mut words[at], new);
            // All zero has two representations; headers are never all zero.
            prop_assume!(words.iter().any(|w| *w != 0) && before != 0xffff);
            prop_assert_eq!(adjusted(before, old, new), of(&bytes(&words)));
        }
    }
}
