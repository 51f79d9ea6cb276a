//! `symbolize`: names the functions behind the raw addresses (`bt: 0x…`) of a domain that panicked.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use addr2line::Loader;
use anyhow::{Result, anyhow};

use crate::{build, paths};

/// Options of `symbolize`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Domain whose addresses they are: dom0, net, control, hello, …
    pub domain: String,
    /// Addresses, in hexadecimal
    #[arg(required = true)]
    pub addresses: Vec<String>,
    /// Architecture of the domain
    #[arg(long, value_enum, default_value_t = build::Arch::X86_64)]
    pub arch: build::Arch,
}

/// Runs the subcommand: one line an address, to standard output.
///
/// # Errors
/// When the domain was not built, or an address is no number.
pub fn symbolize(options: &Options) -> Result<()> {
    let file = paths::target().join(options.arch.target()).join(build::PROFILE).join(&options.domain);
    let loader = load(&file)?;
    for address in &options.addresses {
        let digits = address.trim_start_matches("0x");
        let number =
            u64::from_str_radix(digits, 16).map_err(|_| anyhow!("`{address}` is no hexadecimal address"))?;
        println!("{number:#x} {}", place(&loader, number));
    }
    Ok(())
}

fn load(file: &Path) -> Result<Loader> {
    Loader::new(file)
        .map_err(|error| anyhow!("cannot read {}: {error}; `cargo xtask build` makes it", file.display()))
}

/// `function (file:line)`, with functions inlined there in front, innermost first. The address is taken
/// for a return address: what counts is the call before it.
fn place(loader: &Loader, address: u64) -> String {
    let call = address.saturating_sub(1);
    let mut names = Vec::new();
    let mut at = String::new();
    if let Ok(mut frames) = loader.find_frames(call) {
        while let Ok(Some(frame)) = frames.next() {
            if let Some(name) = frame.function.as_ref().and_then(|name| name.demangle().ok()) {
                names.push(without_hash(&name).to_owned());
            }
            if at.is_empty()
                && let Some(location) = frame.location
            {
                let line = location.line.map(|line| format!(":{line}")).unwrap_or_default();
                at = format!("{}{line}", shortened(location.file.unwrap_or("?")));
            }
        }
    }
    // The line tables have no paths in names, and assembly is not in them at all: the symbol says both.
    let code = loader.get_section_range(b".text").is_some_and(|text| text.begin <= call && call < text.end);
    if let Some(symbol) = loader.find_symbol(call).filter(|_| code) {
        names.pop();
        names.push(without_hash(&addr2line::demangle_auto(symbol.into(), None)).to_owned());
    }
    match (names.is_empty(), at.is_empty()) {
        (true, true) if code => "assembly".to_owned(),
        (true, true) => "outside of the image".to_owned(),
        (_, true) => names.join(" in "),
        _ => format!("{} ({at})", names.join(" in ")),
    }
}

/// Rust's mangled names end with `::h` and 16 digits.
fn without_hash(name: &str) -> &str {
    match name.rsplit_once("::h") {
        Some((rest, hash)) if hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit()) => rest,
        _ => name,
    }
}

/// Paths in the repository without its folder, those of crates and of Rust from their name on.
fn shortened(file: &str) -> &str {
    let repository = paths::repository();
    if let Some(rest) = file.strip_prefix(&*repository.to_string_lossy()) {
        return rest.trim_start_matches('/');
    }
    // `…/registry/src/INDEX/CRATE-VERSION/src/…` and `/rustc/COMMIT/library/…`.
    let after = file.split_once("/registry/src/").map(|(_, rest)| rest).or(file.strip_prefix("/rustc/"));
    after.and_then(|rest| rest.split_once('/')).map_or(file, |(_, rest)| rest)
}

/// Annotates console lines; holds the line tables that it needed so far.
#[derive(Default)]
pub struct Symbolizer {
    files: BTreeMap<String, PathBuf>,
    loaded: BTreeMap<String, Option<Loader>>,
}

impl std::fmt::Debug for Symbolizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Symbolizer").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Symbolizer {
    /// For domains with these files. A domain without one is taken for the sample application.
    pub fn new(files: BTreeMap<String, PathBuf>) -> Self {
        Self { files, loaded: BTreeMap::new() }
    }

    /// What stands behind a console line of `who`, if it holds a backtrace address.
    pub fn annotate(&mut self, who: &str, text: &str) -> Option<String> {
        let address = backtrace_address(text)?;
        let name = if self.files.contains_key(who) { who } else { build::SAMPLE };
        let file = self.files.get(name)?;
        let loader = self.loaded.entry(name.to_owned()).or_insert_with(|| load(file).ok()).as_ref()?;
        Some(place(loader, address))
    }
}

/// `… bt: 0x1234 …` → 0x1234.
fn backtrace_address(text: &str) -> Option<u64> {
    let rest = text.split_once("bt: 0x")?.1;
    let digits = rest.split(|c: char| !c.is_ascii_hexdigit()).next()?;
    u64::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_in_lines() {
        assert_eq!(backtrace_address("bt: 0x10f2a4"), Some(0x10_f2a4));
        assert_eq!(backtrace_address("[error] bt: 0xffff, more"), Some(0xffff));
        assert_eq!(backtrace_address("bt: none"), None);
        assert_eq!(backtrace_address("bt: 0x"), None);
    }

    #[test]
    fn paths_start_where_they_say_something() {
        assert_eq!(
            shortened("/rustc/59807616/library/core/src/panicking.rs"),
            "library/core/src/panicking.rs"
        );
        assert_eq!(
            shortened("/home/u/.cargo/registry/src/index.example-19/a-1.0.0/src/lib.rs"),
            "a-1.0.0/src/lib.rs"
        );
        assert_eq!(shortened("/elsewhere/a.rs"), "/elsewhere/a.rs");
    }

    #[test]
    fn hashes_of_names_go() {
        assert_eq!(without_hash("a::b::h0123456789abcdef"), "a::b");
        assert_eq!(without_hash("a::hello"), "a::hello");
    }
}
