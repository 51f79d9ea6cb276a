//! Commands, sessions and policies against a software TPM.

use proto_tpm::{
    command::{self, Command, SessionKind},
    ids::{Code, Handle, capability, property},
    key::{Key, Public, Role, name},
    pcr::{self, Selection, Values},
    policy,
    quote::Quoted,
    rc::ResponseCode,
    response::{self, Failure},
    session::{self, Encrypted, Seeds, Session},
};
use tests_swtpm::Swtpm;

struct Bench {
    tpm: Swtpm,
    counter: u8,
}

impl Bench {
    fn new() -> Self {
        let mut bench = Self { tpm: Swtpm::new(), counter: 0 };
        response::nothing(&bench.plain(command::startup()).unwrap().1).unwrap();
        bench
    }

    fn open(code: Code, answer: &[u8]) -> Result<(Option<Handle>, Vec<u8>), Failure> {
        let answer = response::open(code, answer)?;
        Ok((answer.handle, answer.parameters.to_vec()))
    }

    fn plain(&mut self, command: Command) -> Result<(Option<Handle>, Vec<u8>), Failure> {
        Self::open(command.code(), &self.tpm.transact(command.plain().as_slice()))
    }

    fn with_password(
        &mut self,
        command: Command,
        password: &[u8],
    ) -> Result<(Option<Handle>, Vec<u8>), Failure> {
        Self::open(command.code(), &self.tpm.transact(command.with_password(password).as_slice()))
    }

    fn fresh(&mut self) -> [u8; 32] {
        self.counter += 1;
        [self.counter; 32]
    }

    /// A key at its handle.
    fn key(&mut self, role: Role, authorization: &[u8]) {
        let (handle, parameters) =
            self.with_password(command::create_primary(role, authorization), &[]).unwrap();
        assert!(role.fits(&response::created_primary(&parameters).unwrap()));
        let handle = handle.unwrap();
        self.with_password(command::evict_control(handle, role.handle()), &[]).unwrap();
        self.plain(command::flush_context(handle)).unwrap();
    }

    fn session(&mut self, kind: SessionKind) -> Session {
        let (_, parameters) = self.plain(command::read_public(Role::Storage.handle())).unwrap();
        let Key::Rsa2048(modulus) = response::public(&parameters).unwrap().key else {
            panic!("not an RSA key")
        };
        let seeds = Seeds { salt: self.fresh(), oaep: self.fresh(), nonce: self.fresh() };
        let (command, starting) = session::start(kind, Role::Storage.handle(), modulus, &seeds).unwrap();
        starting.started(&self.tpm.transact(command.plain().as_slice())).unwrap()
    }

    fn values(&mut self) -> Values {
        let mut left = Selection::ALL;
        let mut values = pcr::Values::default();
        while !left.is_empty() {
            let (_, parameters) = self.plain(command::pcr_read(left)).unwrap();
            let read = response::pcrs(&parameters).unwrap();
            for (pcr, value) in read.selection.iter().zip(read.values) {
                values[pcr] = value;
            }
            left = left.without(read.selection);
        }
        values
    }
}

#[test]
fn capabilities_tell_family_and_bank() {
    let mut bench = Bench::new();
    bench.plain(command::self_test()).unwrap();
    let asked = command::get_capability(capability::PROPERTIES, property::FAMILY_INDICATOR, 16);
    let (_, parameters) = bench.plain(asked).unwrap();
    let properties = response::properties(&parameters).unwrap();
    let family = properties.iter().find(|(number, _)| *number == property::FAMILY_INDICATOR).unwrap();
    assert_eq!(family.1.to_be_bytes(), *b"2.0\0");
    let (_, parameters) = bench.plain(command::get_capability(capability::PCRS, 0, 16)).unwrap();
    assert_eq!(response::sha256_bank(&parameters), Ok(Selection::ALL));
    let (_, parameters) = bench.plain(command::get_test_result()).unwrap();
    assert_eq!(response::test_result(&parameters), Ok(ResponseCode::SUCCESS));
    let (_, parameters) = bench.plain(command::get_random(32)).unwrap();
    assert_ne!(response::random::<32>(&parameters).unwrap(), [0; 32]);
}

#[test]
fn keys_are_made_at_their_handles_and_used() {
    let mut bench = Bench::new();
    for role in Role::ALL {
        let missing = bench.plain(command::read_public(role.handle())).unwrap_err();
        assert!(matches!(missing, Failure::Code(code) if code.base() == ResponseCode::HANDLE), "{missing}");
        let authorization: &[u8] = if role == Role::Device { b"1234567" } else { b"" };
        bench.key(role, authorization);
        let (_, parameters) = bench.plain(command::read_public(role.handle())).unwrap();
        assert!(role.fits(&response::public(&parameters).unwrap()), "{role:?}");
    }
    let (_, parameters) = bench.plain(command::get_capability(capability::HANDLES, 0x8100_0000, 32)).unwrap();
    assert_eq!(response::handles(&parameters).unwrap().len(), Role::ALL.len());

    let sign = || command::sign(Role::Device.handle(), &[7; 32]);
    let (_, parameters) = bench.with_password(sign(), b"1234567").unwrap();
    response::signature(&parameters).unwrap();
    assert!(matches!(bench.with_password(sign(), b"7654321"), Err(Failure::Code(_))));

    // a·(b·G) = b·(a·G): the device's key and the ECDH key agree.
    let mut point = |key: Role, password: &[u8], peer: Role| {
        let (_, parameters) = bench.plain(command::read_public(peer.handle())).unwrap();
        let Key::P256(x, y) = response::public(&parameters).unwrap().key else { panic!("not of P-256") };
        let command = command::ecdh_zgen(key.handle(), &x, &y);
        response::point(&bench.with_password(command, password).unwrap().1).unwrap()
    };
    assert_eq!(point(Role::Ecdh, b"", Role::Device), point(Role::Device, b"1234567", Role::Ecdh));
}

#[test]
fn a_quote_attests_the_values_that_are_read() {
    let mut bench = Bench::new();
    bench.key(Role::Quote, b"");
    let before = bench.values();
    bench.with_password(command::pcr_extend(13, &[9; 32]), &[]).unwrap();
    let values = bench.values();
    assert_eq!(values[13], pcr::extended(&before[13], &[9; 32]));
    let selection = Selection::from_bits(0xffff);
    let command = command::quote(Role::Quote.handle(), b"a nonce", selection);
    let (_, parameters) = bench.with_password(command, &[]).unwrap();
    let (attested, _) = response::quote(&parameters).unwrap();
    let quoted = Quoted::parse(attested).unwrap();
    assert_eq!((quoted.nonce, quoted.selection), (&b"a nonce"[..], selection));
    assert_eq!(quoted.digest, pcr::composite(selection, &values));
}

#[test]
fn what_is_sealed_opens_under_its_policy_and_under_no_other() {
    let mut bench = Bench::new();
    bench.key(Role::Storage, b"");
    let selection = Selection::from_bits(1 << 4 | 1 << 13);
    let policy = policy::pcr(selection, &bench.values());
    let (_, parameters) = bench.plain(command::read_public(Role::Storage.handle())).unwrap();
    let parent: [u8; 34] = response::public(&parameters).unwrap().name();

    let mut session = bench.session(SessionKind::Hmac);
    let secret = [0x5a; 32];
    let command = command::create_sealed(Role::Storage.handle(), &secret, &policy);
    let nonce = bench.fresh();
    let frame = session.authorize(command, &parent, Encrypted::Command, nonce);
    assert!(!frame.as_slice().windows(8).any(|window| window == [0x5a; 8]), "the secret is on the bus");
    let answer = bench.tpm.transact(frame.as_slice());
    let parameters = session.verify(Code::Create, Encrypted::Command, &answer).unwrap();
    let (private, public) = response::created(parameters.as_slice()).unwrap();
    assert!(Public::parse(public).is_err(), "it is no key");

    let unseal = |bench: &mut Bench| {
        let command = command::load(Role::Storage.handle(), private, public);
        let (object, parameters) = bench.with_password(command, &[]).unwrap();
        response::loaded(&parameters, public).unwrap();
        let mut session = bench.session(SessionKind::Policy);
        bench.plain(command::policy_pcr(session.handle(), selection)).unwrap();
        let command = command::unseal(object.unwrap());
        let nonce = bench.fresh();
        let frame = session.authorize(command, &name(public), Encrypted::Answer, nonce);
        let answer = bench.tpm.transact(frame.as_slice());
        assert!(!answer.windows(8).any(|window| window == [0x5a; 8]), "the secret is on the bus");
        let (handle, opened) = (session.handle(), session.verify(Code::Unseal, Encrypted::Answer, &answer));
        if opened.is_err() {
            bench.plain(command::flush_context(handle)).unwrap();
        }
        bench.plain(command::flush_context(object.unwrap())).unwrap();
        opened.map(|parameters| *response::unsealed(parameters.as_slice()).unwrap())
    };
    assert_eq!(unseal(&mut bench), Ok(secret));
    // Another PCR does not matter; one of the policy's does.
    bench.with_password(command::pcr_extend(14, &[1; 32]), &[]).unwrap();
    assert_eq!(unseal(&mut bench), Ok(secret));
    bench.with_password(command::pcr_extend(13, &[1; 32]), &[]).unwrap();
    let refused = unseal(&mut bench).unwrap_err();
    assert!(matches!(refused, Failure::Code(code) if code.base() == ResponseCode::POLICY_FAIL), "{refused}");
}

#[test]
fn an_answer_that_was_changed_is_forged() {
    let mut bench = Bench::new();
    bench.key(Role::Storage, b"");
    let (_, parameters) = bench.plain(command::read_public(Role::Storage.handle())).unwrap();
    let parent = response::public(&parameters).unwrap().name();
    for flipped in [20, 80, 300] {
        let mut session = bench.session(SessionKind::Hmac);
        let command = command::create_sealed(Role::Storage.handle(), &[1; 32], &[2; 32]);
        let nonce = bench.fresh();
        let frame = session.authorize(command, &parent, Encrypted::Command, nonce);
        let mut answer = bench.tpm.transact(frame.as_slice());
        answer[flipped] ^= 1;
        let verified = session.verify(Code::Create, Encrypted::Command, &answer).map(|_| ());
        assert_eq!(verified, Err(Failure::Forged));
    }
}

#[test]
fn an_nv_index_keeps_what_was_written() {
    let mut bench = Bench::new();
    let index = Handle(0x0160_0000);
    let missing = bench.plain(command::nv_read_public(index)).unwrap_err();
    assert!(matches!(missing, Failure::Code(code) if code.base() == ResponseCode::HANDLE));
    bench.with_password(command::nv_define(index, 36), &[]).unwrap();
    bench.with_password(command::nv_write(index, &[b'u'; 36]), &[]).unwrap();
    bench.tpm.reset();
    bench.plain(command::startup()).unwrap();
    let (_, parameters) = bench.plain(command::nv_read_public(index)).unwrap();
    assert_eq!(response::nv_public(&parameters).unwrap().1, 36);
    let (_, parameters) = bench.with_password(command::nv_read(index, 36), &[]).unwrap();
    assert_eq!(response::nv_bytes(&parameters).unwrap(), [b'u'; 36]);
}
