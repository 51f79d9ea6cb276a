//! A vault with a TPM, in this process: keys of p256, a `TPMS_ATTEST` made by hand. Stricter than the real one: it
//! answers only what a vault may be asked, and panics at the rest.

use std::cell::RefCell;
use std::rc::Rc;

use heapless::Vec as Bounded;
use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use p256::ecdsa::{Signature, SigningKey};
use proto_svc::text::clipped;
use proto_svc::vault::{Answer, Escrowed, KeyName, Refusal, Request, Sealing, Status, Tpm as Kind};
use proto_tpm::eventlog::{Event, emit_header, kind, reset_values};
use ring::digest::{SHA256, digest};

/// The TPM and the vault's state, which outlive a boot.
pub(crate) struct Tpm {
    device: SigningKey,
    quote: SigningKey,
    ecdh: SigningKey,
    pub(crate) note: Vec<u8>,
    pub(crate) log: Vec<u8>,
    pcrs: [[u8; 32]; 24],
    pub(crate) sealing: Sealing,
    /// What was given back.
    pub(crate) recovered: Vec<Escrowed>,
}

pub(crate) type Shared = Rc<RefCell<Tpm>>;

fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest(&SHA256, bytes).as_ref().try_into().expect("32 bytes")
}

fn raw(key: &SigningKey, digest: &[u8; 32]) -> [u8; 64] {
    let signature: Signature = key.sign_prehash(digest).expect("it signs");
    signature.to_bytes().into()
}

fn halves(signature: [u8; 64]) -> ([u8; 32], [u8; 32]) {
    (signature[..32].try_into().expect("32"), signature[32..].try_into().expect("32"))
}

impl Tpm {
    pub(crate) fn new() -> Shared {
        let key = |byte| SigningKey::from_slice(&[byte; 32]).expect("a key");
        let mut tpm = Self {
            device: key(1),
            quote: key(2),
            ecdh: key(3),
            note: Vec::new(),
            log: Vec::new(),
            pcrs: reset_values(),
            sealing: Sealing::Open,
            recovered: Vec::new(),
        };
        tpm.boot(&[]);
        Rc::new(RefCell::new(tpm))
    }

    /// Starts the machine: what it always measures, and `changed` in place of an image's bytes.
    pub(crate) fn boot(&mut self, changed: &[(&str, &[u8])]) {
        self.pcrs = reset_values();
        self.log = vec![0; 4096];
        let mut length = emit_header(&mut self.log).expect("room");
        for (pcr, name) in [
            (0, "firmware"),
            (4, "selector"),
            (13, "sarsen table"),
            (13, "sarsen image net"),
            (13, "sarsen image control"),
        ] {
            let bytes =
                changed.iter().find(|(of, _)| *of == name).map_or(name.as_bytes(), |(_, bytes)| bytes);
            let digest = sha256(bytes);
            let value: &mut [u8; 32] = &mut self.pcrs[pcr as usize];
            *value = sha256(&[*value, digest].concat());
            let event = Event { pcr, kind: kind::IPL, sha256: Some(digest), data: name.as_bytes() };
            length += event.emit(&mut self.log[length..]).expect("room");
        }
        self.log.truncate(length);
    }

    pub(crate) fn sign(&self, digest: &[u8; 32]) -> [u8; 64] {
        raw(&self.device, digest)
    }

    fn attest(&self, nonce: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(0xff54_4347_u32.to_be_bytes());
        out.extend(0x8018_u16.to_be_bytes());
        let name = [[0, 0x0b].as_slice(), &sha256(b"quote key")].concat();
        out.extend((name.len() as u16).to_be_bytes());
        out.extend(name);
        out.extend((nonce.len() as u16).to_be_bytes());
        out.extend(nonce);
        out.extend([0; 8 + 4 + 4 + 1 + 8]);
        out.extend(1_u32.to_be_bytes());
        out.extend(0x000b_u16.to_be_bytes());
        out.extend([3, 0xff, 0xff, 0]);
        out.extend(32_u16.to_be_bytes());
        out.extend(sha256(&self.pcrs[..16].concat()));
        out
    }

    fn public(&self, name: KeyName) -> Answer {
        let key = match name {
            KeyName::Device => &self.device,
            KeyName::Quote => &self.quote,
            KeyName::Ecdh => &self.ecdh,
            KeyName::Endorsement => {
                let key = Bounded::from_slice(&[0xc5; 256]).expect("fits");
                return Answer::Public { key, tpm: Bounded::from_slice(b"public area").expect("fits") };
            }
        };
        let point = key.verifying_key().to_sec1_point(false);
        let key = Bounded::from_slice(point.as_bytes()).expect("fits");
        Answer::Public { key, tpm: Bounded::from_slice(b"public area").expect("fits") }
    }

    fn escrowed() -> Escrowed {
        Escrowed { encrypted: Bounded::from_slice(&[0x5a; 32]).expect("fits"), digest: sha256(b"the key") }
    }

    /// Answers as the vault does.
    pub(crate) fn answer(&mut self, request: Request) -> Answer {
        let refused = |refusal| Answer::Refused { refusal, reason: clipped("a double's") };
        match request {
            Request::Status => Answer::Status(Status {
                tpm: Kind::Ready,
                about: clipped("a double of a TPM"),
                sealing: self.sealing,
                reason: clipped("the measurements differ"),
                changed: 1 << 13,
                writes_refused: 0,
            }),
            Request::Public(name) => self.public(name),
            Request::Kept => Answer::Kept { note: Bounded::from_slice(&self.note).expect("fits") },
            Request::Keep { note } => {
                self.note = note.to_vec();
                Answer::Done
            }
            Request::Quote { nonce } => {
                let attest = self.attest(&nonce);
                let (r, s) = halves(raw(&self.quote, &sha256(&attest)));
                Answer::Quote { attest: Bounded::from_slice(&attest).expect("fits"), r, s }
            }
            Request::Pcrs => Answer::Pcrs(Bounded::from_slice(&self.pcrs).expect("fits")),
            Request::Escrow if self.sealing == Sealing::Locked => refused(Refusal::Locked),
            Request::Escrow => Answer::Escrow(Self::escrowed()),
            Request::Recover(key) => {
                assert_eq!(self.sealing, Sealing::Locked, "a key for a storage that is open");
                self.recovered.push(key.clone());
                if key != Self::escrowed() {
                    return refused(Refusal::Escrow);
                }
                self.sealing = Sealing::Open;
                Answer::Done
            }
            other => panic!("{other:?}"),
        }
    }
}
