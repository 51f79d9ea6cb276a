//! Writes a flattened device tree. Source: Devicetree Specification 0.4, section 5.

use alloc::vec::Vec;

const MAGIC: u32 = 0xd00d_feed;
const VERSION: u32 = 17;
const COMPATIBLE_VERSION: u32 = 16;
/// The header, and behind it the one empty entry that ends the list of reserved memory.
const HEADER: usize = 40;
const NO_RESERVATIONS: usize = 16;

const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROPERTY: u32 = 3;
const END: u32 = 9;

/// A tree that is being written: nodes are begun and ended, properties belong to the node that was begun
/// last and come before its children.
#[derive(Debug, Default)]
pub(super) struct Tree {
    structure: Vec<u8>,
    strings: Vec<u8>,
}

impl Tree {
    /// Writes a node with what `fill` writes into it.
    pub(super) fn node(&mut self, name: &str, fill: impl FnOnce(&mut Self)) {
        self.words(&[BEGIN_NODE]);
        self.padded(&[name.as_bytes(), &[0]]);
        fill(self);
        self.words(&[END_NODE]);
    }

    /// A property of bytes.
    pub(super) fn bytes(&mut self, name: &str, parts: &[&[u8]]) {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let name = self.string(name);
        self.words(&[PROPERTY, length as u32, name]);
        self.padded(parts);
    }

    /// A property without a value.
    pub(super) fn flag(&mut self, name: &str) {
        self.bytes(name, &[]);
    }

    /// A property of texts, each ended by NUL.
    pub(super) fn text(&mut self, name: &str, texts: &[&str]) {
        let parts: Vec<&[u8]> = texts.iter().flat_map(|text| [text.as_bytes(), &[0]]).collect();
        self.bytes(name, &parts);
    }

    /// A property of words of 32 bits.
    pub(super) fn cells(&mut self, name: &str, cells: &[u32]) {
        let bytes: Vec<u8> = cells.iter().flat_map(|cell| cell.to_be_bytes()).collect();
        self.bytes(name, &[&bytes]);
    }

    /// A property of words of 64 bits, each two cells.
    pub(super) fn wide(&mut self, name: &str, values: &[u64]) {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_be_bytes()).collect();
        self.bytes(name, &[&bytes]);
    }

    /// The finished tree.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.words(&[END]);
        let structure = HEADER + NO_RESERVATIONS;
        let strings = structure + self.structure.len();
        let total = strings + self.strings.len();
        let header = [
            MAGIC,
            total as u32,
            structure as u32,
            strings as u32,
            HEADER as u32,
            VERSION,
            COMPATIBLE_VERSION,
            // The processor that starts.
            0,
            self.strings.len() as u32,
            self.structure.len() as u32,
        ];
        let mut out = Vec::with_capacity(total);
        out.extend(header.iter().flat_map(|word| word.to_be_bytes()));
        out.resize(structure, 0);
        out.extend(&self.structure);
        out.extend(&self.strings);
        out
    }

    fn words(&mut self, words: &[u32]) {
        self.structure.extend(words.iter().flat_map(|word| word.to_be_bytes()));
    }

    fn padded(&mut self, parts: &[&[u8]]) {
        parts.iter().for_each(|part| self.structure.extend_from_slice(part));
        self.structure.resize(self.structure.len().next_multiple_of(4), 0);
    }

    /// Where a property's name stands among the strings. Each stands there once.
    fn string(&mut self, name: &str) -> u32 {
        let with_end: Vec<u8> = name.bytes().chain([0]).collect();
        let known = self.strings.split_inclusive(|&byte| byte == 0).scan(0, |at, known| {
            let here = *at;
            *at += known.len();
            Some((here, known))
        });
        let found = known.into_iter().find(|(_, known)| *known == with_end).map(|(at, _)| at);
        let at = found.unwrap_or(self.strings.len());
        if found.is_none() {
            self.strings.extend_from_slice(&with_end);
        }
        at as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_tree_has_these_bytes() {
        let mut tree = Tree::default();
        tree.node("", |tree| {
            tree.cells("reg", &[7]);
            tree.node("a@1", |tree| {
                tree.text("reg", &["x", "yz"]);
                tree.flag("on");
            });
        });
        let bytes = tree.finish();
        let words = |words: &[u32]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>();
        let mut structure = words(&[1, 0, 3, 4, 0, 7, 1]);
        structure.extend(b"a@1\0");
        structure.extend(words(&[3, 5, 0]));
        structure.extend(b"x\0yz\0\0\0\0");
        structure.extend(words(&[3, 0, 4, 2, 2, 9]));
        let (length, strings) = (structure.len() as u32, b"reg\0on\0");
        let mut expected = words(&[0xd00d_feed, 56 + length + 7, 56, 56 + length, 40, 17, 16, 0, 7, length]);
        expected.extend([0; 16]);
        expected.extend(structure);
        expected.extend(strings);
        assert_eq!(bytes, expected);
    }
}
