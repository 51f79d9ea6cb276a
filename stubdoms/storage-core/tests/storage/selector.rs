//! Replacing the selector, on a disk that is cut at every write: whatever of the unflushed blocks is old, new or torn,
//! firmware finds a selector that was whole, the old one or the new one.

use core::time::Duration;

use board_support_drv::block::BlockDevice as _;
use board_support_drv::block::BlockSize;
use board_support_drv::block::fake::{FakeDisk, Image, Log};
use embassy_futures::block_on;
use proto_update::selector::{ReplaceError, Replacement, Step, Whose};
use sha2::{Digest, Sha256};

use crate::power_cut::{fates, left};
use crate::world::{BLOCK, Random};

/// Blocks of a partition, and where both begin.
const BLOCKS: u64 = 24;
const FIRST: u64 = 8;
const SECOND: u64 = FIRST + BLOCKS + 8;
const STATES: usize = 5_000;

/// A partition that firmware takes for a FAT file system, by the fields that it looks at.
fn image(seed: u8) -> Vec<u8> {
    let mut image: Vec<u8> = (0..BLOCKS as usize * BLOCK).map(|at| (at / 3) as u8 ^ seed | 1).collect();
    image[..16].copy_from_slice(b"\xeb\x3c\x90SARSEN  \x00\x02\x01\x01\x00");
    image[510..512].copy_from_slice(&[0x55, 0xaa]);
    image
}

/// UEFI's FAT driver takes what has this many bytes a sector, sectors a cluster and reserved sectors, and the
/// signature; at the three bytes ahead of them, the jump, and the name it does not look.
fn is_file_system(first: &[u8]) -> bool {
    first[11..13] == 512_u16.to_le_bytes()
        && first[13] == 1
        && first[14..16] == [1, 0]
        && first[510..] == [0x55, 0xaa]
}

fn partition(disk: &Image, at: u64) -> Vec<u8> {
    let mut bytes = vec![0; BLOCKS as usize * BLOCK];
    disk.get(at, &mut bytes);
    bytes
}

/// What firmware starts.
fn started(disk: &Image) -> Option<Vec<u8>> {
    [FIRST, SECOND].map(|at| partition(disk, at)).into_iter().find(|bytes| is_file_system(&bytes[..BLOCK]))
}

/// Whether it is this image, but for what nobody looks at.
fn is_whole(found: &[u8], image: &[u8]) -> bool {
    found[11..] == image[11..]
}

fn hash(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Replaces the partition at `target` by `new`, when the one at `other` is known.
fn replace(
    disk: &FakeDisk,
    target: u64,
    other: u64,
    new: &[u8],
    known: &[[u8; 32]],
) -> Result<(), ReplaceError> {
    let mut replacement = Replacement::new(new, BLOCK, BLOCKS, known)?;
    let mut device = disk.clone();
    while let Some(step) = replacement.step() {
        match step {
            Step::Read { whose, block, blocks } => {
                let at = if whose == Whose::Target { target } else { other };
                let mut bytes = vec![0; blocks as usize * BLOCK];
                disk.image().get(at + block, &mut bytes);
                replacement.read(&hash(&bytes))?;
                continue;
            }
            Step::Write { block, bytes } => {
                let bytes = bytes.unwrap_or(&[0; BLOCK]);
                block_on(device.write(target + block, bytes, Duration::ZERO)).expect("the disk is well");
            }
            Step::Flush => block_on(device.flush(Duration::ZERO)).expect("the disk is well"),
        }
        replacement.done();
    }
    assert!(replacement.is_done());
    Ok(())
}

fn flashed(first: &[u8], second: &[u8]) -> Image {
    let mut disk = Image::new(BlockSize::B512);
    disk.put(FIRST, first);
    disk.put(SECOND, second);
    disk
}

fn replaced(before: Image, target: u64, other: u64, new: &[u8], known: &[[u8; 32]]) -> Log {
    let disk = FakeDisk::of(before, SECOND + BLOCKS + 8);
    replace(&disk, target, other, new, known).expect("the other one is known");
    disk.log().clone()
}

#[test]
fn a_whole_selector_is_started_after_every_cut_of_its_replacement() {
    let (old, new) = (image(0), image(0x5a));
    let known = [hash(&old), hash(&new)];
    let mut random = Random(9);
    let mut states = 0;
    // The second first, as it is to be; then the first. And the first at once, and both of them once more.
    for (before, target, other) in [
        (flashed(&old, &old), SECOND, FIRST),
        (flashed(&old, &new), FIRST, SECOND),
        (flashed(&old, &old), FIRST, SECOND),
        // What a cut has left is begun anew.
        (flashed(&[&[0; BLOCK], &new[BLOCK..]].concat(), &old), FIRST, SECOND),
        (flashed(&old, &[&[0; BLOCK], &old[BLOCK..]].concat()), SECOND, FIRST),
    ] {
        let log = replaced(before, target, other, &new, &known);
        for at in 0..=log.events().len() {
            let cut = log.cut(at);
            for fates in fates(cut.in_doubt(), &mut random, 60) {
                let disk = left(&cut, &fates);
                let found = started(&disk).expect("a selector, never none");
                assert!(
                    is_whole(&found, &old) || is_whole(&found, &new),
                    "one that was never whole, event {at}"
                );
                assert!(
                    partition(&disk, other) == partition(&log.cut(0).left(|_| 0), other),
                    "the other one is as it was"
                );
                states += 1;
            }
        }
        let end = log.cut(log.events().len());
        assert_eq!(end.in_doubt(), 0, "what is done is durable");
        assert!(partition(&end.left(|_| 0), target) == new);
    }
    println!("{states} states");
    assert!(states >= STATES, "only {states}");
}

/// A cut, and again, and again: whatever is left, what follows begins anew and comes to its end.
#[test]
fn a_replacement_that_was_cut_is_begun_anew() {
    let (old, new) = (image(0), image(0x5a));
    let known = [hash(&old), hash(&new)];
    for seed in 0..60 {
        let mut random = Random(seed);
        let mut disk = flashed(&old, &old);
        for _ in 0..6 {
            let log = replaced(disk, SECOND, FIRST, &new, &known);
            let cut = log.cut(random.below(log.events().len() + 1));
            disk = cut.left(|of| random.below(of));
            assert!(is_whole(&started(&disk).expect("a selector"), &old), "{seed}");
        }
        let log = replaced(disk, SECOND, FIRST, &new, &known);
        let disk = log.cut(log.events().len()).left(|_| 0);
        assert!(partition(&disk, SECOND) == new && partition(&disk, FIRST) == old);
    }
}

#[test]
fn beside_one_that_is_not_known_nothing_is_written() {
    let (old, new) = (image(0), image(0x5a));
    let disk = FakeDisk::of(flashed(&[&[0; BLOCK], &old[BLOCK..]].concat(), &old), SECOND + BLOCKS + 8);
    let refused = replace(&disk, SECOND, FIRST, &new, &[hash(&old)]);
    assert_eq!(refused, Err(ReplaceError::OtherUnknown));
    assert!(disk.log().events().is_empty());
}
