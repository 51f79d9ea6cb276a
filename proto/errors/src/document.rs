//! The table as a document, for people.

use core::fmt;

use crate::areas;

/// The whole table in Markdown: `errors.md` is this.
#[derive(Debug, Clone, Copy)]
pub struct Document;

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# Errors\n")?;
        writeln!(
            f,
            "Every error that reaches a person ends with a code in brackets. `cargo xtask explain CODE` prints"
        )?;
        writeln!(f, "what is written here of it; `cargo xtask explain --all` writes this file.")?;
        for area in areas::ALL {
            writeln!(f, "\n## {}\n\n{}\n", area.module, area.about)?;
            writeln!(f, "| code | what has happened | what to do |\n|---|---|---|")?;
            for entry in area.entries {
                writeln!(f, "| {} | {} | {} |", entry.code, entry.cause, entry.next)?;
            }
        }
        Ok(())
    }
}
