//! The archive, the records in it, and what the host tool makes them of.

use std::path::PathBuf;
use std::sync::OnceLock;

use dom0_toolstack::build::Platform;
use dom0_toolstack::build::elf::{Image, Segment};
use proto_manifest::archive::{Archive, Writer};
use proto_manifest::board::Board;
use proto_manifest::table::{self, Table};
use proto_manifest::wiring::{self, Wiring};

pub(super) fn archive(bytes: &[u8]) {
    let Ok(archive) = Archive::open(bytes) else { return };
    let mut writer = Writer::new();
    for entry in archive.entries() {
        assert_eq!(archive.find(entry.name), Some(entry.data));
        writer.add(entry.name, entry.data).expect("what was read can be written");
    }
    let again = writer.finish();
    let again = Archive::open(&again).expect("what we write is read");
    assert!(archive.entries().eq(again.entries()));
}

pub(super) fn archives() -> Vec<Vec<u8>> {
    let mut writer = Writer::new();
    let empty = Writer::new().finish();
    writer.add("table", &tables()[0]).unwrap();
    writer.add("images/hello", b"image").unwrap();
    writer.add("config/server", b"zed.example:8443\n").unwrap();
    vec![empty, writer.finish()]
}

pub(super) fn table(bytes: &[u8]) {
    let Ok(table) = Table::decode(bytes) else { return };
    let mut room = vec![0; table::MAX_BYTES];
    let again = table.encode(&mut room).expect("a table that was read fits");
    assert_eq!(Table::decode(again).as_ref(), Ok(&table));
    for (index, domain) in table.domains.iter().enumerate() {
        assert_eq!(table.devices_of(domain).count(), domain.devices.len(), "an index leads nowhere");
        assert!(table.channels_of(index).count() <= table.channels.len());
    }
}

/// The tables of our own boards.
pub(super) fn tables() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for board in board_files() {
        let board = Board::load(&board).expect("a board of ours");
        let table = board.compile(|_| Some([7; 32])).expect("a board of ours");
        let mut room = vec![0; table::MAX_BYTES];
        seeds.push(table.encode(&mut room).unwrap().to_vec());
    }
    seeds
}

fn board_files() -> Vec<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../board-support/boards");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("the folder of boards")
        .map(|entry| entry.expect("the folder of boards").path().join("board.toml"))
        .filter(|file| file.is_file())
        .collect();
    files.sort();
    files
}

pub(super) fn wiring(bytes: &[u8]) {
    let Ok(wiring) = Wiring::decode(bytes) else { return };
    let mut room = [0; wiring::MAX_BYTES];
    let again = wiring.encode(&mut room).expect("a record that was read fits");
    assert_eq!(Wiring::decode(again).as_ref(), Ok(&wiring));
    for channel in &wiring.channels {
        assert_eq!(wiring.channel(&channel.name), Some(channel.end));
    }
}

pub(super) fn wirings() -> Vec<Vec<u8>> {
    use proto_manifest::wiring::{DeviceGrant, DmaPool, End, MmioWindow};
    let name = |text: &str| text.try_into().expect("a short name");
    let mut wiring = Wiring {
        name: name("net"),
        domid: 1,
        epitaph: 0x1000,
        heap_limit_kib: 1024,
        channels: heapless::Vec::new(),
        devices: heapless::Vec::new(),
        slot: Some(wiring::RunningSlot::B),
    };
    let ends = [
        ("dom0", End::Dom0 { page: 0x2000, port: 3 }),
        ("network", End::Offer { peer: 2, page: 0x3000, gref: 8, port: 4, bind: false }),
        ("device", End::Accept { peer: 2, gref: 9, port: 5, bind: true }),
        ("storage", End::Absent),
    ];
    for (text, end) in ends {
        let _ = wiring.channels.push(wiring::ChannelEnd { name: name(text), end });
    }
    let mut device = DeviceGrant {
        name: name("nic"),
        kind: Board::load(&board_files()[0]).unwrap().table().devices[0].kind,
        mmio: heapless::Vec::new(),
        vectors: heapless::Vec::new(),
        pool: Some(DmaPool { owner: 0, first_gref: 64, pages: 16 }),
    };
    let _ = device.mmio.push(MmioWindow { gaddr: 0xf000_0000, len: 0x2_0000, bar: 0, offset: 0 });
    let _ = device.vectors.push(48);
    let _ = wiring.devices.push(device);
    let mut room = [0; wiring::MAX_BYTES];
    vec![wiring.encode(&mut room).unwrap().to_vec()]
}

/// A board's file alone, and beside the common ones.
pub(super) fn board(bytes: &[u8]) {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = std::env::temp_dir().join(format!("sarsen-fuzz-board-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("fuzzed")).expect("a folder for temporary files");
        folder
    });
    let file = folder.join("fuzzed/board.toml");
    std::fs::write(&file, bytes).expect("a folder for temporary files");
    match Board::load(&file) {
        Ok(board) => {
            let table = board.compile(|_| Some([0; 32])).expect("every image is there");
            let mut room = vec![0; table::MAX_BYTES];
            let bytes = table.encode(&mut room).expect("a table that was compiled fits and is consistent");
            assert_eq!(Table::decode(bytes).as_ref(), Ok(&table));
        }
        Err(errors) => assert!(!errors.to_string().is_empty()),
    }
}

/// Our boards and what they inherit.
pub(super) fn boards() -> Vec<Vec<u8>> {
    let common = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../board-support/boards/common");
    let mut files = board_files();
    for entry in std::fs::read_dir(common).expect("the folder of boards") {
        files.push(entry.expect("the folder of boards").path());
    }
    files.retain(|file| file.extension().is_some_and(|end| end == "toml"));
    files.sort();
    let read = |file: &PathBuf| std::fs::read_to_string(file).expect("a board's file");
    let mut seeds: Vec<Vec<u8>> = files.iter().map(|file| read(file).into_bytes()).collect();
    // One that inherits nothing and has all that a board needs.
    let without = |text: String| -> String {
        let lines = text.lines().filter(|line| !line.starts_with("inherits"));
        lines.map(|line| format!("{line}\n")).collect()
    };
    for board in board_files() {
        let own = read(&board);
        let mut whole = without(own.clone());
        for file in
            files.iter().filter(|file| own.contains(&*file.file_name().unwrap_or_default().to_string_lossy()))
        {
            if *file != board {
                whole.push_str(&without(read(file)));
            }
        }
        seeds.push(whole.into_bytes());
    }
    seeds
}

pub(super) fn elf(bytes: &[u8]) {
    for platform in [Platform::X86 { signature: 0 }, Platform::Arm { seeds: || None }] {
        if let Ok(image) = Image::parse(platform, bytes) {
            check_image(&image);
        }
    }
}

fn check_image(image: &Image<'_>) {
    let mut free_from = 0;
    for segment in &image.segments {
        assert!(segment.start >= free_from && segment.data.len() as u64 <= segment.length);
        free_from = segment.start.checked_add(segment.length).expect("a segment within the address space");
    }
    assert_eq!(image.end(), free_from);
    let within = |segment: &Segment<'_>| (segment.start..segment.end()).contains(&image.entry);
    assert!(image.segments.iter().any(within), "the entry is in no segment");
    assert!(image.check_below(free_from).is_ok() && image.check_below(free_from - 1).is_err());
}

/// A small image with two segments and the note, for this machine and for the other one.
pub(super) fn elves() -> Vec<Vec<u8>> {
    const EM_X86_64: u16 = 62;
    const EM_AARCH64: u16 = 183;
    const EXEC: u16 = 2;
    const DYN: u16 = 3;
    vec![small_elf(EM_X86_64, EXEC, 0x10_0000), small_elf(EM_AARCH64, DYN, 0)]
}

fn small_elf(machine: u16, kind: u16, base: u64) -> Vec<u8> {
    const LOAD: u32 = 1;
    const NOTE: u32 = 4;
    /// `XEN_ELFNOTE_PHYS32_ENTRY`.
    const ENTRY: u32 = 18;
    let body_at = 64 + 56 * 3;
    let mut note = Vec::new();
    for word in [4u32, 4, ENTRY] {
        note.extend(word.to_le_bytes());
    }
    note.extend(b"Xen\0");
    note.extend((base as u32).to_le_bytes());
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    file.extend(kind.to_le_bytes());
    file.extend(machine.to_le_bytes());
    file.extend(1u32.to_le_bytes());
    for word in [base, 64, 0] {
        file.extend(word.to_le_bytes());
    }
    file.extend(0u32.to_le_bytes());
    for half in [64u16, 56, 3, 0, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    // Type, place in the file, address, bytes in the file, bytes in memory.
    for (kind, offset, address, in_file, in_memory) in [
        (LOAD, body_at + 20, base, 6u64, 6u64),
        (LOAD, body_at + 26, base + 0x2000, 4, 0x1234),
        (NOTE, body_at, 0, 20, 20),
    ] {
        file.extend(kind.to_le_bytes());
        file.extend(5u32.to_le_bytes());
        for word in [offset, address, address, in_file, in_memory, 4] {
            file.extend(word.to_le_bytes());
        }
    }
    file.extend(note);
    file.extend(b"text..data");
    file
}
