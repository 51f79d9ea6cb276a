use std::vec::Vec;

use proptest::prelude::*;

use super::*;

const BLOCK: usize = 512;
const BLOCKS: usize = 300;
const SURE: Doubt = Doubt { target: false, other: false };

fn image(seed: u8) -> Vec<u8> {
    let mut image: Vec<u8> = (0..BLOCKS * BLOCK).map(|at| (at / 7) as u8 ^ seed).collect();
    // What a FAT file system is known by.
    image[11..13].copy_from_slice(&(BLOCK as u16).to_le_bytes());
    image[19..21].copy_from_slice(&(BLOCKS as u16).to_le_bytes());
    image[510..512].copy_from_slice(&[0x55, 0xaa]);
    image
}

/// A partition behind a cache that writes in any order between flushes.
#[derive(Clone)]
struct Partition {
    disk: Vec<u8>,
    cached: Vec<(usize, Vec<u8>)>,
}

impl Partition {
    fn of(image: &[u8]) -> Self {
        Self { disk: image.to_vec(), cached: Vec::new() }
    }

    fn write(&mut self, block: u64, bytes: &[u8]) {
        for (at, one) in bytes.chunks(BLOCK).enumerate() {
            self.cached.push((block as usize + at, one.to_vec()));
        }
    }

    fn flush(&mut self) {
        for (block, bytes) in core::mem::take(&mut self.cached) {
            self.disk[block * BLOCK..(block + 1) * BLOCK].copy_from_slice(&bytes);
        }
    }

    /// What is left when the power goes: those cached blocks that `kept` chooses.
    fn cut(mut self, mut kept: impl FnMut(usize) -> bool) -> Vec<u8> {
        let cached = core::mem::take(&mut self.cached);
        self.cached =
            cached.into_iter().enumerate().filter(|(at, _)| kept(*at)).map(|(_, one)| one).collect();
        self.flush();
        self.disk
    }
}

/// What firmware starts: the first partition that is a file system.
fn started<'a>(first: &'a [u8], second: &'a [u8]) -> Option<&'a [u8]> {
    [first, second].into_iter().find(|partition| partition[510..512] == [0x55, 0xaa])
}

/// Replaces `target` and calls `look` with it after every step, and gives the number of steps.
fn replace(
    image: &[u8],
    target: &mut Partition,
    other: &[u8],
    known: &[&[u8]],
    mut look: impl FnMut(&Partition),
) -> Result<usize, ReplaceError> {
    let mut replacement = Replacement::new(image, BLOCK, BLOCKS as u64, known, SURE)?;
    let mut steps = 0;
    while let Some(step) = replacement.step() {
        match step {
            Step::Read { whose, block, blocks } => {
                let bytes = match whose {
                    Whose::Target => {
                        let mut seen = target.clone();
                        seen.flush();
                        seen.disk
                    }
                    Whose::Other => other.to_vec(),
                };
                let at = block as usize * BLOCK;
                let found = &bytes[at..at + blocks as usize * BLOCK];
                // In pieces, as a disk gives it.
                found.chunks(100 * BLOCK).try_for_each(|piece| replacement.read(piece))?;
            }
            Step::Again { .. } => unreachable!("nothing is in doubt"),
            Step::Write { block, bytes } => {
                target.write(block, bytes.unwrap_or(&[0; BLOCK]));
                replacement.done();
            }
            Step::Flush => {
                target.flush();
                replacement.done();
            }
        }
        look(target);
        steps += 1;
    }
    assert!(replacement.is_done());
    Ok(steps)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whichever partition is replaced, and wherever the power goes, with whatever blocks of the cache on the disk.
    #[test]
    fn a_whole_selector_is_started_wherever_the_power_goes(target_is_first: bool, seed: u64) {
        let (old, new) = (image(0), image(0x5a));
        let known = [&old[..]];
        let mut target = Partition::of(&old);
        let mut random = seed | 1;
        let mut states = 0;
        let steps = replace(&new, &mut target, &old, &known, |now| {
            for _ in 0..4 {
                let left = now.clone().cut(|_| {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    random >> 63 == 1
                });
                let found = if target_is_first { started(&left, &old) } else { started(&old, &left) };
                let found = found.expect("a selector");
                assert!(found == &old[..] || found == &new[..], "a selector that was never whole");
                states += 1;
            }
        }).unwrap();
        prop_assert_eq!(&target.disk, &new);
        prop_assert!(steps >= 10 && states == steps * 4);
    }
}

#[test]
fn every_single_block_of_the_cache_may_be_the_one_that_is_lost_or_kept() {
    let (old, new) = (image(0), image(0x5a));
    let known = [&old[..]];
    let mut target = Partition::of(&old);
    replace(&new, &mut target, &old, &known, |now| {
        for one in 0..now.cached.len() {
            for left in [now.clone().cut(|at| at == one), now.clone().cut(|at| at != one)] {
                let found = started(&left, &old).expect("a selector");
                assert!(found == &old[..] || found == &new[..]);
            }
        }
    })
    .unwrap();
}

#[test]
fn the_only_selector_is_not_replaced() {
    let (old, new) = (image(0), image(0x5a));
    let mut target = Partition::of(&old);
    let mut broken = old.clone();
    broken[1000] ^= 1;
    let error = replace(&new, &mut target, &broken, &[&old[..]], |_| {}).unwrap_err();
    assert_eq!(error, ReplaceError::OtherUnknown);
    assert_eq!(target.disk, old);
    assert_eq!(target.cached.len(), 0);
}

#[test]
fn what_the_disk_did_not_keep_is_never_given_its_first_block() {
    let (old, new) = (image(0), image(0x5a));
    let known = [&old[..]];
    let mut replacement = Replacement::new(&new, BLOCK, BLOCKS as u64, &known, SURE).unwrap();
    replacement.read(&old).unwrap();
    replacement.read(&old).unwrap();
    while !matches!(replacement.step(), Some(Step::Read { .. })) {
        replacement.done();
    }
    assert_eq!(replacement.step(), Some(Step::Read { whose: Whose::Target, block: 1, blocks: 299 }));
    let mut worse = new[BLOCK..].to_vec();
    worse[77] ^= 0x80;
    assert_eq!(replacement.read(&worse), Err(ReplaceError::NotWritten { block: 1 }));
    assert_eq!((replacement.step(), replacement.is_done()), (None, false));
    assert_eq!(replacement.read(&new), Err(ReplaceError::Unasked));
}

/// What was known before may be shorter or longer.
#[test]
fn the_other_one_may_hold_an_image_of_another_length() {
    let (old, new) = (image(0), image(0x5a));
    let shorter = &old[..100 * BLOCK];
    for known in [&[shorter][..], &[&new, shorter], &[shorter, &new]] {
        let mut target = Partition::of(&old);
        replace(&new, &mut target, &old, known, |_| {}).unwrap();
        assert_eq!(target.disk, new);
    }
    let mut target = Partition::of(&old);
    let wrong = &new[..99 * BLOCK];
    for known in [&[][..], &[wrong], &[wrong, &new]] {
        let error = replace(&new, &mut target, &old, known, |_| {}).unwrap_err();
        assert_eq!((error, target.cached.len()), (ReplaceError::OtherUnknown, 0));
    }
}

#[test]
fn a_target_that_holds_the_image_is_not_written() {
    let new = image(0x5a);
    let mut target = Partition::of(&new);
    // Whatever the other one holds.
    let steps = replace(&new, &mut target, &[0; BLOCKS * BLOCK], &[], |_| {}).unwrap();
    assert_eq!((steps, target.cached.len()), (1, 0));
}

/// What a partition in doubt is believed after: its first block written again, as it was read, and flushed.
#[test]
fn what_is_in_doubt_has_its_first_block_written_again_ahead_of_all_that_relies_on_it() {
    let (old, new) = (image(0), image(0x5a));
    let (known, both) = ([&old[..]], Doubt { target: true, other: true });
    let begin = |doubt| Replacement::new(&new, BLOCK, BLOCKS as u64, &known, doubt).unwrap();
    let whole = |whose| Some(Step::Read { whose, block: 0, blocks: BLOCKS as u64 });
    let again = |replacement: &mut Replacement, whose| {
        assert_eq!(replacement.step(), Some(Step::Again { whose }));
        replacement.done();
        assert_eq!(replacement.step(), Some(Step::Flush));
        replacement.done();
    };
    let mut there = begin(both);
    there.read(&new).unwrap();
    again(&mut there, Whose::Target);
    assert_eq!(there.step(), whole(Whose::Target));
    there.read(&new).unwrap();
    assert!(there.is_done());
    for doubt in [both, Doubt { target: false, ..both }, Doubt { other: false, ..both }] {
        let mut replaced = begin(doubt);
        replaced.read(&old).unwrap();
        assert_eq!(replaced.step(), whole(Whose::Other));
        replaced.read(&old).unwrap();
        if doubt.other {
            again(&mut replaced, Whose::Other);
        }
        assert_eq!(replaced.step(), Some(Step::Write { block: 0, bytes: None }));
    }
    let mut lost = begin(both);
    lost.read(&new).unwrap();
    again(&mut lost, Whose::Target);
    assert_eq!(lost.read(&old), Err(ReplaceError::NotWritten { block: 0 }));
}

#[test]
fn an_image_has_whole_blocks_and_fits() {
    let new = |bytes: &[u8], block, room| Replacement::new(bytes, block, room, &[], SURE).map(drop);
    let size = |bytes: usize, room| new(&image(0)[..bytes], BLOCK, room);
    assert_eq!(size(2 * BLOCK, BLOCKS as u64), Ok(()));
    for (bytes, room) in [(0, 9), (BLOCK, 9), (2 * BLOCK + 1, 9), (3 * BLOCK, 2)] {
        assert_eq!(size(bytes, room), Err(ReplaceError::Size { bytes }));
    }
    // A file system that is larger than the partition, shorter than the image, or none.
    assert_eq!(size(2 * BLOCK, BLOCKS as u64 - 1), Err(ReplaceError::NoVolume));
    let with = |changes: &[(usize, u8)]| {
        let mut image = image(0);
        changes.iter().for_each(|&(at, byte)| image[at] = byte);
        new(&image, BLOCK, BLOCKS as u64)
    };
    let large = [(19, 0), (20, 0), (32, 0x2c), (33, 1), (34, 0), (35, 0)];
    assert_eq!(with(&large), Ok(()), "300 sectors in the field of 32 bits");
    for changes in [&large[..3], &[(20, 0)], &[(12, 16)], &[(511, 0)], &[(510, 0)]] {
        assert_eq!(with(changes), Err(ReplaceError::NoVolume), "{changes:?}");
    }
    assert_eq!(new(&image(0)[..8192], 4096, BLOCKS as u64), Err(ReplaceError::NoVolume));
}
