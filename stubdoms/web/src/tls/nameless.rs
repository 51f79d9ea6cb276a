//! A TLS 1.3 server that leaves out its certificate and the proof of its key, and is right in everything else: some
//! clients take that for a full handshake. Written with rustls' primitives after RFC 8446 §7.1.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use rustls::crypto::cipher::{AeadKey, Iv, MessageEncrypter, OutboundChunks, OutboundPlainMessage};

use rustls::crypto::tls13::{HkdfExpander, OkmBlock, expand};
use rustls::{ContentType, ProtocolVersion, SupportedCipherSuite, Tls13CipherSuite};

use super::*;
use crate::test_pki::{NOW, Pki, TestClock};
use crate::url::Host;

const CHACHA20_POLY1305_SHA256: [u8; 2] = [0x13, 0x03];
const X25519: [u8; 2] = [0, 0x1d];

#[test]
fn a_server_without_certificate_and_proof_is_refused() {
    let pki = Pki::new("p256");
    let clock = Arc::new(TestClock(Some(NOW)));
    let config = TlsConfig::new(&[pki.root_pem().as_bytes()], None, clock).unwrap();
    let mut session = Session::new(&config, &Host::parse("zed.example").unwrap()).unwrap();
    let mut hello = Vec::new();
    session.pull(&mut hello);
    let mut server = Nameless::greet(&hello[5..]);
    session.feed(&server.record).unwrap();
    // Nothing is wrong so far: the client can read what is encrypted for it.
    session.feed(&server.encrypt(&[8, 0, 0, 2, 0, 0])).unwrap();
    assert!(!session.is_open());
    let finished = server.finished();
    assert_eq!(session.feed(&server.encrypt(&finished)), Err(TlsError::Protocol));
    assert!(!session.is_open());
    assert_eq!(session.write(b"secret"), Err(TlsError::NotOpen));
}

struct Nameless {
    suite: &'static Tls13CipherSuite,
    /// All messages so far.
    transcript: Vec<u8>,
    record: Vec<u8>,
    traffic: Box<dyn HkdfExpander>,
    encrypter: Box<dyn MessageEncrypter>,
    sequence: u64,
}

impl Nameless {
    /// Answers a ClientHello up to the traffic keys of the handshake.
    fn greet(hello: &[u8]) -> Self {
        let SupportedCipherSuite::Tls13(suite) =
            rustls::crypto::ring::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256
        else {
            unreachable!()
        };
        // Version, random, session id; the key share is found by its group and length.
        let session_id = &hello[38..39 + usize::from(hello[38])];
        let share = hello.windows(4).position(|bytes| bytes == [0, 0x1d, 0, 32]).unwrap() + 4;
        let exchange =
            rustls::crypto::ring::kx_group::X25519.start_and_complete(&hello[share..share + 32]).unwrap();
        let mut extensions = Vec::from([0, 43, 0, 2, 3, 4, 0, 51, 0, 36]);
        extensions.extend(X25519);
        extensions.extend([0, 32]);
        extensions.extend(&exchange.pub_key);
        let mut body = Vec::from([3, 3]);
        body.extend([0x5a; 32]);
        body.extend(session_id);
        body.extend(CHACHA20_POLY1305_SHA256);
        body.extend([0, 0, extensions.len() as u8]);
        body.extend(extensions);
        let mut message = Vec::from([2, 0, 0, body.len() as u8]);
        message.extend(body);
        let transcript = [hello, &message].concat();
        let mut record = Vec::from([22, 3, 3, 0, message.len() as u8]);
        record.extend(message);

        let (hkdf, hash) = (suite.hkdf_provider, suite.common.hash_provider);
        let early = hkdf.extract_from_zero_ikm(None);
        let derived = expand_label(&*early, b"derived", hash.hash(&[]).as_ref());
        let handshake = hkdf.extract_from_secret(Some(&derived), exchange.secret.secret_bytes());
        let traffic = expand_label(&*handshake, b"s hs traffic", hash.hash(&transcript).as_ref());
        let traffic = hkdf.expander_for_okm(&OkmBlock::new(&traffic));
        let key = AeadKey::from(expand_label(&*traffic, b"key", &[]));
        let iv: [u8; 12] = expand(&*traffic, &label(12, b"iv", &[]).each_ref().map(Vec::as_slice));
        let encrypter = suite.aead_alg.encrypter(key, Iv::new(iv));
        Nameless { suite, transcript, record, traffic, encrypter, sequence: 0 }
    }

    fn finished(&self) -> Vec<u8> {
        let key = OkmBlock::new(&expand_label(&*self.traffic, b"finished", &[]));
        let hash = self.suite.common.hash_provider.hash(&self.transcript);
        let proof = self.suite.hkdf_provider.hmac_sign(&key, hash.as_ref());
        [&[20, 0, 0, 32], proof.as_ref()].concat()
    }

    fn encrypt(&mut self, message: &[u8]) -> Vec<u8> {
        self.transcript.extend_from_slice(message);
        let plain = OutboundPlainMessage {
            typ: ContentType::Handshake,
            version: ProtocolVersion::TLSv1_3,
            payload: OutboundChunks::Single(message),
        };
        self.sequence += 1;
        self.encrypter.encrypt(plain, self.sequence - 1).unwrap().encode()
    }
}

fn expand_label(secret: &dyn HkdfExpander, name: &[u8], context: &[u8]) -> [u8; 32] {
    expand(secret, &label(32, name, context).each_ref().map(Vec::as_slice))
}

/// HkdfLabel: length, name and context.
fn label(length: u8, name: &[u8], context: &[u8]) -> [Vec<u8>; 3] {
    let name = [&[6 + name.len() as u8], &b"tls13 "[..], name].concat();
    [Vec::from([0, length]), name, [&[context.len() as u8], context].concat()]
}
