//! The vault domain of a world: the real logic of it on a software TPM, and the storage's side of the channel
//! `sealing`. Firmware measures the version that is started.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    pin::pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use proto_svc::{
    measure,
    sealing::{FromVault, MAX_KEPT, MAX_SEALED, ToVault},
    vault::{Answer, Request},
};
use proto_tpm::{command, ids::Code, wire::MAX_RESPONSE};
use sha2::{Digest, Sha256};
use stubdoms_agent::{Agent, DigestSigner, Now, VaultEvent};
use stubdoms_vault_core::{
    record::{Clear, Sealed},
    tpm::{NoAnswer, Random, Tpm},
    vault::Vault as Core,
};
use tests_swtpm::Swtpm;

use super::storage::Storage;

/// The TPM, and the command that it answers with a code instead.
struct Chip {
    tpm: RefCell<Swtpm>,
    refuses: Cell<Option<(Code, u32)>>,
}

struct Wire(Rc<Chip>);

impl Tpm for Wire {
    async fn transact(
        &mut self,
        bytes: &[u8],
        _patience: Duration,
        answer: &mut [u8; MAX_RESPONSE],
    ) -> Result<usize, NoAnswer> {
        let code = u32::from_be_bytes(bytes[6..10].try_into().unwrap());
        let answered = match self.0.refuses.get() {
            Some((refused, rc)) if refused.number() == code => {
                [&[0x80, 1, 0, 0, 0, 10][..], &rc.to_be_bytes()].concat()
            }
            _ => self.0.tpm.borrow_mut().transact(bytes),
        };
        answer[..answered.len()].copy_from_slice(&answered);
        Ok(answered.len())
    }

    async fn pause(&mut self, _time: Duration) {}
}

/// Not random at all, but never the same.
struct Counting(u64);

impl Random for Counting {
    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(32) {
            self.0 += 1;
            chunk.copy_from_slice(&Sha256::digest(self.0.to_be_bytes())[..chunk.len()]);
        }
    }
}

type Life = Core<Wire, Counting>;

/// Nothing in a life waits: the TPM answers at once.
fn run<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("a life waits"),
    }
}

pub struct Vault {
    chip: Rc<Chip>,
    life: Rc<RefCell<Life>>,
    now: Rc<Cell<Duration>>,
    lives: u64,
    sealed: heapless::Vec<u8, MAX_SEALED>,
    kept: heapless::Vec<u8, MAX_KEPT>,
    /// The key by which what is stored was written.
    key: Option<[u8; 32]>,
    /// How often the storage was begun anew.
    pub fresh: u32,
    /// What dom0 says of the provisioning.
    pub may_start_anew: bool,
}

impl Vault {
    pub fn new() -> Self {
        let chip = Rc::new(Chip { tpm: RefCell::new(Swtpm::new()), refuses: Cell::new(None) });
        let life = Rc::new(RefCell::new(Core::new(Some(Wire(chip.clone())), Counting(0))));
        let now = Rc::default();
        let (sealed, kept) = Default::default();
        Self { chip, life, now, lives: 0, sealed, kept, key: None, fresh: 0, may_start_anew: false }
    }

    /// The TPM answers this command with this code from now on.
    pub fn refuse(&self, refuses: Option<(Code, u32)>) {
        self.chip.refuses.set(refuses);
    }

    /// Somebody who has the disk puts there a record as it is made without a TPM.
    pub fn plant(&mut self, key: [u8; 32]) {
        self.sealed = Sealed::Clear(Clear { key, note: heapless::Vec::new() }).emit();
    }

    /// Signs as control's shell has it done.
    pub fn signer(&self) -> DigestSigner {
        let (life, now) = (self.life.clone(), self.now.clone());
        Rc::new(move |digest| {
            match run(life.borrow_mut().control(now.get(), Request::Sign { digest: *digest })) {
                Answer::Signature(r, s) => Some([r, s].concat().try_into().unwrap()),
                _ => None,
            }
        })
    }

    /// The machine starts this version, which is measured.
    pub fn boot(&mut self, version: &str) {
        let mut tpm = self.chip.tpm.borrow_mut();
        tpm.reset();
        tpm.transact(command::startup().plain().as_slice());
        let program: [u8; 32] = Sha256::digest(version).into();
        for (pcr, digest) in [(0, [0x11; 32]), (4, program), (13, program)] {
            tpm.transact(command::pcr_extend(pcr, &digest).with_password(&[]).as_slice());
        }
        drop(tpm);
        self.restart();
    }

    /// Another life of the domain.
    pub fn restart(&mut self) {
        self.lives += 1;
        let mut life: Life = Core::new(Some(Wire(self.chip.clone())), Counting(self.lives << 32));
        let may_start_anew = self.may_start_anew;
        run(life.measure(Duration::ZERO, measure::ToVault::Provisioned { may_start_anew }));
        let (sealed, kept) = (self.sealed.clone(), self.kept.clone());
        run(life.storage(Duration::ZERO, ToVault::Open { sealed, kept }));
        *self.life.borrow_mut() = life;
    }

    /// The point that its ECDH key shares with this one.
    pub fn shared(&self, peer: &[u8]) -> ([u8; 32], [u8; 32]) {
        let peer = heapless::Vec::from_slice(peer).unwrap();
        match run(self.life.borrow_mut().control(self.now.get(), Request::Ecdh { peer })) {
            Answer::Shared(x, y) => (x, y),
            other => panic!("{other:?}"),
        }
    }

    /// When it has something to do by itself, in nanoseconds.
    pub fn deadline(&self) -> Option<u64> {
        self.life.borrow().deadline().map(|deadline| deadline.as_nanos().try_into().unwrap())
    }

    /// Serves what is asked, and what is due. Tells whether there was anything.
    pub fn serve(&mut self, agent: &mut Agent, at: Now, storage: &mut Storage) -> bool {
        self.now.set(Duration::from_nanos(at.monotonic_ns));
        let mut any = self.deadline().is_some_and(|deadline| deadline <= at.monotonic_ns);
        if any {
            run(self.life.borrow_mut().complete(self.now.get()));
        }
        any |= self.hear(agent, at, storage);
        while let Some(request) = agent.next_vault_request() {
            any = true;
            let answer = run(self.life.borrow_mut().control(self.now.get(), request));
            agent.on_vault(at, VaultEvent::Answer(answer));
            self.hear(agent, at, storage);
        }
        any
    }

    fn hear(&mut self, agent: &mut Agent, at: Now, storage: &mut Storage) -> bool {
        let was_open = storage.open;
        loop {
            let Some(said) = self.life.borrow_mut().take_for_storage() else { break };
            match said {
                FromVault::Hello { .. } => panic!("the shell greets"),
                FromVault::Keep { sealed, kept, .. } => {
                    (self.sealed, self.kept) = (sealed, kept);
                    run(self.life.borrow_mut().storage(self.now.get(), ToVault::Kept));
                }
                FromVault::Key { key, fresh } => {
                    if fresh {
                        storage.values.clear();
                        self.key = Some(key.0);
                        self.fresh += 1;
                    }
                    assert_eq!(self.key, Some(key.0), "the key is the one of what is stored");
                    storage.open = true;
                }
                FromVault::Locked { .. } => storage.open = false,
            }
        }
        if storage.open != was_open {
            agent.on_storage_changed(at);
        }
        let changed = self.life.borrow_mut().take_changed();
        if changed {
            agent.on_vault(at, VaultEvent::Changed);
        }
        changed || storage.open != was_open
    }
}
