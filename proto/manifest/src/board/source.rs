//! The texts of all files behind one line of offsets, so that a span still says which file it is
//! from after the files were merged.

use std::{
    fs,
    path::{Path, PathBuf},
    string::{String, ToString},
    vec::Vec,
};

use super::{
    error::{BoardError, Location},
    file::File,
};

#[derive(Debug, Default)]
pub(super) struct SourceMap {
    sources: Vec<Source>,
}

#[derive(Debug)]
struct Source {
    path: PathBuf,
    text: String,
    /// Offset of the text's first byte among all texts.
    base: usize,
}

impl SourceMap {
    /// Reads and parses one file; the spans in it count among all files.
    pub(super) fn parse(&mut self, path: &Path) -> Result<File, BoardError> {
        let unreadable =
            |error: std::io::Error| BoardError::Unreadable { path: path.into(), why: error.to_string() };
        let text = fs::read_to_string(path).map_err(unreadable)?;
        let base = self.sources.last().map_or(0, |last| last.base + last.text.len() + 1);
        let parsed = toml::from_str::<File>(&text);
        self.sources.push(Source { path: path.into(), text, base });
        match parsed {
            Ok(mut file) => {
                file.shift(base);
                Ok(file)
            }
            Err(error) => {
                let span = error.span().unwrap_or(0..0);
                let at = self.locate(base + span.start..base + span.end);
                Err(BoardError::Toml { at, why: error.message().replace('\n', ", ") })
            }
        }
    }

    pub(super) fn locate(&self, span: core::ops::Range<usize>) -> Location {
        let Some(source) = self.sources.iter().rev().find(|source| source.base <= span.start) else {
            return Location::default();
        };
        Location::of(&source.path, &source.text, span.start - source.base)
    }

    pub(super) fn files(&self) -> Vec<PathBuf> {
        self.sources.iter().map(|source| source.path.clone()).collect()
    }
}
