//! Turns the schema into Rust: reads `schema/*.proto`, writes one file a package.

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=schema");
    let mut files: Vec<PathBuf> = std::fs::read_dir("schema")?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.retain(|path| path.extension().is_some_and(|ext| ext == "proto"));
    // Equal inputs give equal images: the order of a folder is not an input.
    files.sort();
    let descriptors = protox::compile(&files, ["schema"])?;
    prost_build::Config::new()
        // Hash maps would want `std`.
        .btree_map(["."])
        .disable_comments(["."])
        .compile_fds(descriptors)?;
    Ok(())
}
