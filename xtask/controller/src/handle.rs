//! Starting a controller, and holding on to it.

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use proto_attest::Prediction;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use uuid::Uuid;

use crate::core::Core;
use crate::faults::Faults;
use crate::files::write_file;
use crate::listen::{Faces, Presence, bind, serve_devices, serve_web};
use crate::observed::{BootView, DeviceView, LogLine, ObjectView, Observed, SlotView, Violation};
use crate::options::Options;
use crate::outcome::{ConfigRefused, TimedOut, Urls};
use crate::provision::{Bundle, Reach, bundle};
use crate::{time, tls};

/// The controller.
#[derive(Debug)]
pub struct Controller;

/// A running controller. Dropping it stops it.
///
/// All methods block and may be called from any thread that is not a task of an async runtime.
pub struct Handle {
    core: Arc<Core>,
    runtime: Option<Runtime>,
    urls: Urls,
    wanted: watch::Sender<Presence>,
    is: watch::Receiver<Presence>,
}

impl Controller {
    /// Starts a controller on its own runtime.
    ///
    /// # Errors
    /// If the state folder cannot be used, or an address cannot be bound.
    pub fn start(options: Options) -> Result<Handle> {
        let core = Arc::new(Core::open(options)?);
        let options = &core.options;
        let api = bind(options.listen).with_context(|| format!("cannot listen on {}", options.listen))?;
        let web = bind(options.web).with_context(|| format!("cannot listen on {}", options.web))?;
        let clock = time::bind(api.local_addr()?).context("cannot listen for questions for the time")?;
        let (api_port, web_port) = (api.local_addr()?.port(), web.local_addr()?.port());
        let own = format!("http://{}:{web_port}", bracketed(options.guest_address));
        let urls = Urls {
            api: format!("https://{}:{api_port}", options.server_name),
            web: format!("http://127.0.0.1:{web_port}/"),
            content: format!("{own}/content"),
            api_port,
            web_port,
            time_port: clock.local_addr()?.port(),
        };
        core.with(|state| {
            state.own_url = own;
            state.api_url.clone_from(&urls.api);
            state.event(format!("controller: device API {}, page {}", urls.api, urls.web));
        });
        core.look_at_config()?;
        let faces = core.observe(|state| -> Result<Faces> {
            Ok(Faces {
                honest: tls::server(&state.pki.server, options.tls)?,
                stranger: tls::server(&state.pki.stranger, options.tls)?,
                expired: tls::server(&state.pki.expired, options.tls)?,
            })
        })?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("controller")
            .enable_all()
            .build()
            .context("cannot start a runtime")?;
        let (wanted, wanted_seen) = watch::channel(Presence::Here);
        let (is_here, is) = watch::channel(Presence::Here);
        runtime.spawn(serve_devices(core.clone(), api, faces, wanted_seen, is_here));
        runtime.spawn(serve_web(core.clone(), web));
        runtime.spawn(time::serve(clock));
        runtime.spawn(watch_config(core.clone()));
        Ok(Handle { core, runtime: Some(runtime), urls, wanted, is })
    }
}

impl Handle {
    /// Where it is reached.
    pub fn urls(&self) -> &Urls {
        &self.urls
    }

    /// Path of the configuration file, which may be edited at any time.
    pub fn config_path(&self) -> PathBuf {
        self.core.config_path()
    }

    /// The provisioning files of the device called `name` (letters, digits, `-`, `_`).
    ///
    /// Its identity is made the first time and kept: asked again, it is the same device.
    ///
    /// # Errors
    /// If the name has other characters, or the state folder cannot be written.
    pub fn provision(&self, name: &str) -> Result<Bundle> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
            bail!("{name:?} is no name for a device: letters, digits, - and _ are");
        }
        let options = &self.core.options;
        let reach = Reach {
            server: &options.server_name,
            port: self.urls.api_port,
            time_port: self.urls.time_port,
            address: options.guest_address,
        };
        self.core.observe(|state| bundle(&options.state.join("provision"), name, &state.pki, &reach))
    }

    /// Puts a file into the built-in datastore, in one step.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn put_content(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let folder = self.core.options.content_folder();
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        write_file(&folder.join(name), bytes)?;
        self.core.look_at_config()
    }

    /// Replaces the configuration file and reads it; returns the version that is now in force.
    ///
    /// # Errors
    /// [`ConfigRefused`] with every mistake and its line.
    pub fn set_config(&self, text: &str) -> Result<u64> {
        self.core.replace_config(text)?;
        self.core.observe(|state| match state.config_errors.as_slice() {
            [] => Ok(state.versions.version),
            errors => Err(ConfigRefused(errors.to_vec()).into()),
        })
    }

    /// Looks at everything that was observed so far.
    pub fn observe<R>(&self, look: impl FnOnce(&Observed) -> R) -> R {
        self.core.observe(|state| look(&state.observed))
    }

    /// Waits until `test` returns something; it is called again after every change.
    ///
    /// # Errors
    /// [`TimedOut`] with `what` and the last events.
    pub fn wait_for<T>(
        &self,
        what: &str,
        patience: Duration,
        test: impl FnMut(&Observed) -> Option<T>,
    ) -> Result<T, TimedOut> {
        self.core.wait(Instant::now() + patience, test).ok_or_else(|| TimedOut {
            what: what.to_owned(),
            after: patience,
            events: self.observe(|observed| {
                observed.events.iter().rev().take(8).rev().map(|event| event.text.clone()).collect()
            }),
        })
    }

    /// Waits until a device with this soft serial or serial registered.
    ///
    /// # Errors
    /// [`TimedOut`].
    pub fn wait_registered(&self, serial: &str, patience: Duration) -> Result<DeviceView, TimedOut> {
        self.wait_for(&format!("the registration of {serial}"), patience, |observed| {
            let mut devices = observed.devices.values();
            devices.find(|device| device.serial == serial || device.soft_serial == serial).cloned()
        })
    }

    /// Waits until the application called `name` is reported in `state` (`RUNNING`, `HALTED` …).
    ///
    /// # Errors
    /// [`TimedOut`].
    pub fn wait_app_state(
        &self,
        name: &str,
        state: &str,
        patience: Duration,
    ) -> Result<ObjectView, TimedOut> {
        self.wait_for(&format!("{state} of app {name}"), patience, |observed| {
            observed.app(name).filter(|app| app.state == state && !app.deleted).cloned()
        })
    }

    /// Waits until the application called `name` is reported with an error that contains `part`.
    ///
    /// # Errors
    /// [`TimedOut`].
    pub fn wait_app_error(&self, name: &str, part: &str, patience: Duration) -> Result<String, TimedOut> {
        self.wait_for(&format!("an error of app {name} with \"{part}\""), patience, |observed| {
            observed.app(name)?.errors.iter().find(|error| error.contains(part)).cloned()
        })
    }

    /// Waits until the application called `name` is reported gone.
    ///
    /// # Errors
    /// [`TimedOut`].
    pub fn wait_app_gone(&self, name: &str, patience: Duration) -> Result<(), TimedOut> {
        self.wait_for(&format!("the end of app {name}"), patience, |observed| {
            observed.app(name).is_some_and(|app| app.deleted).then_some(())
        })
    }

    /// Waits until `device` tells of a slot that `test` takes, and returns it.
    ///
    /// # Errors
    /// [`TimedOut`] with `what`.
    pub fn wait_slot(
        &self,
        device: Uuid,
        what: &str,
        patience: Duration,
        mut test: impl FnMut(&SlotView) -> bool,
    ) -> Result<SlotView, TimedOut> {
        self.wait_for(what, patience, |observed| {
            let info = observed.devices.get(&device)?.info.as_ref()?;
            info.slots.iter().find(|slot| test(slot)).cloned()
        })
    }

    /// Waits until `device` tells that `version` runs and has proven itself.
    ///
    /// # Errors
    /// [`TimedOut`].
    pub fn wait_version(
        &self,
        device: Uuid,
        version: &str,
        patience: Duration,
    ) -> Result<SlotView, TimedOut> {
        self.wait_slot(device, &format!("version {version} as the proven one"), patience, |slot| {
            slot.runs(version)
        })
    }

    /// Waits until `device` tells of an error of `version` that contains `part`.
    ///
    /// # Errors
    /// [`TimedOut`]; at once if `part` is empty, which a version without an error would contain as well.
    pub fn wait_version_error(
        &self,
        device: Uuid,
        version: &str,
        part: &str,
        patience: Duration,
    ) -> Result<String> {
        ensure!(!part.is_empty(), "no words are named that an error of version {version} is to contain");
        let what = format!("an error of version {version} with \"{part}\"");
        let test = |slot: &SlotView| slot.version == version && slot.error.contains(part);
        Ok(self.wait_slot(device, &what, patience, test)?.error)
    }

    /// The log lines that came behind this number, as [`Observed::arrived_behind`] has them.
    ///
    /// # Errors
    /// When some of them are forgotten.
    pub fn lines_behind(&self, number: u64) -> Result<Vec<LogLine>> {
        self.observe(|seen| seen.arrived_behind(number).map(|lines| lines.into_iter().cloned().collect()))
            .with_context(|| format!("lines behind number {number} are forgotten: it was looked too late"))
    }

    /// Waits until `device` tells of a start after number `seen` ([`BootView::number`]), and returns the last one.
    ///
    /// # Errors
    /// [`TimedOut`].
    pub fn wait_boot(&self, device: Uuid, seen: u64, patience: Duration) -> Result<BootView, TimedOut> {
        self.wait_for(&format!("a start of the device after number {seen}"), patience, |observed| {
            observed.devices.get(&device)?.boots.last().filter(|boot| boot.number > seen).cloned()
        })
    }

    /// Waits for a line of the application called `name` that contains `part`.
    ///
    /// # Errors
    /// [`TimedOut`].
    pub fn wait_app_line(&self, name: &str, part: &str, patience: Duration) -> Result<LogLine, TimedOut> {
        self.wait_for(&format!("a line of app {name} with \"{part}\""), patience, |observed| {
            observed.app_lines(name).find(|line| line.content.contains(part)).cloned()
        })
    }

    /// Waits for a line of a device that contains `part`.
    ///
    /// # Errors
    /// [`TimedOut`].
    pub fn wait_device_line(&self, part: &str, patience: Duration) -> Result<LogLine, TimedOut> {
        self.wait_for(&format!("a line of the device with \"{part}\""), patience, |observed| {
            observed.device_lines().find(|line| line.content.contains(part)).cloned()
        })
    }

    /// Deviations from the protocol so far, remarks about accepted requests included.
    pub fn violations(&self) -> Vec<Violation> {
        self.observe(|observed| observed.violations.iter().cloned().collect())
    }

    /// Faults to switch on and off.
    pub fn faults(&self) -> &Faults {
        &self.core.faults
    }

    /// From now on devices are expected to measure one of these, in place of what was expected before.
    pub fn expect(&self, predictions: Vec<Prediction>) {
        self.core.with(|state| state.expected = predictions);
    }

    /// The event log of the last quote of `device` that was accepted.
    ///
    /// # Errors
    /// If there is none.
    pub fn event_log(&self, device: Uuid) -> Result<Vec<u8>> {
        let file = self.core.with(|state| state.event_log(device));
        fs::read(&file).with_context(|| format!("there is no event log {}", file.display()))
    }

    /// Refuses connections and cuts the open ones until [`Handle::come_back`].
    pub fn go_away(&self) {
        self.be(Presence::Away);
        self.core.with(|state| state.event("controller: away".into()));
    }

    /// Listens again, on the same port.
    pub fn come_back(&self) {
        self.be(Presence::Here);
        self.core.with(|state| state.event("controller: back".into()));
    }

    /// Takes the integrity token from a device, so that it has to attest again.
    ///
    /// # Errors
    /// If the change cannot be kept.
    pub fn revoke(&self, device: Uuid) -> Result<()> {
        self.core.with(|state| {
            state.registry.change(device, |device| device.token = None)?;
            state.view(device).attested = false;
            state.device_event(device, "its integrity token is revoked".into());
            Ok(())
        })
    }

    /// Gives a device a new UUID, as when an operator deletes it and adds it again.
    ///
    /// # Errors
    /// If the change cannot be kept.
    pub fn readmit(&self, device: Uuid) -> Result<Uuid> {
        self.core.with(|state| {
            let fresh = state.registry.readmit(device)?;
            let view = state.registry.by_uuid(fresh).map(crate::state::view_of);
            state.observed.devices.remove(&device);
            state.observed.devices.extend(view.map(|view| (fresh, view)));
            state.device_event(device, format!("is now {fresh}"));
            Ok(fresh)
        })
    }

    /// Forgets a device, as when an operator deletes it.
    ///
    /// # Errors
    /// If the change cannot be kept.
    pub fn delete(&self, device: Uuid) -> Result<()> {
        self.core.with(|state| {
            state.registry.remove(device)?;
            state.observed.devices.remove(&device);
            state.device_event(device, "deleted".into());
            Ok(())
        })
    }

    /// Replaces the signing certificate, as controllers do now and then.
    ///
    /// # Errors
    /// If the new one cannot be made or kept.
    pub fn rotate_signing_certificate(&self) -> Result<()> {
        self.core.with(|state| {
            state.pki.rotate_signing()?;
            state.signing = state.pki.signing_key()?;
            state.recompile();
            state.event("controller: new signing certificate".into());
            Ok(())
        })
    }

    /// Stops the controller and waits until its ports are free.
    pub fn shutdown(mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(2));
        }
    }

    fn be(&self, presence: Presence) {
        self.wanted.send_replace(presence);
        // The accept loop answers at once, unless the port is taken meanwhile.
        let deadline = Instant::now() + Duration::from_secs(5);
        while *self.is.borrow() != presence && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("urls", &self.urls).finish_non_exhaustive()
    }
}

async fn watch_config(core: Arc<Core>) {
    let mut ticks = tokio::time::interval(core.options.poll);
    loop {
        ticks.tick().await;
        if let Err(fault) = core.look_at_config() {
            core.with(|state| state.event(format!("controller: {fault:#}")));
        }
    }
}

fn bracketed(address: std::net::IpAddr) -> String {
    match address {
        std::net::IpAddr::V4(address) => address.to_string(),
        std::net::IpAddr::V6(address) => format!("[{address}]"),
    }
}
