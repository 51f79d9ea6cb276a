//! Signatures for Secure Boot: of each program that the firmware is to start, by a key that its owner has the firmware
//! trust.
//!
//! | program | who has the firmware load it |
//! |---|---|
//! | the selector | the firmware itself, from the ESP |
//! | x86_64: GRUB with Xen, dom0 and archive in it | the selector, from memory |
//! | aarch64: Xen | the selector, from memory |
//!
//! `osslsigncode` signs, for of the tools that Debian has it alone takes the time that a signature names: here it is that
//! from which the certificate is valid, so that equal programs stay equal when they are signed.
//!
//! Source: Microsoft, "Windows Authenticode Portable Executable Signature Format"; UEFI 2.10, section 32.2.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use ring::signature::RsaKeyPair;
use x509_parser::pem::parse_x509_pem;

use crate::tool::tool;
use crate::ui::Step;
use crate::{paths, setup};

/// What signs programs.
#[derive(Debug)]
pub struct ProgramKey {
    key: PathBuf,
    certificate: PathBuf,
    /// Seconds since 1970.
    time: i64,
}

impl ProgramKey {
    /// An RSA key and its certificate, both PEM, the key without a passphrase.
    ///
    /// # Errors
    /// When a file is not there or holds something else, or what signs cannot be installed.
    pub fn read(key: &Path, certificate: &Path) -> Result<Self> {
        let text = paths::read_text(key)?;
        ensure!(
            !text.contains("ENCRYPTED"),
            "{0} has a passphrase, and nobody is asked for it: `openssl pkey -in {0} -out FILE` takes it off",
            key.display()
        );
        let public = public(&text).with_context(|| format!("{} is no key for Secure Boot", key.display()))?;
        let time = valid_from(&paths::read(certificate)?, &public)
            .with_context(|| format!("{} is no certificate of {}", certificate.display(), key.display()))?;
        setup::host_tools(&[setup::Host::Osslsigncode])?;
        Ok(Self { key: key.to_owned(), certificate: certificate.to_owned(), time })
    }

    /// The program with a signature at its end, which takes the place of those that it had.
    ///
    /// # Errors
    /// When it is no program.
    pub fn sign(&self, program: &[u8], step: &Step) -> Result<Vec<u8>> {
        let folder = tempfile::tempdir()?;
        let [plain, signed] = ["program.efi", "signed.efi"].map(|name| folder.path().join(name));
        paths::write(&plain, program)?;
        tool("osslsigncode")
            .args(["sign", "-h", "sha256", "-time", &self.time.to_string()])
            .arg("-key")
            .arg(&self.key)
            .arg("-certs")
            .arg(&self.certificate)
            .arg("-in")
            .arg(&plain)
            .arg("-out")
            .arg(&signed)
            .run(step)?;
        paths::read(&signed)
    }
}

/// The public half of a private key.
fn public(text: &str) -> Result<Vec<u8>> {
    let (_, pem) = parse_x509_pem(text.as_bytes()).map_err(|error| anyhow!("it is no PEM: {error}"))?;
    let pair = match pem.label.as_str() {
        "PRIVATE KEY" => RsaKeyPair::from_pkcs8(&pem.contents),
        "RSA PRIVATE KEY" => RsaKeyPair::from_der(&pem.contents),
        other => bail!("it is a {other}, and no private key"),
    };
    // Firmware takes RSA of 2048 bits and more, and nothing else.
    let pair =
        pair.map_err(|error| anyhow!("it is no private key of RSA with 2048 to 4096 bits: {error}"))?;
    Ok(pair.public().as_ref().to_vec())
}

/// From when on the certificate of a public key is valid, in seconds since 1970.
fn valid_from(file: &[u8], public: &[u8]) -> Result<i64> {
    let (_, pem) = parse_x509_pem(file).map_err(|error| anyhow!("it is no PEM: {error}"))?;
    let certificate = pem.parse_x509().map_err(|error| anyhow!("it is a {}: {error}", pem.label))?;
    ensure!(*certificate.public_key().subject_public_key.data == *public, "it is of another key");
    Ok(certificate.validity().not_before.timestamp())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::ui;

    /// A new key of this kind and its certificate, by OpenSSL.
    pub(crate) fn key(folder: &Path, kind: &str) -> (PathBuf, PathBuf) {
        let name = kind.replace(':', "-");
        let [key, certificate] = ["key.pem", "pem"].map(|end| folder.join(format!("{name}.{end}")));
        let words = ["req", "-x509", "-newkey", kind, "-pkeyopt", "ec_paramgen_curve:P-256"];
        let words = if kind == "ec" { &words[..] } else { &words[..4] };
        tool("openssl")
            .args(words)
            .args(["-nodes", "-subj", "/CN=test", "-keyout"])
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .run(&ui::step("test"))
            .unwrap();
        (key, certificate)
    }

    #[test]
    fn what_firmware_would_not_take_is_refused_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let (private, certificate) = key(folder.path(), "rsa:2048");
        let (curve, _) = key(folder.path(), "ec");
        let (short, _) = key(folder.path(), "rsa:1024");
        let (_, other) = key(folder.path(), "rsa:3072");
        let closed = folder.path().join("closed.pem");
        let words = ["pkey", "-aes128", "-passout", "pass:secret", "-in"];
        tool("openssl").args(words).arg(&private).arg("-out").arg(&closed).run(&ui::step("test")).unwrap();
        for (key, certificate, why) in [
            (&certificate, &certificate, "rsa-2048.pem is no key for Secure Boot: it is a CERTIFICATE"),
            (&curve, &certificate, "ec.key.pem is no key for Secure Boot: it is no private key of RSA"),
            (&short, &certificate, "rsa-1024.key.pem is no key for Secure Boot: it is no private key of RSA"),
            (&closed, &certificate, "closed.pem has a passphrase"),
            (&private, &private, "rsa-2048.key.pem: it is a PRIVATE KEY"),
            (&private, &other, "rsa-2048.key.pem: it is of another key"),
        ] {
            let told = format!("{:#}", ProgramKey::read(key, certificate).unwrap_err());
            assert!(told.contains(why), "{told}");
        }
    }
}
