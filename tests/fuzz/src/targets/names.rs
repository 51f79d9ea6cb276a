//! Names that the provisioning knows.

use std::net::Ipv4Addr;
use std::time::Duration;

use stubdoms_web::resolver::Resolver;

/// A hosts file. Each of its words is asked for: what is known of it stands in a line of the file.
pub(super) fn hosts(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut resolver = Resolver::default();
    let bad = resolver.set_hosts(&text);
    assert!(bad <= text.lines().count(), "more bad lines than lines");
    for word in text.split_ascii_whitespace().take(64) {
        let name = word.trim_end_matches('.');
        for address in resolver.known(name, Duration::ZERO).unwrap_or_default() {
            let of_it = |line: &str| {
                let mut words = line.split('#').next().unwrap_or("").split_ascii_whitespace();
                words.next().is_some_and(|first| first.parse() == Ok(address))
                    && words.any(|word| word.trim_end_matches('.').eq_ignore_ascii_case(name))
            };
            assert!(text.lines().any(of_it), "{name} is nowhere at {address}");
        }
    }
    // The same, written out, is understood without a bad line.
    let known: String = text
        .split_ascii_whitespace()
        .filter(|word| !word.contains('#'))
        .filter_map(|word| Some(format!("{} {word}\n", resolver.known(word, Duration::ZERO)?.first()?)))
        .collect();
    assert_eq!(resolver.set_hosts(&known), 0, "{known}");
}

pub(super) fn files() -> Vec<Vec<u8>> {
    let servers = format!("{} zed.example zed # the controller\n\n# none\n", Ipv4Addr::new(10, 0, 2, 2));
    vec![servers.into(), b"10.0.2.2\nfe80::1 six\n300.1.1.1 no\n 192.0.2.1\tA.example. a\r\n".to_vec()]
}
