//! A partition of a selector, as the disk gives it.

use std::io::{Cursor, Read, Write};
use std::sync::OnceLock;

use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions};
use proto_update::selector::{Doubt, Replacement};

use super::input::{Input, put_piece};

const BLOCK: usize = 512;
const BLOCKS: usize = 4300;
const PROGRAM: &str = "EFI/BOOT/BOOTAA64.EFI";
const SURE: Doubt = Doubt { target: false, other: false };

/// A volume, clean and after a start of firmware that keeps its variables there; what firmware starts from it.
struct Volumes {
    clean: Vec<u8>,
    used: Vec<u8>,
    image_bytes: usize,
    program: Vec<u8>,
}

fn volumes() -> &'static Volumes {
    static VOLUMES: OnceLock<Volumes> = OnceLock::new();
    VOLUMES.get_or_init(|| {
        let program: Vec<u8> = (0..3000_u32).map(|at| at as u8 | 1).collect();
        let mut clean = Cursor::new(vec![0; BLOCKS * BLOCK]);
        let options = FormatVolumeOptions::new().fat_type(FatType::Fat16).bytes_per_cluster(BLOCK as u32);
        fatfs::format_volume(&mut clean, options.max_root_dir_entries(32)).expect("a volume");
        put(&mut clean, PROGRAM, &program);
        let last = clean.get_ref().iter().rposition(|&byte| byte != 0).expect("it has a program");
        let mut used = clean.clone();
        put(&mut used, "ubootefi.var", &[7; 700]);
        let (clean, used) = (clean.into_inner(), used.into_inner());
        Volumes { clean, used, image_bytes: (last + 1).next_multiple_of(BLOCK), program }
    })
}

fn put(volume: &mut Cursor<Vec<u8>>, path: &str, bytes: &[u8]) {
    volume.set_position(0);
    let system = FileSystem::new(volume, FsOptions::new()).expect("a volume");
    let root = system.root_dir();
    for (at, _) in path.match_indices('/') {
        root.create_dir(&path[..at]).expect("room");
    }
    root.create_file(path).expect("room").write_all(bytes).expect("room");
}

/// Changes of a volume. What is taken for the same starts the same, by another reader.
pub(super) fn volume(bytes: &[u8]) {
    let Volumes { clean, used, image_bytes, program } = volumes();
    let mut input = Input::new(bytes);
    let is_image = input.byte() & 1 != 0;
    let mut found = if is_image { clean } else { used }[..*image_bytes].to_vec();
    while !input.is_empty() {
        let at = usize::from(input.half()) % image_bytes;
        let piece = input.piece();
        let end = (at + piece.len()).min(*image_bytes);
        found[at..end].copy_from_slice(&piece[..end - at]);
    }
    // An image is signed, and may be no volume of ours nevertheless.
    let (image, found) =
        if is_image { (&found[..], &used[..]) } else { (&clean[..*image_bytes], &found[..]) };
    let known = [image];
    let Ok(mut replacement) = Replacement::new(image, BLOCK, BLOCKS as u64, &known, SURE) else { return };
    let all = found[..*image_bytes].chunks(3 * BLOCK).try_for_each(|piece| replacement.read(piece));
    let is_same = all.is_ok() && replacement.step().is_none();
    if is_same && !is_image {
        let whole = Cursor::new([found, &used[*image_bytes..]].concat());
        let system = FileSystem::new(whole, FsOptions::new()).expect("the volume that it was");
        let mut started = Vec::new();
        let root = system.root_dir();
        let mut file = root.open_file(PROGRAM).expect("the program");
        file.read_to_end(&mut started).expect("its clusters");
        assert!(started == *program, "another program is started");
    }
}

pub(super) fn volume_changes() -> Vec<Vec<u8>> {
    let change = |flag: u8, changes: &[(usize, &[u8])]| {
        let mut out = vec![flag];
        for (at, piece) in changes {
            out.extend((*at as u16).to_le_bytes());
            put_piece(&mut out, piece);
        }
        out
    };
    let Volumes { used, .. } = volumes();
    let file = used.windows(11).position(|name| name == b"UBOOTEFIVAR").expect("the file");
    vec![
        change(0, &[]),
        change(1, &[]),
        change(0, &[(file, b"\xe5")]),
        change(0, &[(file + 26, &[3, 0]), (file + 32, &used[file..file + 32])]),
        change(0, &[(BLOCK + 30, &[2, 0, 0xff, 0xff])]),
        change(1, &[(11, &used[11..64])]),
    ]
}
