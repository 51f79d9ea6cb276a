//! One TOML file: its text, what is wrong with it, and the values that its keys have.
//!
//! The file is walked value by value instead of being given to a deserializer, because that ends at the
//! first mistake, and knows neither the keys on the way nor, in merged files, the lines.

use core::ops::Range;
use std::{
    borrow::ToOwned,
    collections::BTreeSet,
    format, fs,
    path::{Component, Path, PathBuf},
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    error::{BoardError, Fault, Location},
    file::File,
};

/// A value, and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Item<T> {
    pub(super) value: T,
    pub(super) at: Location,
}

/// A file that is being read.
pub(super) struct Reader<'a> {
    file: Arc<Path>,
    text: &'a str,
    errors: &'a mut Vec<BoardError>,
}

/// A type of which a value of a file can be.
pub(super) trait Read: Sized {
    /// Reads it, or notes what is wrong.
    fn read(reader: &mut Reader<'_>, at: &Location, value: &Spanned<DeValue<'_>>) -> Option<Self>;
}

/// Reads one file. What is wrong with it is added to `errors`; what is right is given all the same.
pub(super) fn read(path: &Path, errors: &mut Vec<BoardError>) -> File {
    let file: Arc<Path> = path.into();
    let start = Location { file: file.clone(), line: 1, key: String::new() };
    let text = match fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) => {
            errors.push(BoardError { at: start, fault: Fault::Unreadable { why: error.to_string() } });
            return File::default();
        }
    };
    let (table, broken) = DeTable::parse_recoverable(&text);
    let mut reader = Reader { file, text: &text, errors };
    if !broken.is_empty() {
        // What the parser made of such a file would give errors that only follow from these; so do, of a
        // table that is there twice, its keys, and of a line, its rest.
        let mut told = BTreeSet::new();
        for error in &broken {
            let line = reader.line(error.span().unwrap_or(0..0).start);
            if told.insert((line, "")) && (error.message() != DUPLICATE || told.insert((0, DUPLICATE))) {
                reader.syntax(error);
            }
        }
        return File::default();
    }
    let table = Spanned::new(table.span(), DeValue::Table(table.into_inner()));
    File::read(&mut reader, &start, &table).unwrap_or_default()
}

impl Reader<'_> {
    /// Notes a mistake.
    pub(super) fn wrong(&mut self, at: &Location, fault: Fault) {
        self.errors.push(BoardError { at: at.clone(), fault });
    }

    /// The place of `key` within `parent`.
    pub(super) fn inside(&self, parent: &Location, key: &str, span: &Range<usize>) -> Location {
        let key = match (parent.key.as_str(), key.starts_with('[')) {
            ("", _) => key.to_owned(),
            (outer, true) => format!("{outer}{key}"),
            (outer, false) => format!("{outer}.{key}"),
        };
        Location { file: self.file.clone(), line: self.line(span.start), key }
    }

    /// Reads the value of a key.
    pub(super) fn item<T: Read>(&mut self, at: Location, value: &Spanned<DeValue<'_>>) -> Option<Item<T>> {
        let read = T::read(self, &at, value)?;
        Some(Item { value: read, at })
    }

    fn line(&self, offset: usize) -> usize {
        self.text.bytes().take(offset).filter(|&byte| byte == b'\n').count() + 1
    }

    fn syntax(&mut self, error: &toml::de::Error) {
        let span = error.span().unwrap_or(0..0);
        let line = self.line(span.start);
        let text: String =
            self.text.lines().nth(line - 1).unwrap_or_default().trim().chars().take(60).collect();
        let why = match error.message() {
            DUPLICATE => format!("`{}` is there twice", self.text.get(span).unwrap_or_default()),
            message => message.to_owned(),
        };
        let at = Location { file: self.file.clone(), line, key: String::new() };
        self.wrong(&at, Fault::Syntax { text, why });
    }
}

/// What the parser says of a key or table that is there twice.
const DUPLICATE: &str = "duplicate key";

/// Without `FOLDER/..`, as one would write it by hand.
pub(super) fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        let above = matches!(plain.components().next_back(), Some(Component::Normal(_)));
        if component == Component::ParentDir && above {
            plain.pop();
        } else {
            plain.push(component);
        }
    }
    plain
}

fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "`true` or `false`",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// The table behind `value`; anything else is noted.
pub(super) fn table<'v, 't>(
    reader: &mut Reader<'_>,
    at: &Location,
    value: &'v Spanned<DeValue<'t>>,
) -> Option<&'v DeTable<'t>> {
    match value.get_ref() {
        DeValue::Table(table) => Some(table),
        other => wrong_type(reader, at, "a table", other),
    }
}

fn wrong_type<T>(
    reader: &mut Reader<'_>,
    at: &Location,
    want: &'static str,
    found: &DeValue<'_>,
) -> Option<T> {
    reader.wrong(at, Fault::WrongType { want, found: kind_of(found) });
    None
}

impl Read for String {
    fn read(reader: &mut Reader<'_>, at: &Location, value: &Spanned<DeValue<'_>>) -> Option<Self> {
        match value.get_ref() {
            DeValue::String(text) => Some(text.clone().into_owned()),
            other => wrong_type(reader, at, "a text", other),
        }
    }
}

impl Read for bool {
    fn read(reader: &mut Reader<'_>, at: &Location, value: &Spanned<DeValue<'_>>) -> Option<Self> {
        match value.get_ref() {
            DeValue::Boolean(flag) => Some(*flag),
            other => wrong_type(reader, at, "`true` or `false`", other),
        }
    }
}

macro_rules! numbers {
    ($($number:ty),*) => {
        $(impl Read for $number {
            fn read(reader: &mut Reader<'_>, at: &Location, value: &Spanned<DeValue<'_>>) -> Option<Self> {
                let integer = match value.get_ref() {
                    DeValue::Integer(integer) => integer,
                    other => return wrong_type(reader, at, "a whole number", other),
                };
                let number = Self::from_str_radix(integer.as_str(), integer.radix()).ok();
                if number.is_none() {
                    let why = format!("is {integer} and must be from 0 to {}", Self::MAX);
                    reader.wrong(at, Fault::BadValue { why });
                }
                number
            }
        })*
    };
}

numbers!(u8, u32, u64);

/// A list: each of its values has a place of its own.
impl<T: Read> Read for Vec<Item<T>> {
    fn read(reader: &mut Reader<'_>, at: &Location, value: &Spanned<DeValue<'_>>) -> Option<Self> {
        let values = match value.get_ref() {
            DeValue::Array(values) => values,
            other => return wrong_type(reader, at, "a list", other),
        };
        let mut items = Vec::new();
        for (index, value) in values.iter().enumerate() {
            let at = reader.inside(at, &format!("[{index}]"), &value.span());
            items.extend(reader.item(at, value));
        }
        Some(items)
    }
}
