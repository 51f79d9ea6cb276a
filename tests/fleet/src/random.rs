//! What is random on the machine and in its network, by the seed of the story: the numbers that control draws, and
//! those of TLS at both ends. So a story goes the same way each time.

use std::cell::RefCell;

use rustls::{
    Error, NamedGroup, PeerMisbehaved,
    crypto::{
        ActiveKeyExchange, CryptoProvider, GetRandomFailed, SecureRandom, SharedSecret, SupportedKxGroup,
    },
};
use stubdoms_web::tls;
use tests_fakexen::Rng;
use x25519_dalek::{X25519_BASEPOINT_BYTES, x25519};

thread_local! {
    static NUMBERS: RefCell<Rng> = const { RefCell::new(Rng::new(0)) };
}

/// Begins the numbers of `seed`, on this thread.
pub fn begin(seed: u64) {
    NUMBERS.set(Rng::new(seed));
}

/// Fills a buffer.
pub fn fill(bytes: &mut [u8]) {
    NUMBERS.with_borrow_mut(|numbers| bytes.fill_with(|| numbers.next_u64() as u8));
}

/// A number below `bound`, which is none if that is 0.
pub fn below(bound: usize) -> usize {
    NUMBERS.with_borrow_mut(|numbers| numbers.below(bound))
}

/// The primitives of control's TLS, with these numbers.
#[must_use]
pub fn provider() -> CryptoProvider {
    CryptoProvider { kx_groups: vec![&Exchange], secure_random: &Numbers, ..tls::provider() }
}

#[derive(Debug)]
struct Numbers;

impl SecureRandom for Numbers {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), GetRandomFailed> {
        fill(bytes);
        Ok(())
    }
}

/// X25519 with a key from these numbers.
#[derive(Debug)]
struct Exchange;

struct Under {
    secret: [u8; 32],
    public: [u8; 32],
}

impl SupportedKxGroup for Exchange {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let mut secret = [0; 32];
        fill(&mut secret);
        Ok(Box::new(Under { secret, public: x25519(secret, X25519_BASEPOINT_BYTES) }))
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

impl ActiveKeyExchange for Under {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        let peer = peer.try_into().map_err(|_| Error::from(PeerMisbehaved::InvalidKeyShare))?;
        Ok(SharedSecret::from(x25519(self.secret, peer).as_slice()))
    }

    fn pub_key(&self) -> &[u8] {
        &self.public
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}
