//! Secrets that a configuration carries, opened before it is applied.
//!
//! The key of a secret comes from a point that the vault shares with a certificate of the controller. A
//! configuration whose points are not there yet waits for them; one whose secrets cannot be opened is applied with
//! what it says in the clear, and the objects say what they miss.

use alloc::{boxed::Box, collections::BTreeMap, string::String, vec::Vec};

use proto_errors::agent as code;
use proto_eve::{
    certs::ControllerCerts,
    cipher::{self, CipherError},
    wire::{
        common::{CipherBlock, CipherContext, EncryptionBlock},
        config::EdgeDevConfig,
    },
};

use crate::{
    clock::WallTime,
    report::ciphers::{Ciphers, Clear, Outcome, Owner},
};

/// Points that are remembered; a configuration names one or two certificates.
const MAX_POINTS: usize = 8;

/// X and Y of a point; none if the vault refused it.
type Point = Option<([u8; 32], [u8; 32])>;

/// What makes keys of secrets, and the configuration that waits for some of it.
#[derive(Debug, Default)]
pub(crate) struct Secrets {
    /// By the controller's point.
    points: BTreeMap<Vec<u8>, Point>,
    waiting: Option<Box<EdgeDevConfig>>,
    /// How often secrets could be opened.
    pub(crate) ciphers: Ciphers,
}

/// Who can open secrets.
#[derive(Clone, Copy)]
pub(crate) struct Openers<'a> {
    /// The controller's certificates.
    pub(crate) controller: Option<&'a ControllerCerts>,
    /// The device's certificate for secrets, PEM; none if it has no key for them.
    pub(crate) device: Option<&'a [u8]>,
}

impl Secrets {
    /// The controller's points that the vault has to agree on before this configuration can be opened.
    pub(crate) fn missing(&self, config: &EdgeDevConfig, by: Openers<'_>) -> Vec<Vec<u8>> {
        let mut missing = Vec::new();
        for block in blocks(config) {
            let Ok(point) = point_of(&config.cipher_contexts, block, by) else { continue };
            let known = self.points.contains_key(point) || missing.iter().any(|known| known == point);
            if !known && missing.len() < MAX_POINTS {
                missing.push(point.to_vec());
            }
        }
        missing
    }

    /// Holds a configuration until its points are there; the one before is dropped.
    pub(crate) fn hold(&mut self, config: Box<EdgeDevConfig>) {
        self.waiting = Some(config);
    }

    /// The vault has agreed on a point, or not. Gives back what waited for it.
    pub(crate) fn on_point(&mut self, peer: Vec<u8>, point: Point) -> Option<Box<EdgeDevConfig>> {
        if self.points.len() >= MAX_POINTS {
            self.points.clear();
        }
        self.points.insert(peer, point);
        self.waiting.take()
    }

    /// Puts what is encrypted in place of what is in the clear. A secret that cannot be opened stays encrypted. Counts
    /// what became of each.
    pub(crate) fn open(&mut self, config: &mut EdgeDevConfig, by: Openers<'_>, at: Option<WallTime>) {
        let contexts = core::mem::take(&mut config.cipher_contexts);
        for store in &mut config.datastores {
            let clear = Clear::of(&[&store.api_key, &store.password]);
            let opened = self.block(&contexts, &mut store.cipher_data, by, &store.id);
            self.ciphers.count(Owner::Datastore, outcome(&opened, clear), at);
            let Some(Ok(opened)) = opened else { continue };
            store.api_key = opened.ds_api_key;
            store.password = opened.ds_password;
        }
        for app in &mut config.apps {
            let id = app.uuidandversion.as_ref().map_or("", |id| id.uuid.as_str());
            let clear = Clear::of(&[&app.user_data]);
            let opened = self.block(&contexts, &mut app.cipher_data, by, id);
            self.ciphers.count(Owner::App, outcome(&opened, clear), at);
            let Some(Ok(opened)) = opened else { continue };
            app.user_data = opened.protected_user_data;
        }
        config.cipher_contexts = contexts;
        // An answer of the vault that it refused is asked for again with the next configuration.
        self.points.retain(|_, point| point.is_some());
    }

    /// What is in a block; none if there is no block.
    fn block(
        &self,
        contexts: &[CipherContext],
        block: &mut Option<CipherBlock>,
        by: Openers<'_>,
        owner: &str,
    ) -> Option<Result<EncryptionBlock, CipherError>> {
        let encrypted = block.as_ref()?;
        let opened = point_of(contexts, encrypted, by).and_then(|point| {
            let (x, y) = self.points.get(point).copied().flatten().ok_or(CipherError::NoKey)?;
            cipher::open(encrypted, &x, &y)
        });
        match &opened {
            Ok(_) => *block = None,
            Err(error) => {
                let owner: String = owner.chars().filter(|c| !c.is_control()).take(64).collect();
                log::warn!("configuration: a secret of {owner}: {error} [{}]", code::SECRET);
            }
        }
        Some(opened)
    }
}

fn outcome(opened: &Option<Result<EncryptionBlock, CipherError>>, clear: Clear) -> Outcome {
    match opened {
        Some(Ok(_)) => Outcome::Opened,
        Some(Err(error)) => Outcome::Closed(*error, clear),
        None => Outcome::NoCipher(clear),
    }
}

/// The encrypted blocks that are looked at.
fn blocks(config: &EdgeDevConfig) -> impl Iterator<Item = &CipherBlock> {
    let stores = config.datastores.iter().filter_map(|store| store.cipher_data.as_ref());
    stores.chain(config.apps.iter().filter_map(|app| app.cipher_data.as_ref()))
}

/// The controller's point for a block, if its context is one that we can use.
fn point_of<'a>(
    contexts: &[CipherContext],
    block: &CipherBlock,
    by: Openers<'a>,
) -> Result<&'a [u8], CipherError> {
    let context = cipher::context(contexts, block)?;
    let device = by.device.ok_or(CipherError::DeviceCert)?;
    if !cipher::names(&context.device_cert_hash, device) {
        return Err(CipherError::DeviceCert);
    }
    let point = by.controller.and_then(|certs| certs.exchange_point(&context.controller_cert_hash));
    point.ok_or(CipherError::ControllerCert)
}
