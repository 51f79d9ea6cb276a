//! The configuration file: what a person writes, checked, with content measured.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Component, Path};

use serde::{Deserialize, Serialize};
use toml::Spanned;

use crate::faults::{Asked, Fault, Target};

/// What the devices shall do, as the file says it.
#[derive(Debug, Clone, PartialEq, Serialize, Default)]
pub(crate) struct Desired {
    pub(crate) device: DeviceTable,
    pub(crate) items: BTreeMap<String, String>,
    pub(crate) uplink: UplinkTable,
    pub(crate) datastores: Vec<Datastore>,
    pub(crate) base: Option<Base>,
    pub(crate) apps: Vec<App>,
    /// Serials that may register; `*` stands for every one.
    pub(crate) serials: Vec<String>,
    /// Wrong answers on purpose. They are no part of what devices are told, and make no new version.
    #[serde(skip)]
    pub(crate) faults: Vec<Asked>,
}

/// `[device]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DeviceTable {
    pub(crate) name: String,
    pub(crate) project: String,
    pub(crate) enterprise: String,
    pub(crate) maintenance: bool,
    pub(crate) reboot: Option<u32>,
    pub(crate) shutdown: Option<u32>,
    /// Of the item [`FORCE_FALLBACK`].
    pub(crate) force_fallback: Option<u32>,
    pub(crate) epoch: i64,
}

/// `[uplink]`: the one port, with an address by DHCP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct UplinkTable {
    pub(crate) name: String,
    pub(crate) ifname: String,
    pub(crate) pci: Option<String>,
}

impl Default for UplinkTable {
    fn default() -> Self {
        Self { name: "eth0".into(), ifname: "eth0".into(), pci: None }
    }
}

/// Who serves the content of a datastore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) enum Server {
    /// This controller, over plain HTTP.
    Own,
    /// This controller, over TLS with the certificate of the device API.
    OwnTls,
    /// Somebody else, at this URL.
    Other(String),
}

/// A place to download from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Datastore {
    pub(crate) name: String,
    pub(crate) server: Server,
    pub(crate) path: String,
    pub(crate) api_key: String,
    pub(crate) password: String,
}

/// The system that the devices shall run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Base {
    /// The name that the payload has to have in itself.
    pub(crate) version: String,
    pub(crate) datastore: String,
    pub(crate) content: String,
    pub(crate) sha256: String,
    pub(crate) size_bytes: u64,
    pub(crate) activate: bool,
    /// The counter with which a version that failed is tried once more.
    pub(crate) retry: Option<u32>,
}

/// An application.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct App {
    pub(crate) name: String,
    pub(crate) datastore: String,
    pub(crate) content: String,
    pub(crate) format: Format,
    pub(crate) sha256: String,
    pub(crate) size_bytes: u64,
    pub(crate) memory_kib: u32,
    pub(crate) vcpus: u32,
    pub(crate) mode: Mode,
    pub(crate) args: String,
    pub(crate) activate: bool,
    pub(crate) logs: bool,
    pub(crate) start_delay_s: u32,
    /// Explicit counters; `None` lets the controller count by itself.
    pub(crate) restart: Option<u32>,
    pub(crate) purge: Option<u32>,
}

/// How the content is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    #[default]
    Raw,
    Qcow2,
    Container,
    Iso,
}

/// How the domain is virtualized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    #[default]
    Pv,
    Hvm,
    Fml,
    Nohyper,
}

/// A content file as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Measured {
    /// Lower-case hexadecimal.
    pub(crate) sha256: String,
    pub(crate) size_bytes: u64,
}

/// Something in the file that cannot be served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Counted from 1; 0 if it concerns the file as a whole.
    pub line: usize,
    /// What is wrong, and with what.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "config.toml: {}", self.message),
            line => write!(f, "config.toml:{line}: {}", self.message),
        }
    }
}

impl std::error::Error for ConfigError {}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct File {
    device: DeviceTable,
    items: BTreeMap<String, Spanned<toml::Value>>,
    uplink: UplinkTable,
    onboarding: OnboardingTable,
    datastore: Vec<DatastoreTable>,
    base: Option<BaseTable>,
    app: Vec<AppTable>,
    fault: Vec<FaultTable>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct OnboardingTable {
    serials: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DatastoreTable {
    name: Spanned<String>,
    url: Spanned<String>,
    #[serde(default)]
    path: String,
    #[serde(default)]
    api_key: String,
    #[serde(default)]
    password: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BaseTable {
    version: Spanned<String>,
    content: Spanned<String>,
    #[serde(default = "yes")]
    activate: bool,
    retry: Option<u32>,
    datastore: Option<Spanned<String>>,
    sha256: Option<Spanned<String>>,
    size_bytes: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AppTable {
    name: Spanned<String>,
    content: Spanned<String>,
    memory_kib: Spanned<u32>,
    #[serde(default = "one")]
    vcpus: u32,
    #[serde(default)]
    args: String,
    #[serde(default = "yes")]
    activate: bool,
    #[serde(default = "yes")]
    logs: bool,
    #[serde(default)]
    start_delay_s: u32,
    restart: Option<u32>,
    purge: Option<u32>,
    #[serde(default)]
    mode: Mode,
    #[serde(default)]
    format: Format,
    datastore: Option<Spanned<String>>,
    sha256: Option<Spanned<String>>,
    size_bytes: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultTable {
    target: Spanned<String>,
    kind: Spanned<String>,
    number: Option<u64>,
    times: Option<u32>,
}

fn one() -> u32 {
    1
}

fn yes() -> bool {
    true
}

/// What a table says about where its content comes from.
struct ContentSource<'a> {
    /// Whose content it is, for what is said of mistakes.
    whose: String,
    file: &'a Spanned<String>,
    datastore: Option<&'a Spanned<String>>,
    sha256: Option<&'a Spanned<String>>,
    size_bytes: Option<u64>,
}

/// Name of the datastore that the controller itself is.
pub(crate) const OWN_DATASTORE: &str = "controller";
/// The same content over TLS.
pub(crate) const OWN_TLS_DATASTORE: &str = "controller-https";
/// The item of which each new value has a device go back to the version in its other slot.
const FORCE_FALLBACK: &str = "force.fallback.counter";

impl Desired {
    /// Reads the file. `measure` looks at a file of the content folder.
    ///
    /// # Errors
    /// Everything that is wrong, in the order of the file; at least one entry.
    pub(crate) fn read(
        text: &str,
        measure: &mut dyn FnMut(&str) -> Result<Measured, String>,
    ) -> Result<Self, Vec<ConfigError>> {
        let file: File = toml::from_str(text).map_err(|fault| {
            let line = fault.span().map_or(0, |span| line_of(text, span.start));
            vec![ConfigError { line, message: fault.message().trim().to_owned() }]
        })?;
        let mut check = Check { text, errors: Vec::new() };
        let datastores = check.datastores(file.datastore);
        let items = check.items(file.items, file.device.force_fallback);
        let base = file.base.and_then(|table| check.base(table, &datastores, measure));
        let apps = check.apps(file.app, &datastores, measure);
        let faults = check.faults(&file.fault);
        if !check.errors.is_empty() {
            return Err(check.errors);
        }
        let serials = file.onboarding.serials.unwrap_or_else(|| vec!["*".into()]);
        Ok(Self { device: file.device, items, uplink: file.uplink, datastores, base, apps, serials, faults })
    }

    /// Whether a device with these serials may register.
    pub(crate) fn admits(&self, serial: &str, soft_serial: &str) -> bool {
        self.serials.iter().any(|allowed| allowed == "*" || allowed == serial || allowed == soft_serial)
    }
}

struct Check<'a> {
    text: &'a str,
    errors: Vec<ConfigError>,
}

impl Check<'_> {
    fn wrong<T>(&mut self, at: &Spanned<T>, message: String) {
        self.errors.push(ConfigError { line: line_of(self.text, at.span().start), message });
    }

    fn datastores(&mut self, tables: Vec<DatastoreTable>) -> Vec<Datastore> {
        let own = |name: &str, server| Datastore {
            name: name.into(),
            server,
            path: "content".into(),
            api_key: String::new(),
            password: String::new(),
        };
        let mut datastores = vec![own(OWN_DATASTORE, Server::Own), own(OWN_TLS_DATASTORE, Server::OwnTls)];
        for table in tables {
            let name = table.name.get_ref().clone();
            let url = table.url.get_ref().trim_end_matches('/').to_owned();
            if datastores.iter().any(|other| other.name == name) {
                self.wrong(&table.name, format!("datastore {name} is named twice"));
            } else if !(url.starts_with("http://") || url.starts_with("https://")) {
                self.wrong(&table.url, format!("datastore {name}: {url} is neither http:// nor https://"));
            } else {
                let path = table.path.trim_matches('/').to_owned();
                let (api_key, password) = (table.api_key, table.password);
                datastores.push(Datastore { name, server: Server::Other(url), path, api_key, password });
            }
        }
        datastores
    }

    fn items(
        &mut self,
        items: BTreeMap<String, Spanned<toml::Value>>,
        force_fallback: Option<u32>,
    ) -> BTreeMap<String, String> {
        let mut out = BTreeMap::new();
        out.extend(force_fallback.map(|counter| (FORCE_FALLBACK.to_owned(), counter.to_string())));
        for (key, value) in items {
            if out.contains_key(&key) {
                self.wrong(&value, format!("item {key}: [device] says it, too"));
                continue;
            }
            let text = match value.get_ref() {
                toml::Value::String(text) => text.clone(),
                toml::Value::Integer(number) => number.to_string(),
                toml::Value::Boolean(truth) => truth.to_string(),
                _ => {
                    let hint = "a string, a number or a truth value is wanted (quote keys with dots)";
                    self.wrong(&value, format!("item {key}: {hint}"));
                    continue;
                }
            };
            out.insert(key, text);
        }
        out
    }

    fn base(
        &mut self,
        table: BaseTable,
        datastores: &[Datastore],
        measure: &mut dyn FnMut(&str) -> Result<Measured, String>,
    ) -> Option<Base> {
        let version = table.version.get_ref().clone();
        if version.is_empty() || version.len() > 64 || version.chars().any(char::is_control) {
            self.wrong(&table.version, "the base OS needs a version of 1 to 64 bytes".into());
            return None;
        }
        let source = ContentSource {
            whose: "base OS".into(),
            file: &table.content,
            datastore: table.datastore.as_ref(),
            sha256: table.sha256.as_ref(),
            size_bytes: table.size_bytes,
        };
        let measured = self.content(&source, datastores, measure)?;
        Some(Base {
            version,
            datastore: source.datastore_name(),
            content: table.content.get_ref().clone(),
            sha256: measured.sha256,
            size_bytes: measured.size_bytes,
            activate: table.activate,
            retry: table.retry,
        })
    }

    fn apps(
        &mut self,
        tables: Vec<AppTable>,
        datastores: &[Datastore],
        measure: &mut dyn FnMut(&str) -> Result<Measured, String>,
    ) -> Vec<App> {
        let mut names = BTreeSet::new();
        let mut apps = Vec::new();
        for table in tables {
            let name = table.name.get_ref().clone();
            if name.is_empty() || name.len() > 64 || name.chars().any(char::is_control) {
                self.wrong(&table.name, "an app needs a name of 1 to 64 bytes".into());
                continue;
            }
            if !names.insert(name.clone()) {
                self.wrong(&table.name, format!("app {name} is named twice"));
                continue;
            }
            if *table.memory_kib.get_ref() == 0 {
                self.wrong(&table.memory_kib, format!("app {name}: memory_kib must be at least 1"));
            }
            let source = ContentSource {
                whose: format!("app {name}"),
                file: &table.content,
                datastore: table.datastore.as_ref(),
                sha256: table.sha256.as_ref(),
                size_bytes: table.size_bytes,
            };
            if let Some(measured) = self.content(&source, datastores, measure) {
                apps.push(App {
                    name,
                    datastore: source.datastore_name(),
                    content: table.content.get_ref().clone(),
                    format: table.format,
                    sha256: measured.sha256,
                    size_bytes: measured.size_bytes,
                    memory_kib: *table.memory_kib.get_ref(),
                    vcpus: table.vcpus,
                    mode: table.mode,
                    args: table.args,
                    activate: table.activate,
                    logs: table.logs,
                    start_delay_s: table.start_delay_s,
                    restart: table.restart,
                    purge: table.purge,
                });
            }
        }
        apps
    }

    fn faults(&mut self, tables: &[FaultTable]) -> Vec<Asked> {
        let mut faults = Vec::new();
        for table in tables {
            let Some(target) = Target::named(table.target.get_ref()) else {
                let hint = "content, api, or an endpoint such as config, attest, info, newlogs";
                self.wrong(
                    &table.target,
                    format!("fault: no target is called {} ({hint})", table.target.get_ref()),
                );
                continue;
            };
            match Fault::named(table.kind.get_ref(), table.number) {
                Ok(fault) => faults.push((target, fault, table.times)),
                Err(why) => self.wrong(&table.kind, format!("fault: {why}")),
            }
        }
        faults
    }

    /// Digest and size of a content: measured, unless the file states them.
    fn content(
        &mut self,
        source: &ContentSource<'_>,
        datastores: &[Datastore],
        measure: &mut dyn FnMut(&str) -> Result<Measured, String>,
    ) -> Option<Measured> {
        let whose = &source.whose;
        let own = match source.datastore {
            None => true,
            Some(name) => match datastores.iter().find(|store| store.name == *name.get_ref()) {
                Some(store) => matches!(store.server, Server::Own | Server::OwnTls),
                None => {
                    self.wrong(name, format!("{whose}: no datastore is called {}", name.get_ref()));
                    return None;
                }
            },
        };
        let stated = match source.sha256 {
            Some(digest) => {
                let text = digest.get_ref().to_lowercase();
                if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                    self.wrong(digest, format!("{whose}: sha256 is not 64 hexadecimal digits"));
                    return None;
                }
                Some(text)
            }
            None => None,
        };
        let file = source.file.get_ref();
        if !own {
            let Some(sha256) = stated else {
                self.wrong(source.file, format!("{whose}: foreign content needs sha256"));
                return None;
            };
            return Some(Measured { sha256, size_bytes: source.size_bytes.unwrap_or(0) });
        }
        if !is_plain_path(file) {
            self.wrong(source.file, format!("{whose}: {file} leaves the content folder"));
            return None;
        }
        match measure(file) {
            Ok(measured) => Some(Measured {
                sha256: stated.unwrap_or(measured.sha256),
                size_bytes: source.size_bytes.unwrap_or(measured.size_bytes),
            }),
            Err(fault) => {
                self.wrong(source.file, format!("{whose}: content {file}: {fault}"));
                None
            }
        }
    }
}

impl ContentSource<'_> {
    fn datastore_name(&self) -> String {
        self.datastore.map_or_else(|| OWN_DATASTORE.to_owned(), |name| name.get_ref().clone())
    }
}

/// Whether a relative path stays below its folder.
pub(crate) fn is_plain_path(path: &str) -> bool {
    let path = Path::new(path);
    path.components().next().is_some() && path.components().all(|part| matches!(part, Component::Normal(_)))
}

fn line_of(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().get(..offset).unwrap_or(text.as_bytes());
    before.iter().filter(|&&byte| byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Desired, Vec<ConfigError>> {
        Desired::read(text, &mut |file| match file {
            "hello.elf" => Ok(Measured { sha256: "ab".repeat(32), size_bytes: 7 }),
            _ => Err("no such file".into()),
        })
    }

    #[test]
    fn a_small_file_is_read_and_content_measured() {
        let desired = read(
            "[device]\nname = 'one'\n[items]\n\"timer.config.interval\" = 5\n\"debug.enable.vga\" = false\n\
             [[app]]\nname = 'hello'\ncontent = 'hello.elf'\nmemory_kib = 8192\nargs = 'a b'\n",
        )
        .expect("it is right");
        assert_eq!(desired.device.name, "one");
        assert_eq!(desired.items["timer.config.interval"], "5");
        assert_eq!(desired.items["debug.enable.vga"], "false");
        assert_eq!(desired.apps[0].sha256, "ab".repeat(32));
        assert!(desired.apps[0].activate && desired.apps[0].logs);
        assert!(desired.admits("any", ""));
    }

    #[test]
    fn faults_name_line_and_reason() {
        let app = "[[app]]\nname = 'x'\nmemory_kib = 1\n";
        for (text, line, part) in [
            ("[device]\nnmae = 'x'\n".to_owned(), 2, "unknown field"),
            ("[device\n".to_owned(), 1, ""),
            (format!("{app}content = 'none.elf'\n"), 4, "no such file"),
            (format!("{app}content = '../passwd'\n"), 4, "leaves the content folder"),
            (format!("{app}content = 'hello.elf'\ndatastore = 'far'\n"), 5, "no datastore is called far"),
            (format!("{app}content = 'hello.elf'\nsha256 = 'zz'\n"), 5, "64 hexadecimal"),
            (format!("{app}content = 'hello.elf'\n{app}content = 'hello.elf'\n"), 6, "named twice"),
            ("[items]\ntimer.config.interval = 5\n".to_owned(), 2, "quote keys"),
            ("[base]\nversion = ''\ncontent = 'hello.elf'\n".to_owned(), 2, "needs a version"),
            (
                "[base]\nversion = '2'\ncontent = 'none.update'\n".to_owned(),
                3,
                "base OS: content none.update",
            ),
            ("[base]\ncontent = 'hello.elf'\n".to_owned(), 1, "missing field `version`"),
            (
                "[device]\nforce_fallback = 1\n[items]\n\"force.fallback.counter\" = 2\n".to_owned(),
                4,
                "[device] says it",
            ),
            ("[[fault]]\ntarget = 'x'\nkind = 'late'\n".to_owned(), 2, "no target is called x"),
            ("[[fault]]\ntarget = 'api'\nkind = 'late'\n".to_owned(), 3, "needs number"),
            ("[[datastore]]\nname = 'controller-https'\nurl = 'http://x'\n".to_owned(), 2, "named twice"),
            ("[[datastore]]\nname = 'd'\nurl = 'ftp://x'\n".to_owned(), 3, "neither http"),
        ] {
            let errors = read(&text).expect_err(part);
            assert_eq!(errors[0].line, line, "{errors:?}");
            assert!(errors[0].message.contains(part), "{errors:?}");
        }
    }

    #[test]
    fn a_base_os_is_read_with_its_counters() {
        let text = "[device]\nforce_fallback = 3\n[base]\nversion = '0.2.0'\ncontent = 'hello.elf'\n\
                    activate = false\nretry = 4\ndatastore = 'controller-https'\n";
        let desired = read(text).expect("it is right");
        let base = desired.base.expect("there is one");
        assert_eq!((base.version.as_str(), base.activate, base.retry), ("0.2.0", false, Some(4)));
        assert_eq!((base.sha256, base.size_bytes), ("ab".repeat(32), 7));
        assert_eq!(base.datastore, OWN_TLS_DATASTORE);
        assert_eq!(desired.items[FORCE_FALLBACK], "3");
        let base = read("[base]\nversion = '2'\ncontent = 'hello.elf'\n").expect("right").base.expect("one");
        assert!(base.activate && base.retry.is_none());
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let text =
            "[[app]]\nname='a'\ncontent='n'\nmemory_kib=1\n[[app]]\nname='b'\ncontent='n'\nmemory_kib=1\n";
        assert_eq!(read(text).expect_err("two").len(), 2);
    }
}
