//! `explain`: what an error's code stands for, and what to do about it.

use anyhow::{Context, Result};
use proto_errors::{Document, Entry};

use crate::paths;

/// Options of `explain`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Codes, as they stand in brackets behind errors
    #[arg(required_unless_present = "all")]
    pub codes: Vec<String>,
    /// Write the whole table to proto/errors/errors.md
    #[arg(long, conflicts_with = "codes")]
    pub all: bool,
}

/// Runs the subcommand: cause and next step go to standard output.
///
/// # Errors
/// When there is no such code, or the table cannot be written.
pub fn explain(options: &Options) -> Result<()> {
    if options.all {
        let file = paths::repository().join("proto/errors/errors.md");
        paths::write(&file, Document.to_string())?;
        println!("{}", file.display());
    }
    for code in &options.codes {
        let entry = proto_errors::find(code)
            .with_context(|| format!("there is no error `{code}`; proto/errors/errors.md lists all"))?;
        print!("{}", told(entry));
    }
    Ok(())
}

fn told(entry: &Entry) -> String {
    format!("{}\n  what has happened: {}\n  what to do: {}\n", entry.code, entry.cause, entry.next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_explained_by_cause_and_next_step() {
        let text = told(proto_errors::find("[e-boot-003]").unwrap());
        assert_eq!(
            text,
            "E-BOOT-003\n  what has happened: The archive holds no table of domains.\n  \
             what to do: Make the archive with `cargo xtask build`.\n"
        );
        let unknown = Options { codes: vec!["E-NONE-1".into()], all: false };
        assert!(explain(&unknown).unwrap_err().to_string().contains("E-NONE-1"));
    }
}
