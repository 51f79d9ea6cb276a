//! An echo request to what lies beyond net's card, and its answer.

/// The hardware address of net's end of every vif. Source: `stubdoms_net_core::vif`.
const NET_MAC: [u8; 6] = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff];
/// What marks our echoes among others.
const IDENT: [u8; 2] = [0x5a, 0xa5];
const ETHERNET: usize = 14;
const IP: usize = 20;
const LENGTH: usize = ETHERNET + IP + 16;

/// The frame with echo request number `number`.
pub(super) fn request(mac: [u8; 6], source: [u8; 4], destination: [u8; 4], number: u8) -> [u8; LENGTH] {
    let mut frame = [0; LENGTH];
    frame[..6].copy_from_slice(&NET_MAC);
    frame[6..12].copy_from_slice(&mac);
    frame[12..14].copy_from_slice(&[8, 0]);
    let packet = &mut frame[ETHERNET..];
    let length = (LENGTH - ETHERNET) as u8;
    packet[..12].copy_from_slice(&[0x45, 0, 0, length, 0, 0, 0, 0, 64, 1, 0, 0]);
    packet[12..16].copy_from_slice(&source);
    packet[16..IP].copy_from_slice(&destination);
    let sum = checksum(&packet[..IP]);
    packet[10..12].copy_from_slice(&sum);
    let echo = &mut packet[IP..];
    echo[..8].copy_from_slice(&[8, 0, 0, 0, IDENT[0], IDENT[1], 0, number]);
    let sum = checksum(echo);
    echo[2..4].copy_from_slice(&sum);
    frame
}

/// Whether this is the answer to echo request number `number`.
pub(super) fn answers(frame: &[u8], number: u8) -> bool {
    let packet = frame.get(ETHERNET..LENGTH).unwrap_or_default();
    packet.get(9) == Some(&1)
        && packet.get(IP) == Some(&0)
        && packet.get(IP + 4..IP + 8) == Some(&[IDENT[0], IDENT[1], 0, number])
}

/// Source: RFC 1071.
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let sum: u32 = bytes.as_chunks::<2>().0.iter().map(|&two| u32::from(u16::from_be_bytes(two))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    (!(folded as u16)).to_be_bytes()
}
