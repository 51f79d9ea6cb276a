use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};

/// Reads lines `address name [name…]`, with comments behind `#`. Also says how many lines made no sense.
pub(super) fn parse(text: &str) -> (Vec<(String, Ipv4Addr)>, usize) {
    let (mut hosts, mut bad) = (Vec::new(), 0);
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or("").split_ascii_whitespace();
        let Some(address) = words.next() else { continue };
        let mut names = words.peekable();
        match address.parse() {
            Ok(_) if names.peek().is_none() => bad += 1,
            Ok(IpAddr::V4(address)) => {
                hosts.extend(names.map(|name| (name.trim_end_matches('.').into(), address)));
            }
            Ok(IpAddr::V6(_)) => {}
            Err(_) => bad += 1,
        }
    }
    (hosts, bad)
}
