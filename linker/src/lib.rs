//! Links a domain's binary with the script of its architecture; called by each domain's `build.rs`.

#![forbid(unsafe_code)]

/// The lowest address of an image on x86_64. On aarch64 an image relocates itself to where it was loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// Xen places dom0 in what the firmware left; with 24 MiB of memory, that reaches from 16 MiB on. Where the firmware
    /// has left something else Xen takes another place, and dom0 relocates itself.
    Dom0,
    /// The memory of every other domain has no holes; its first MiB is left for the start information. The image is linked
    /// to that address and stays there.
    Guest,
}

impl Load {
    /// As a guest-physical address, in bytes.
    #[must_use]
    pub const fn base(self) -> u64 {
        match self {
            Self::Dom0 => 0x100_0000,
            Self::Guest => 0x10_0000,
        }
    }

    /// The lowest and the highest address that a byte of an image on x86_64 may have if it is loaded elsewhere. The entry
    /// runs in 32-bit mode and maps the first 4 GiB.
    const fn elsewhere(self) -> (u64, u64) {
        match self {
            Self::Dom0 => (0x10_0000, 0xffff_ffff),
            Self::Guest => (self.base(), self.base()),
        }
    }
}

/// What keeps the relocations in an image.
const RELOCATED: [&str; 5] = ["-pie", "--no-dynamic-linker", "-znotext", "-znorelro", "-zmax-page-size=4096"];

/// What the linker of a domain is told, `root` being the folder of the scripts. Empty for an architecture
/// without a script.
#[must_use]
pub fn arguments(arch: &str, load: Load, root: &str) -> Vec<String> {
    let (lowest, highest) = load.elsewhere();
    let (base, how) = match (arch, load) {
        // Xen reads the entry's address in the file, ahead of any relocation.
        ("x86_64", Load::Dom0) => (load.base(), [&RELOCATED[..], &["--apply-dynamic-relocs"]].concat()),
        ("x86_64", Load::Guest) => (load.base(), vec!["--no-pie"]),
        // The prebuilt `core` holds absolute addresses, so the image keeps its relocations.
        ("aarch64", _) => (0, RELOCATED.to_vec()),
        _ => return Vec::new(),
    };
    let placed = [("BASE", base), ("LOWEST", lowest), ("HIGHEST", highest)]
        .map(|(name, address)| format!("--defsym=LOAD_{name}={address:#x}"))
        .into();
    let how: Vec<String> = how.into_iter().map(String::from).collect();
    [placed, how, vec!["--build-id=none".into(), format!("-T{root}/{arch}.ld")]].concat()
}

/// Tells cargo to link the binary of this package as a domain; to be called by its `build.rs`. Nothing for a
/// build for the host.
///
/// # Panics
/// Outside of a build script: cargo sets the variables that name the target.
pub fn domain(load: Load) {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("none") {
        return;
    }
    let arch = std::env::var("CARGO_CFG_TARGET_ARCH").expect("cargo names the architecture");
    let root = env!("CARGO_MANIFEST_DIR");
    for argument in arguments(&arch, load, root) {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
    println!("cargo::rerun-if-changed={root}/{arch}.ld");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_architecture_has_its_script_and_its_place() {
        for arch in ["x86_64", "aarch64"] {
            let script = format!("-T{}/{arch}.ld", env!("CARGO_MANIFEST_DIR"));
            let arguments = arguments(arch, Load::Guest, env!("CARGO_MANIFEST_DIR"));
            assert!(arguments.contains(&script));
            assert!(std::path::Path::new(&script[2..]).exists());
        }
        assert!(arguments("x86_64", Load::Dom0, "").contains(&"--defsym=LOAD_BASE=0x1000000".into()));
        assert!(arguments("x86_64", Load::Guest, "").contains(&"--defsym=LOAD_BASE=0x100000".into()));
        // dom0 alone may be elsewhere.
        let has = |load, word: &str| arguments("x86_64", load, "").iter().any(|argument| argument == word);
        assert!(has(Load::Dom0, "-pie") && has(Load::Dom0, "--defsym=LOAD_HIGHEST=0xffffffff"));
        assert!(has(Load::Guest, "--no-pie") && has(Load::Guest, "--defsym=LOAD_HIGHEST=0x100000"));
        assert!(arguments("riscv64", Load::Guest, "").is_empty());
    }
}
