//! The session with the controller: who we are, whom we believe, and how a message is dressed.

use alloc::{format, string::String, vec, vec::Vec};

use core::time::Duration;

use proto_eve::{
    auth,
    certs::{CertsError, ControllerCerts},
    endpoint::{self, Answer, Endpoint, StatusClass},
    key::KeyError,
    register,
    uuid::Uuid,
};

use crate::{
    clock::{Now, Random},
    http::{HttpFailure, MAX_BODY, Outcome, Request, RequestId, Response, Unusable},
    identity::DeviceKey,
    properties::Properties,
    provision::Credentials,
};

/// What a request says.
#[derive(Debug)]
pub(crate) enum Message {
    /// GET.
    Nothing,
    /// To be signed by the device key.
    Payload(Vec<u8>),
    /// Registration, signed by the onboarding key.
    Registration,
}

/// How long an exchange may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// All of it.
    pub(crate) timeout: Duration,
    /// A connection to one address.
    pub(crate) dial: Duration,
}

impl Limits {
    pub(crate) fn of(properties: &Properties) -> Self {
        Self {
            timeout: properties.seconds_or("timer.send.timeout", 120),
            dial: properties.seconds_or("timer.dial.timeout", 10),
        }
    }
}

pub(crate) struct Session {
    credentials: Credentials,
    uuid: Option<Uuid>,
    certs: Option<ControllerCerts>,
    /// Answers whose envelope did not verify.
    pub(crate) verify_failures: u64,
}

impl Session {
    pub(crate) fn new(credentials: Credentials) -> Self {
        Self { credentials, uuid: None, certs: None, verify_failures: 0 }
    }

    pub(crate) fn uuid(&self) -> Option<&Uuid> {
        self.uuid.as_ref()
    }

    pub(crate) fn set_uuid(&mut self, uuid: Uuid) {
        self.uuid = Some(uuid);
    }

    pub(crate) fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Whether the device's key is known: without it nothing can be signed.
    pub(crate) fn has_identity(&self) -> bool {
        self.credentials.device.is_some()
    }

    /// Whether the key that signs is the vault's.
    pub(crate) fn signs_in_vault(&self) -> bool {
        matches!(self.credentials.device, Some(DeviceKey::Vault(_)))
    }

    /// The device's key is known.
    pub(crate) fn set_device(&mut self, device: DeviceKey) {
        self.credentials.device = Some(device);
    }

    /// The provisioned key is the device's.
    pub(crate) fn use_provisioned(&mut self) {
        self.credentials.device = self.credentials.provisioned.take().map(DeviceKey::Provisioned);
    }

    /// The controller's certificates, once a set was accepted.
    pub(crate) fn certs(&self) -> Option<&ControllerCerts> {
        self.certs.as_ref()
    }

    pub(crate) fn has_certs(&self) -> bool {
        self.certs.is_some()
    }

    /// Takes a `/certs` payload. Tells whether the set is another one than before.
    pub(crate) fn accept_certs(&mut self, payload: &[u8], now: Now) -> Result<bool, CertsRefused> {
        let wall = now.wall.ok_or(CertsRefused::NoClock)?;
        let certs = ControllerCerts::accept(payload, &self.credentials.roots, wall.unix())
            .map_err(CertsRefused::Certs)?;
        let changed = self.certs.as_ref().is_none_or(|old| certs.differs_from(old));
        self.certs = Some(certs);
        Ok(changed)
    }

    /// Dresses a message as a request.
    pub(crate) fn request(
        &self,
        id: RequestId,
        endpoint: Endpoint,
        message: Message,
        limits: Limits,
        random: &mut Random,
    ) -> Result<Request, KeyError> {
        let body = match message {
            Message::Nothing => Vec::new(),
            Message::Payload(payload) => auth::seal(payload, self.device()?)?,
            Message::Registration => self.registration()?,
        };
        let mut headers = vec![("X-Request-Id", format!("{}", Uuid::random(random.bytes16())))];
        if endpoint.method() == endpoint::Method::Post {
            headers.push(("Content-Type", String::from(endpoint::CONTENT_TYPE)));
        }
        if self.uuid.is_none() {
            headers.extend(serial_header("X-Serial-Number", &self.credentials.serial));
            headers.extend(serial_header("X-Soft-Serial", &self.credentials.soft_serial));
        }
        let url = format!("https://{}{}", self.credentials.server, endpoint.path(self.uuid.as_ref()));
        let Limits { timeout, dial } = limits;
        Ok(Request { id, method: endpoint.method(), url, headers, body, timeout, dial })
    }

    fn device(&self) -> Result<&DeviceKey, KeyError> {
        self.credentials.device.as_ref().ok_or(KeyError::NoPrivateKey)
    }

    fn registration(&self) -> Result<Vec<u8>, KeyError> {
        let credentials = &self.credentials;
        let onboard = credentials.onboard.as_ref().ok_or(KeyError::NoPrivateKey)?;
        register::request(
            onboard,
            self.device()?.certificate_pem(),
            &credentials.serial,
            &credentials.soft_serial,
        )
    }

    /// What an answer amounts to. Only verified payloads come out of here.
    pub(crate) fn judge(&mut self, endpoint: Endpoint, result: Result<Response, HttpFailure>) -> Outcome {
        let response = match result {
            Ok(response) => response,
            Err(failure) => return Outcome::NoAnswer(failure.kind),
        };
        let status = response.status;
        let class = StatusClass::of(status);
        if class != StatusClass::Success {
            return Outcome::Status { status, class };
        }
        if endpoint.answer() == Answer::Ignored || (status == 304 && response.body.is_empty()) {
            return Outcome::Success { status, payload: Vec::new() };
        }
        if response.body.len() > MAX_BODY {
            return Outcome::Unusable(Unusable::TooLarge);
        }
        let content_type = response.content_type.as_deref();
        if !endpoint::content_type_is_acceptable(endpoint, content_type, &response.body) {
            return Outcome::Unusable(Unusable::ContentType);
        }
        let opened = match (endpoint.answer(), &self.certs) {
            (Answer::Signed, None) => return Outcome::Unusable(Unusable::NoCertificate),
            (Answer::Signed, Some(certs)) => auth::open(&response.body, certs.signing()),
            (Answer::Unverified | Answer::Ignored, _) => auth::open_unverified(&response.body),
        };
        match opened {
            Ok(payload) => Outcome::Success { status, payload },
            Err(error) => {
                self.verify_failures = self.verify_failures.saturating_add(1);
                Outcome::Unusable(Unusable::Envelope(error))
            }
        }
    }
}

/// Why a set of controller certificates was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CertsRefused {
    /// Their validity cannot be judged.
    NoClock,
    /// They break a rule.
    Certs(CertsError),
}

impl core::fmt::Display for CertsRefused {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NoClock => write!(f, "the time is not known, so their validity cannot be checked"),
            Self::Certs(error) => error.fmt(f),
        }
    }
}

/// A serial number as a header field, if it is text that a header can carry.
fn serial_header(name: &'static str, serial: &str) -> Option<(&'static str, String)> {
    let fits = !serial.is_empty() && serial.bytes().all(|byte| (0x21..0x7f).contains(&byte) || byte == b' ');
    fits.then(|| (name, String::from(serial)))
}
