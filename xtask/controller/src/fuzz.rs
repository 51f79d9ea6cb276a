//! Entries for fuzzing: the API without TLS and without signatures, and the configuration file.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use uuid::Uuid;

use crate::api::{self, Incoming};
use crate::desired::{Desired, Measured};
use crate::key::Certificate;
use crate::options::Options;
use crate::registry::Registered;
use crate::route::route;
use crate::state::State;

/// A controller with one device.
pub struct Bench {
    state: State,
    device: Uuid,
}

impl Bench {
    /// A controller in an empty folder that has registered the device with this certificate, a PEM text.
    ///
    /// # Errors
    /// When the folder cannot be written, or the certificate is none.
    pub fn open(folder: &Path, device_certificate: &str) -> Result<Self> {
        let mut state = State::open(&Options::new(folder))?;
        let certificate = Certificate::from_pem(device_certificate.as_bytes())
            .map_err(|fault| anyhow!("certificate: {fault}"))?;
        let registered =
            state.registry.register(device_certificate.into(), &certificate, ("SN", "soft"), 0)?;
        let Registered::New(device) = registered else { return Err(anyhow!("the folder is not empty")) };
        Ok(Self { state, device })
    }

    /// The device that is registered.
    pub fn device(&self) -> Uuid {
        self.device
    }

    /// Answers a request as it comes from a connection, and returns the status.
    pub fn request(&mut self, method: &str, path: &str, body: &[u8]) -> u16 {
        let request = Incoming {
            method: method.into(),
            path: path.into(),
            content_type: Some(api::PROTOBUF.into()),
            has_host: true,
            body: body.to_vec(),
            ..Incoming::default()
        };
        let status = api::answer(&mut self.state, &request).status;
        self.forget();
        status
    }

    /// Serves a message of the device as if its signature had been right, and returns the status.
    pub fn message(&mut self, method: &str, path: &str, payload: &[u8]) -> u16 {
        let Ok(route) = route(method, path) else { return 404 };
        let status = api::answer_message(&mut self.state, &route, self.device, payload);
        self.forget();
        status
    }

    /// Reads a configuration file and makes the device's configuration of it, as a message. Files of content
    /// whose name is longer than 8 characters are not there.
    ///
    /// # Errors
    /// All that is wrong with the file.
    pub fn config(&mut self, text: &str) -> Result<Vec<u8>> {
        let mut measure = |name: &str| match name.len() {
            0..=8 => Ok(Measured { sha256: "ab".repeat(32), size_bytes: 8 }),
            _ => Err(format!("{name} is not there")),
        };
        let desired = Desired::read(text, &mut measure).map_err(|errors| {
            anyhow!("{}", errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
        })?;
        self.state.take_config(Ok(desired))?;
        let served = self.state.config_of(self.device).context("a configuration that was read is served")?;
        let response = served.response.clone();
        self.forget();
        Ok(response)
    }

    /// Drops what is kept for people, so that runs do not add up.
    fn forget(&mut self) {
        self.state.records.clear();
        self.state.told.clear();
        self.state.request_ids.clear();
        self.state.observed = crate::Observed::default();
    }
}
