//! An initial ramdisk for Linux: cpio, format "newc", with folders, links and devices. Pure.
//!
//! dom0's own archive has a writer in `proto/manifest`, which makes plain files only and on purpose.
//!
//! Source: Linux, Documentation/driver-api/early-userspace/buffer-format.rst.

const FOLDER: u32 = 0o040_755;
const FILE: u32 = 0o100_644;
const PROGRAM: u32 = 0o100_755;
const LINK: u32 = 0o120_777;
const CHARACTER_DEVICE: u32 = 0o020_600;

/// A ramdisk that is being written. Linux makes its entries in their order, so folders come before what is
/// in them.
#[derive(Debug, Default)]
pub struct Initrd {
    bytes: Vec<u8>,
    folders: Vec<String>,
    entries: u32,
}

impl Initrd {
    /// Adds a folder, and those that it lies in. `path` is relative to the root.
    pub fn folder(&mut self, path: &str) {
        if path.is_empty() || self.folders.iter().any(|known| known == path) {
            return;
        }
        self.parent(path);
        self.folders.push(path.to_owned());
        self.put(path, FOLDER, &[], [0, 0]);
    }

    /// Adds a file.
    pub fn file(&mut self, path: &str, contents: &[u8]) {
        self.parent(path);
        self.put(path, FILE, contents, [0, 0]);
    }

    /// Adds a file that can be run.
    pub fn program(&mut self, path: &str, contents: &[u8]) {
        self.parent(path);
        self.put(path, PROGRAM, contents, [0, 0]);
    }

    /// Adds a symbolic link to `target`.
    pub fn link(&mut self, path: &str, target: &str) {
        self.parent(path);
        self.put(path, LINK, target.as_bytes(), [0, 0]);
    }

    /// Adds a character device.
    pub fn character_device(&mut self, path: &str, major: u32, minor: u32) {
        self.parent(path);
        self.put(path, CHARACTER_DEVICE, &[], [major, minor]);
    }

    /// Writes the trailer and gives out the ramdisk.
    pub fn finish(mut self) -> Vec<u8> {
        self.put("TRAILER!!!", 0, &[], [0, 0]);
        self.bytes
    }

    fn parent(&mut self, path: &str) {
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.folder(parent);
        }
    }

    fn put(&mut self, path: &str, mode: u32, contents: &[u8], device: [u32; 2]) {
        self.entries += 1;
        // Files of packages: far below 4 GiB.
        let [length, name_length] = [contents.len() as u32, path.len() as u32 + 1];
        let [major, minor] = device;
        // ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
        let fields = [self.entries, mode, 0, 0, 1, 0, length, 0, 0, major, minor, name_length, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(contents);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entries as the kernel reads them: path, mode, contents, device.
    fn read(mut bytes: &[u8]) -> Vec<(String, u32, Vec<u8>, [u32; 2])> {
        let mut entries = Vec::new();
        loop {
            let (header, rest) = bytes.split_at(110);
            assert_eq!(&header[..6], b"070701");
            let field = |index: usize| {
                let text = std::str::from_utf8(&header[6 + 8 * index..][..8]).unwrap();
                u32::from_str_radix(text, 16).unwrap()
            };
            let name_length = field(11) as usize;
            let name = String::from_utf8(rest[..name_length - 1].to_vec()).unwrap();
            assert_eq!(rest[name_length - 1], 0);
            let at = (110 + name_length).next_multiple_of(4);
            let contents = bytes[at..at + field(6) as usize].to_vec();
            if name == "TRAILER!!!" {
                assert_eq!(bytes.len(), at);
                return entries;
            }
            bytes = &bytes[(at + contents.len()).next_multiple_of(4)..];
            entries.push((name, field(1), contents, [field(9), field(10)]));
        }
    }

    #[test]
    fn folders_come_once_and_before_what_is_in_them() {
        let mut initrd = Initrd::default();
        initrd.program("usr/bin/xl", b"elf");
        initrd.file("usr/lib/a", b"12345");
        initrd.folder("usr/lib");
        initrd.link("run", "usr/run");
        initrd.character_device("dev/console", 5, 1);
        let expected = [
            ("usr", FOLDER, &b""[..], [0, 0]),
            ("usr/bin", FOLDER, b"", [0, 0]),
            ("usr/bin/xl", PROGRAM, b"elf", [0, 0]),
            ("usr/lib", FOLDER, b"", [0, 0]),
            ("usr/lib/a", FILE, b"12345", [0, 0]),
            ("run", LINK, b"usr/run", [0, 0]),
            ("dev", FOLDER, b"", [0, 0]),
            ("dev/console", CHARACTER_DEVICE, b"", [5, 1]),
        ];
        let expected =
            expected.map(|(path, mode, contents, device)| (path.to_owned(), mode, contents.to_vec(), device));
        assert_eq!(read(&initrd.finish()), expected);
    }
}
