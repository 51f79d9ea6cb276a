//! A TPM: brought up, its keys found or made, its commands as functions.
//!
//! ```text
//!   Startup -> SelfTest -> family, version, SHA-256 bank -> what an earlier life left is dropped
//!           -> each key found at its handle, or made there -> Chip
//! ```
//!
//! A key that lies at one of our handles and is not of our template is somebody's, and is left alone: the vault
//! does not work then, and says so. `Clear` is never sent.

use core::{fmt, fmt::Write as _};

use heapless::String;
use p256::PublicKey;
use proto_svc::vault::MAX_REASON;
use proto_tpm::{
    command::{self, SessionKind},
    ids::{Code, Handle, NvAttributes, capability, kind, property},
    key::{Key, MAX_PUBLIC, MODULUS, Name, Role, name},
    pcr::{self, Selection, Values},
    policy,
    quote::Quoted,
    rc::{Meaning, ResponseCode},
    response::{self, Signature},
    session::{self, Encrypted, Seeds, Session},
    wire::{Bytes, Field, Malformed},
};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use crate::{
    record::SealedByTpm,
    software::{Point, sec1},
    tpm::{Authorization, Link, NoAnswer, Random, Tpm, Trouble, random},
};

/// The PCRs that the storage's key is sealed to: 0 to 4 and 6 to 14. See the crate.
pub const SEALING: Selection = Selection::from_bits(0x7fdf);
/// The PCRs that are quoted: 0 to 15.
pub const QUOTED: Selection = Selection::from_bits(0xffff);

/// Where the device key's credential is, and where the note is: EVE's index for the device's certificate.
const CREDENTIAL: Handle = Handle(0x0160_0000);
const NOTE: Handle = Handle(0x0150_0000);
/// Bytes of a credential: a UUID as text.
const CREDENTIAL_BYTES: usize = 36;
/// How many of them authorize the device's key.
const PASSWORD: usize = 7;
/// Bytes of the note's index: its length, and room for the longest.
const NOTE_BYTES: usize = 2 + proto_svc::vault::MAX_NOTE;
const _: () = assert!(NOTE_BYTES <= command::MAX_NV);
/// `TPM_RC_NV_UNINITIALIZED`: there is such an index, and nothing was written.
const NV_UNINITIALIZED: ResponseCode = ResponseCode(0x14a);

/// Why a TPM is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// A command went wrong.
    Trouble(Trouble),
    /// It has failed its self test.
    FailureMode {
        /// What failed.
        result: ResponseCode,
    },
    /// Its family is not "2.0".
    Family {
        /// What it says.
        family: u32,
    },
    /// It has no bank of SHA-256 with all PCRs.
    Bank {
        /// The PCRs that it has.
        has: u32,
    },
    /// A key that is not ours lies at our handle.
    Foreign {
        /// Which.
        role: Role,
    },
    /// There is a device's key, and no credential to use it.
    Credential,
}

impl From<Trouble> for Unusable {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl Unusable {
    /// Whether there is no TPM at all.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Trouble(Trouble::NoAnswer(NoAnswer::Absent)))
    }
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trouble(trouble) => trouble.fmt(f),
            Self::FailureMode { result } => write!(f, "the TPM has failed its self test: {result}"),
            Self::Family { family } => write!(f, "the TPM is of family {family:#010x}, not 2.0"),
            Self::Bank { has } => write!(f, "the TPM has no SHA-256 bank with all PCRs (it has {has:#08x})"),
            Self::Foreign { role } => {
                write!(f, "the key at {:#x} is not a {role:?} key of ours", role.handle().0)
            }
            Self::Credential => write!(f, "the device's key is there, and its credential is not"),
        }
    }
}

/// What a TPM is, and its public keys.
pub struct Chip {
    /// Manufacturer, model and firmware; a lock-out; whether the start was measured.
    pub about: String<MAX_REASON>,
    /// Whether firmware measured the start.
    pub measured: bool,
    /// The device's public key.
    pub device: Point,
    /// The key that signs quotes.
    pub quote: Point,
    /// The key of ECDH.
    pub ecdh: Point,
    /// The modulus of the endorsement key.
    pub endorsement: [u8; MODULUS],
    storage: Name,
    password: Zeroizing<[u8; PASSWORD]>,
}

/// What was unsealed, or why not.
pub(crate) enum Unsealed {
    Key(Zeroizing<[u8; 32]>),
    /// PCRs have other values than when it was sealed.
    Changed,
    /// It never will be.
    Never(Never),
}

/// Why something is not unsealed, whenever it is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Never {
    /// Not by this TPM, or not since it was cleared; or one bit was changed.
    Integrity,
    /// What should be its parent is none.
    Parent { rc: ResponseCode },
    /// It is nothing that a TPM has sealed.
    Damaged { rc: ResponseCode },
    /// It is another key than the record says.
    OtherKey,
}

impl Never {
    /// What a refusal of Load says; none if it may be taken the next time.
    fn of(trouble: &Trouble) -> Option<Self> {
        let Trouble::Refused { rc, .. } = *trouble else { return None };
        match rc.base() {
            ResponseCode::INTEGRITY | ResponseCode::BINDING => Some(Self::Integrity),
            ResponseCode::TYPE | ResponseCode::AUTH_FAIL | ResponseCode::BAD_AUTH => {
                Some(Self::Parent { rc })
            }
            ResponseCode::SIZE | ResponseCode::INSUFFICIENT => Some(Self::Damaged { rc }),
            _ => None,
        }
    }
}

impl fmt::Display for Never {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integrity => {
                write!(f, "it was not sealed by this TPM, was changed, or this TPM was cleared since")
            }
            Self::Parent { rc } => write!(f, "the TPM's storage key is not its parent: {rc}"),
            Self::Damaged { rc } => write!(f, "the TPM takes it for nothing that was sealed: {rc}"),
            Self::OtherKey => write!(f, "it holds another key than was sealed"),
        }
    }
}

/// What a TPM is, before its keys were looked at.
#[derive(Clone, Debug)]
pub(crate) struct Awake {
    /// See [`Chip::about`].
    pub(crate) about: String<MAX_REASON>,
    /// See [`Chip::measured`].
    pub(crate) measured: bool,
}

/// Wakes a TPM up: it works, and holds nothing of an earlier life. PCRs can be extended and read from here on.
pub(crate) async fn wake<T: Tpm>(link: &mut Link<T>) -> Result<Awake, Unusable> {
    start(link).await?;
    let (mut about, locked_out) = identify(link).await?;
    drop_leftovers(link).await?;
    let values = read_pcrs(link).await?;
    let measured = is_measured(&values);
    let unmeasured = if measured { "" } else { "; nothing was measured at this start" };
    let locked = if locked_out { "; locked out" } else { "" };
    // What does not fit is cut.
    let _ = write!(about, "{locked}{unmeasured}");
    Ok(Awake { about, measured })
}

/// Finds the keys of a TPM that is awake, or makes them, which takes a chip long.
pub(crate) async fn find_keys<T: Tpm>(
    link: &mut Link<T>,
    source: &mut impl Random,
    awake: Awake,
) -> Result<Chip, Unusable> {
    let Awake { about, measured } = awake;
    let mut key = Found::default();
    find_or_make(link, Role::Endorsement, &[], &mut key).await?;
    let endorsement = key.modulus;
    find_or_make(link, Role::Storage, &[], &mut key).await?;
    let storage = key.name;
    find_or_make(link, Role::Quote, &[], &mut key).await?;
    let quote = key.point;
    find_or_make(link, Role::Ecdh, &[], &mut key).await?;
    let ecdh = key.point;
    let password = credential(link, source).await?;
    find_or_make(link, Role::Device, &*password, &mut key).await?;
    let device = key.point;
    Ok(Chip { about, measured, device, quote, ecdh, endorsement, storage, password })
}

/// Whether firmware measured itself and what it started.
pub(crate) fn is_measured(values: &Values) -> bool {
    values[0] != [0; 32] && values[4] != [0; 32]
}

async fn start<T: Tpm>(link: &mut Link<T>) -> Result<(), Unusable> {
    match link.run(&command::startup(), Authorization::None).await {
        Ok(_) => {}
        // Firmware was first.
        Err(trouble) if trouble.is(ResponseCode::INITIALIZE) => {}
        Err(Trouble::Refused { rc: ResponseCode::BAD_TAG, .. }) => return Err(Trouble::Family12.into()),
        Err(trouble) => return failed(link, trouble).await,
    }
    match link.run(&command::self_test(), Authorization::None).await {
        Ok(_) => Ok(()),
        Err(trouble) => failed(link, trouble).await,
    }
}

/// What failed, if it was the self test.
async fn failed<T: Tpm>(link: &mut Link<T>, trouble: Trouble) -> Result<(), Unusable> {
    let Trouble::Refused { rc, .. } = trouble else { return Err(trouble.into()) };
    if rc.meaning() != Meaning::FailureMode {
        return Err(trouble.into());
    }
    let answer = link.run(&command::get_test_result(), Authorization::None).await;
    let result = answer.ok().and_then(|answer| response::test_result(answer.parameters).ok());
    Err(Unusable::FailureMode { result: result.unwrap_or(rc) })
}

/// Who made it, and whether it is locked out.
async fn identify<T: Tpm>(link: &mut Link<T>) -> Result<(String<MAX_REASON>, bool), Unusable> {
    let malformed = Trouble::malformed(Code::GetCapability);
    let asked = command::get_capability(capability::PROPERTIES, property::FAMILY_INDICATOR, 16);
    let answer = link.run(&asked, Authorization::None).await?;
    let fixed = response::properties(answer.parameters).map_err(&malformed)?;
    let value = |wanted| fixed.iter().find(|(number, _)| *number == wanted).map_or(0, |(_, value)| *value);
    let family = value(property::FAMILY_INDICATOR);
    if family.to_be_bytes() != *b"2.0\0" {
        return Err(Unusable::Family { family });
    }
    let mut about = String::new();
    let mut letters = |number| {
        for byte in value(number).to_be_bytes() {
            if byte == b' ' || byte.is_ascii_graphic() {
                // There is room: five times four letters.
                let _ = about.push(char::from(byte));
            }
        }
    };
    letters(property::MANUFACTURER);
    letters(property::VENDOR_STRING_1);
    letters(property::VENDOR_STRING_1 + 1);
    let (major, minor) = (value(property::FIRMWARE_VERSION_1), value(property::FIRMWARE_VERSION_1 + 1));
    let _ = write!(about, ", firmware {major:x}.{minor:x}");

    let asked = command::get_capability(capability::PROPERTIES, property::PERMANENT, 1);
    let answer = link.run(&asked, Authorization::None).await?;
    let permanent = response::properties(answer.parameters).map_err(&malformed)?;
    let locked_out = permanent
        .iter()
        .any(|&(number, value)| number == property::PERMANENT && value & property::PERMANENT_IN_LOCKOUT != 0);

    let asked = command::get_capability(capability::PCRS, 0, 16);
    let answer = link.run(&asked, Authorization::None).await?;
    let bank = response::sha256_bank(answer.parameters).map_err(&malformed)?;
    if bank != Selection::ALL {
        return Err(Unusable::Bank { has: bank.bits() });
    }
    Ok((about, locked_out))
}

/// Drops objects and sessions that an earlier life was killed over: there is room for three of each.
async fn drop_leftovers<T: Tpm>(link: &mut Link<T>) -> Result<(), Unusable> {
    for (kind, most) in [(kind::TRANSIENT, 16), (kind::HMAC_SESSION, 16), (kind::POLICY_SESSION, 16)] {
        let asked = command::get_capability(capability::HANDLES, u32::from(kind) << 24, most);
        let answer = link.run(&asked, Authorization::None).await?;
        let malformed = Trouble::malformed(Code::GetCapability);
        let handles = response::handles(answer.parameters).map_err(malformed)?;
        for handle in handles {
            flush(link, handle).await?;
        }
    }
    Ok(())
}

async fn flush<T: Tpm>(link: &mut Link<T>, handle: Handle) -> Result<(), Trouble> {
    link.run(&command::flush_context(handle), Authorization::None).await.map(drop)
}

/// What is public of a key.
struct Found {
    name: Name,
    point: Point,
    modulus: [u8; MODULUS],
}

impl Default for Found {
    fn default() -> Self {
        Self { name: [0; 34], point: ([0; 32], [0; 32]), modulus: [0; MODULUS] }
    }
}

/// Finds a key at its handle, or makes it there. Nothing is lost by a kill at any point: a key that is not at its
/// handle yet goes with the leftovers.
async fn find_or_make<T: Tpm>(
    link: &mut Link<T>,
    role: Role,
    password: &[u8],
    found: &mut Found,
) -> Result<(), Unusable> {
    if read_key(link, role, found).await? {
        return Ok(());
    }
    let empty = Authorization::Password(&[]);
    let made = command::create_primary(role, password);
    let handle = {
        let answer = link.run(&made, empty).await?;
        let malformed = Trouble::malformed(Code::CreatePrimary);
        response::created_primary(answer.parameters).map_err(malformed)?;
        answer.handle.expect("the answer to this command has one")
    };
    let kept = link.run(&command::evict_control(handle, role.handle()), empty).await.map(drop);
    flush(link, handle).await?;
    kept?;
    if read_key(link, role, found).await? {
        return Ok(());
    }
    let nothing = Malformed::Field { field: Field::Handle, found: role.handle().0.into() };
    Err(Trouble::Malformed { command: Code::ReadPublic, malformed: nothing }.into())
}

/// Reads a key at its handle. `false` if there is none.
async fn read_key<T: Tpm>(link: &mut Link<T>, role: Role, found: &mut Found) -> Result<bool, Unusable> {
    let answer = match link.run(&command::read_public(role.handle()), Authorization::None).await {
        Ok(answer) => answer,
        Err(trouble) if trouble.is(ResponseCode::HANDLE) => return Ok(false),
        Err(trouble) => return Err(trouble.into()),
    };
    // A key of a kind that we do not read is not ours either.
    let foreign = Unusable::Foreign { role };
    let public = response::public(answer.parameters).map_err(|malformed| match malformed {
        Malformed::Field { field: Field::KeyForm | Field::Curve | Field::Algorithm, .. } => foreign,
        other => Trouble::Malformed { command: Code::ReadPublic, malformed: other }.into(),
    })?;
    if !role.fits(&public) {
        return Err(foreign);
    }
    found.name = public.name();
    match public.key {
        Key::P256(x, y) => {
            found.point = (x, y);
            PublicKey::from_sec1_bytes(&sec1(&found.point)).map_err(|_| foreign)?;
        }
        Key::Rsa2048(modulus) => found.modulus = *modulus,
    }
    Ok(true)
}

/// The device key's credential: read, or made where EVE has it.
async fn credential<T: Tpm>(
    link: &mut Link<T>,
    source: &mut impl Random,
) -> Result<Zeroizing<[u8; PASSWORD]>, Unusable> {
    if let Some(stored) = read_index(link, CREDENTIAL).await? {
        let front = stored.as_slice().first_chunk().ok_or(Unusable::Credential)?;
        return Ok(Zeroizing::new(*front));
    }
    let mut found = Found::default();
    if read_key(link, Role::Device, &mut found).await? {
        return Err(Unusable::Credential);
    }
    let text = uuid(random(source));
    write_index(link, CREDENTIAL, &*text).await?;
    let mut password = Zeroizing::new([0; PASSWORD]);
    password.copy_from_slice(&text[..PASSWORD]);
    Ok(password)
}

/// A random UUID (version 4) as text.
fn uuid(mut bytes: Zeroizing<[u8; 32]>) -> Zeroizing<[u8; CREDENTIAL_BYTES]> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut text = Zeroizing::new([b'-'; CREDENTIAL_BYTES]);
    let places = (0..CREDENTIAL_BYTES).filter(|place| ![8, 13, 18, 23].contains(place));
    for (digit, place) in places.enumerate() {
        let byte = bytes[digit / 2];
        let half = if digit % 2 == 0 { byte >> 4 } else { byte & 0xf };
        text[place] = DIGITS[usize::from(half)];
    }
    text
}

/// What an NV index of ours holds; none if there is none, or nothing was written.
async fn read_index<T: Tpm>(
    link: &mut Link<T>,
    index: Handle,
) -> Result<Option<Bytes<{ command::MAX_NV }>>, Trouble> {
    let (attributes, size) = match link.run(&command::nv_read_public(index), Authorization::None).await {
        Ok(answer) => {
            response::nv_public(answer.parameters).map_err(Trouble::malformed(Code::NvReadPublic))?
        }
        Err(trouble) if trouble.is(ResponseCode::HANDLE) => return Ok(None),
        Err(trouble) => return Err(trouble),
    };
    if attributes & NvAttributes::WRITTEN.bits() == 0 {
        return Ok(None);
    }
    let size = size.min(command::MAX_NV as u16);
    match link.run(&command::nv_read(index, size), Authorization::Password(&[])).await {
        Ok(answer) => {
            let bytes = response::nv_bytes(answer.parameters).map_err(Trouble::malformed(Code::NvRead))?;
            Ok(Bytes::from_slice(bytes))
        }
        Err(trouble) if trouble.is(NV_UNINITIALIZED) => Ok(None),
        Err(trouble) => Err(trouble),
    }
}

/// Writes an NV index of ours, which is made if there is none.
async fn write_index<T: Tpm>(link: &mut Link<T>, index: Handle, bytes: &[u8]) -> Result<(), Trouble> {
    // Bounded by `MAX_NV`.
    let define = command::nv_define(index, bytes.len() as u16);
    match link.run(&define, Authorization::Password(&[])).await {
        Ok(_) => {}
        Err(trouble) if trouble.is(ResponseCode::NV_DEFINED) => {}
        Err(trouble) => return Err(trouble),
    }
    link.run(&command::nv_write(index, bytes), Authorization::Password(&[])).await.map(drop)
}

/// The note of control; empty if there is none.
pub(crate) async fn read_note<T: Tpm>(
    link: &mut Link<T>,
) -> Result<heapless::Vec<u8, { proto_svc::vault::MAX_NOTE }>, Trouble> {
    let Some(stored) = read_index(link, NOTE).await? else { return Ok(heapless::Vec::new()) };
    let mut reader = proto_tpm::wire::Reader::new(stored.as_slice());
    // What EVE has there is a certificate and not ours.
    let note = reader.sized(proto_svc::vault::MAX_NOTE).unwrap_or(&[]);
    Ok(heapless::Vec::from_slice(note).expect("within its bound"))
}

/// Writes a note of control, which wears the TPM's memory out: not what is there already, and within a budget.
pub(crate) async fn write_note<T: Tpm>(link: &mut Link<T>, note: &[u8]) -> Result<(), Trouble> {
    let mut bytes = Bytes::<NOTE_BYTES>::default();
    bytes.sized(note);
    let padding = [0; NOTE_BYTES];
    bytes.put(&padding[..NOTE_BYTES - bytes.as_slice().len()]);
    write_index(link, NOTE, bytes.as_slice()).await
}

/// The values of all PCRs, all of one moment.
pub(crate) async fn read_pcrs<T: Tpm>(link: &mut Link<T>) -> Result<Values, Trouble> {
    /// How often a set is begun anew because a PCR was extended meanwhile.
    const TIMES: u32 = 8;
    let malformed = Trouble::malformed(Code::PcrRead);
    let mut counter = 0;
    for _ in 0..TIMES {
        let mut values = Values::default();
        let mut left = Selection::ALL;
        let mut moment = None;
        while !left.is_empty() {
            let answer = link.run(&command::pcr_read(left), Authorization::None).await?;
            let read = response::pcrs(answer.parameters).map_err(&malformed)?;
            let more = read.selection;
            if more.is_empty() || !more.without(left).is_empty() {
                return Err(malformed(Malformed::Field {
                    field: Field::Selection,
                    found: more.bits().into(),
                }));
            }
            counter = read.update_counter;
            if *moment.get_or_insert(counter) != counter {
                break;
            }
            for (pcr, value) in more.iter().zip(&read.values) {
                values[pcr] = *value;
            }
            left = left.without(more);
        }
        if left.is_empty() {
            return Ok(values);
        }
    }
    Err(malformed(Malformed::Field { field: Field::Pcr, found: counter.into() }))
}

/// The value of one PCR.
pub(crate) async fn read_pcr<T: Tpm>(link: &mut Link<T>, pcr: u8) -> Result<pcr::Value, Trouble> {
    let selection = Selection::from_bits(1_u32.checked_shl(pcr.into()).unwrap_or(0));
    let answer = link.run(&command::pcr_read(selection), Authorization::None).await?;
    let malformed = Trouble::malformed(Code::PcrRead);
    let read = response::pcrs(answer.parameters).map_err(&malformed)?;
    match read.values.first() {
        Some(value) if read.selection == selection => Ok(*value),
        _ => {
            Err(malformed(Malformed::Field { field: Field::Selection, found: read.selection.bits().into() }))
        }
    }
}

/// Extends a PCR.
pub(crate) async fn extend<T: Tpm>(link: &mut Link<T>, pcr: u8, digest: &[u8; 32]) -> Result<(), Trouble> {
    link.run(&command::pcr_extend(pcr, digest), Authorization::Password(&[])).await.map(drop)
}

/// A signature by the device's key.
pub(crate) async fn sign<T: Tpm>(
    link: &mut Link<T>,
    chip: &Chip,
    digest: &[u8; 32],
) -> Result<Signature, Trouble> {
    let command = command::sign(Role::Device.handle(), digest);
    let answer = link.run(&command, Authorization::Password(&*chip.password)).await?;
    response::signature(answer.parameters).map_err(Trouble::malformed(Code::Sign))
}

/// A quote, which is of what was asked for.
pub(crate) async fn quote<'a, T: Tpm>(
    link: &'a mut Link<T>,
    nonce: &[u8],
) -> Result<(&'a [u8], Signature), Trouble> {
    let command = command::quote(Role::Quote.handle(), nonce, QUOTED);
    let answer = link.run(&command, Authorization::Password(&[])).await?;
    let malformed = Trouble::malformed(Code::Quote);
    let (attested, signature) = response::quote(answer.parameters).map_err(&malformed)?;
    let quoted = Quoted::parse(attested).map_err(&malformed)?;
    if quoted.nonce != nonce || quoted.selection != QUOTED {
        let found = quoted.selection.bits().into();
        return Err(malformed(Malformed::Field { field: Field::Attestation, found }));
    }
    Ok((attested, signature))
}

/// The point that the ECDH key shares with a peer's.
pub(crate) async fn share<T: Tpm>(link: &mut Link<T>, peer: &Point) -> Result<Point, Trouble> {
    multiply(link, Role::Ecdh.handle(), peer).await
}

/// The point that the escrow key shares with itself: nobody else can have it.
pub(crate) async fn escrow_point<T: Tpm>(link: &mut Link<T>) -> Result<Point, Trouble> {
    let code = Code::CreatePrimary;
    let answer = link.run(&command::create_escrow_key(), Authorization::Password(&[])).await?;
    let handle = answer.handle.expect("the answer to this command has one");
    let malformed = Trouble::malformed(code);
    let public = response::created_primary(answer.parameters).map_err(&malformed)?;
    let Key::P256(x, y) = public.key else {
        return Err(malformed(Malformed::Field { field: Field::KeyForm, found: 0 }));
    };
    let point = multiply(link, handle, &(x, y)).await;
    flush(link, handle).await?;
    point
}

async fn multiply<T: Tpm>(link: &mut Link<T>, key: Handle, peer: &Point) -> Result<Point, Trouble> {
    let command = command::ecdh_zgen(key, &peer.0, &peer.1);
    let answer = link.run(&command, Authorization::Password(&[])).await?;
    response::point(answer.parameters).map_err(Trouble::malformed(Code::EcdhZGen))
}

/// A new key: from the TPM's random numbers and ours, so that either is enough.
pub(crate) async fn new_key<T: Tpm>(
    link: &mut Link<T>,
    source: &mut impl Random,
) -> Result<Zeroizing<[u8; 32]>, Trouble> {
    let answer = link.run(&command::get_random(32), Authorization::None).await?;
    let theirs: [u8; 32] =
        response::random(answer.parameters).map_err(Trouble::malformed(Code::GetRandom))?;
    let (theirs, ours) = (Zeroizing::new(theirs), random(source));
    let mut key = Zeroizing::new([0; 32]);
    key.copy_from_slice(
        &Sha256::new().chain_update(theirs.as_slice()).chain_update(ours.as_slice()).finalize(),
    );
    Ok(key)
}

/// A session that is salted by the endorsement key.
async fn session<T: Tpm>(
    link: &mut Link<T>,
    chip: &Chip,
    kind: SessionKind,
    source: &mut impl Random,
) -> Result<Session, Trouble> {
    let code = Code::StartAuthSession;
    let seeds = Seeds { salt: *random(source), oaep: *random(source), nonce: *random(source) };
    let begun = session::start(kind, Role::Endorsement.handle(), &chip.endorsement, &seeds);
    let (command, starting) = begun.map_err(|_| Trouble::Forged { command: code })?;
    let answer = link.exchange(code, command.plain().as_slice()).await?;
    starting.started(answer).map_err(Trouble::of(code))
}

/// Seals a key to the values that PCRs have now.
pub(crate) async fn seal<T: Tpm>(
    link: &mut Link<T>,
    chip: &Chip,
    source: &mut impl Random,
    key: &[u8; 32],
) -> Result<SealedByTpm, Trouble> {
    let code = Code::Create;
    let values = read_pcrs(link).await?;
    let policy = policy::pcr(SEALING, &values);
    let command = command::create_sealed(Role::Storage.handle(), key, &policy);
    let mut session = session(link, chip, SessionKind::Hmac, source).await?;
    let handle = session.handle();
    let frame = session.authorize(command, &chip.storage, Encrypted::Command, *random(source));
    let answer = link.exchange(code, frame.as_slice()).await?;
    let verified = session.verify(code, Encrypted::Command, answer).map_err(Trouble::of(code));
    let parameters = match verified {
        Ok(parameters) => parameters,
        Err(trouble) => {
            end(link, handle, &trouble).await?;
            return Err(trouble);
        }
    };
    let malformed = Trouble::malformed(code);
    let (private, public) = response::created(parameters.as_slice()).map_err(&malformed)?;
    let too_long = Malformed::TooLong { length: public.len(), most: MAX_PUBLIC };
    SealedByTpm::new(SEALING, &values, is_measured(&values), key, private, public)
        .ok_or_else(|| malformed(too_long))
}

/// Unseals a key.
pub(crate) async fn open<T: Tpm>(
    link: &mut Link<T>,
    chip: &Chip,
    source: &mut impl Random,
    sealed: &SealedByTpm,
) -> Result<Unsealed, Trouble> {
    let command = command::load(Role::Storage.handle(), &sealed.private, &sealed.public);
    let object = match link.run(&command, Authorization::Password(&[])).await {
        Ok(answer) => {
            let handle = answer.handle.expect("the answer to this command has one");
            let malformed = Trouble::malformed(Code::Load);
            response::loaded(answer.parameters, &sealed.public).map_err(malformed)?;
            handle
        }
        // Anything else, such as a lock-out, may be over the next time.
        Err(trouble) => return Never::of(&trouble).map(Unsealed::Never).ok_or(trouble),
    };
    let opened = open_loaded(link, chip, source, sealed, object).await;
    flush(link, object).await?;
    match opened {
        Ok(key) if sealed.measured_start(&key).is_some() => Ok(Unsealed::Key(key)),
        Ok(_) => Ok(Unsealed::Never(Never::OtherKey)),
        Err(trouble) if trouble.is(ResponseCode::POLICY_FAIL) => Ok(Unsealed::Changed),
        Err(trouble) => Err(trouble),
    }
}

async fn open_loaded<T: Tpm>(
    link: &mut Link<T>,
    chip: &Chip,
    source: &mut impl Random,
    sealed: &SealedByTpm,
    object: Handle,
) -> Result<Zeroizing<[u8; 32]>, Trouble> {
    let code = Code::Unseal;
    let mut session = session(link, chip, SessionKind::Policy, source).await?;
    let handle = session.handle();
    let bound = link.run(&command::policy_pcr(handle, sealed.selection), Authorization::None).await.map(drop);
    if let Err(trouble) = bound {
        end(link, handle, &trouble).await?;
        return Err(trouble);
    }
    let nonce = *random(source);
    let frame = session.authorize(command::unseal(object), &name(&sealed.public), Encrypted::Answer, nonce);
    let answer = link.exchange(code, frame.as_slice()).await?;
    match session.verify(code, Encrypted::Answer, answer).map_err(Trouble::of(code)) {
        Ok(parameters) => {
            let key = response::unsealed(parameters.as_slice()).map_err(Trouble::malformed(code))?;
            Ok(Zeroizing::new(*key))
        }
        Err(trouble) => {
            end(link, handle, &trouble).await?;
            Err(trouble)
        }
    }
}

/// Ends a session that a refused command has left open. After any other trouble the TPM is brought up anew, which
/// drops it.
async fn end<T: Tpm>(link: &mut Link<T>, session: Handle, trouble: &Trouble) -> Result<(), Trouble> {
    if trouble.is_refusal() { flush(link, session).await } else { Ok(()) }
}

impl Drop for Chip {
    fn drop(&mut self) {
        self.password.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_a_uuid() {
        let text = uuid(Zeroizing::new([0xff; 32]));
        assert_eq!(&text[..], b"ffffffff-ffff-4fff-bfff-ffffffffffff");
    }

    #[test]
    fn what_is_sealed_to_is_what_eve_seals_to() {
        let pcrs: std::vec::Vec<_> = SEALING.iter().collect();
        assert_eq!(pcrs, [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14]);
    }
}
