//! The signed envelope around every message (`AuthContainer`): opening a device's, sealing our own.
//!
//! A device names its certificate by SHA-256 over DER; the controller names its own by SHA-256 over
//! the exact PEM text that `/certs` delivers. Signatures cover the payload alone.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proto_eve::Message;
use proto_eve::wire::auth::{AuthBody, AuthContainer};
use proto_eve::wire::common::HashAlgorithm;

use crate::key::{Certificate, hex};
use crate::pki::SigningKey;
use crate::refusal::Refusal;

/// A container whose outer shape is right, before its sender is looked up.
pub(crate) struct Unverified {
    pub(crate) payload: Vec<u8>,
    pub(crate) sender: [u8; 32],
    signature: Vec<u8>,
    sender_cert: Vec<u8>,
}

impl Unverified {
    /// Reads the container and checks everything that does not need the sender's key.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let container = AuthContainer::decode(body)
            .map_err(|fault| Refusal::message(format!("the body is no AuthContainer: {fault}")))?;
        let Some(AuthBody { payload }) = container.protected_payload else {
            return Err(Refusal::message("the AuthContainer has no protectedPayload"));
        };
        if container.algo != HashAlgorithm::Sha25632bytes as i32 {
            return Err(Refusal::message(format!("algo is {}, a device uses 2", container.algo)));
        }
        let sender = <[u8; 32]>::try_from(container.sender_cert_hash.as_slice()).map_err(|_| {
            let have = container.sender_cert_hash.len();
            Refusal::violation(401, format!("senderCertHash has {have} bytes instead of 32"))
        })?;
        if container.cipher_context.is_some() || container.cipher_data.is_some() {
            return Err(Refusal::message("a device does not encrypt its containers"));
        }
        Ok(Self { payload, sender, signature: container.signature_hash, sender_cert: container.sender_cert })
    }

    /// The payload, if `certificate` signed it and the container carries no certificate of its own.
    pub(crate) fn open(self, certificate: &Certificate) -> Result<Vec<u8>, Refusal> {
        if !self.sender_cert.is_empty() {
            return Err(Refusal::message("senderCert is for register alone"));
        }
        self.check(certificate)?;
        Ok(self.payload)
    }

    /// The certificate that `register` carries: base64 of its PEM text.
    pub(crate) fn carried_certificate(&self) -> Result<Certificate, Refusal> {
        let pem = STANDARD
            .decode(&self.sender_cert)
            .map_err(|fault| Refusal::message(format!("senderCert is no base64: {fault}")))?;
        let certificate =
            Certificate::from_pem(&pem).map_err(|fault| Refusal::message(format!("senderCert: {fault}")))?;
        if certificate.der_hash() != self.sender {
            return Err(Refusal::violation(401, "senderCertHash is not SHA-256 over the DER of senderCert"));
        }
        Ok(certificate)
    }

    /// Checks the signature against `certificate`.
    pub(crate) fn check(&self, certificate: &Certificate) -> Result<(), Refusal> {
        certificate.check_envelope(&self.payload, &self.signature).map_err(|_| {
            let length = self.signature.len();
            let hint = match self.signature.first() {
                Some(0x30) if length > 64 => " (it looks like ASN.1; raw r and s are wanted)",
                _ => "",
            };
            Refusal::violation(401, format!("the signature of {length} bytes does not verify{hint}"))
        })
    }

    /// The sender's certificate hash as text for the log.
    pub(crate) fn sender_hex(&self) -> String {
        hex(&self.sender)
    }
}

/// Wraps and signs an answer.
pub(crate) fn seal(payload: Vec<u8>, key: &SigningKey) -> Vec<u8> {
    let signature = key.sign(&payload);
    AuthContainer {
        protected_payload: Some(AuthBody { payload }),
        algo: HashAlgorithm::Sha25632bytes as i32,
        sender_cert_hash: key.pem_hash().to_vec(),
        signature_hash: signature,
        ..AuthContainer::default()
    }
    .encode_to_vec()
}
