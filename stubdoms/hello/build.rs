//! Links the domain with the script of its architecture. Source: `linker/README.md`.

fn main() {
    let arch = std::env::var("CARGO_CFG_TARGET_ARCH").expect("cargo names the architecture");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("none") {
        return;
    }
    let script = format!("{}/../../linker/{arch}.ld", env!("CARGO_MANIFEST_DIR"));
    let placed: &[&str] = match arch.as_str() {
        "x86_64" => &["--defsym=LOAD_BASE=0x100000"],
        _ => &[
            "--defsym=LOAD_BASE=0",
            "-pie",
            "--no-dynamic-linker",
            "-znotext",
            "-znorelro",
            "-zmax-page-size=4096",
        ],
    };
    for argument in placed.iter().chain(&["--build-id=none", &format!("-T{script}")]) {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
    println!("cargo::rerun-if-changed={script}");
}
