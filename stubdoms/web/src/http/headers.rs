use alloc::string::String;
use alloc::vec::Vec;

/// The fields of an answer, in the order of their coming.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    fields: Vec<(String, String)>,
}

impl Headers {
    /// Adds a field. Bytes of the value that are not UTF-8 are replaced.
    pub(super) fn push(&mut self, name: &str, value: &[u8]) {
        self.fields.push((name.into(), String::from_utf8_lossy(value).trim().into()));
    }

    /// The first field of this name, in any case of letters.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// Every field of this name.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.fields
            .iter()
            .filter(move |(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Every field with its name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The media type without its parameters, such as `application/x-proto-binary`.
    pub fn content_type(&self) -> Option<&str> {
        self.get("content-type").map(|value| value.split(';').next().unwrap_or("").trim())
    }
}
