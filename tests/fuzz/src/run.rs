//! The bounded run: seeds and corpus as they are, then mutations of them.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::Target;
use crate::mutate::{Random, mutate};

/// The longest input that is made up.
pub const MAX_INPUT: usize = 4096;

/// How long a bounded run goes on.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Mutations at most.
    pub inputs: u32,
    /// Time at most, after seeds and corpus.
    pub time: Duration,
}

/// The folder with a target's corpus.
#[must_use]
pub fn corpus_folder(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name)
}

/// All that a run starts from: the seeds, then the files of the corpus in the order of their names.
///
/// # Panics
/// If the corpus cannot be read.
#[must_use]
pub fn start(target: &Target) -> Vec<Vec<u8>> {
    let mut inputs = (target.seeds)();
    let mut files: Vec<PathBuf> = match std::fs::read_dir(corpus_folder(target)) {
        Ok(entries) => entries.map(|entry| entry.expect("a folder of the repository").path()).collect(),
        // A target for which nothing was found yet has none.
        Err(_) => Vec::new(),
    };
    files.sort();
    inputs.extend(files.iter().map(|file| std::fs::read(file).expect("a file of the repository")));
    inputs
}

/// Runs a target on its seeds and corpus, and then on mutations of them that follow from `seed`.
/// Returns how many inputs that were.
///
/// # Panics
/// If the target does; the input is then in a file that is named.
pub fn bounded(target: &Target, seed: u64, bounds: Bounds) -> usize {
    let inputs = start(target);
    for input in &inputs {
        checked(target, input);
    }
    let mut random = Random::new(seed);
    let mut done = inputs.len();
    let end = Instant::now() + bounds.time;
    for _ in 0..bounds.inputs {
        if Instant::now() >= end {
            break;
        }
        let mut input = inputs.get(random.below(inputs.len())).cloned().unwrap_or_default();
        let other = inputs.get(random.below(inputs.len())).map_or(&[][..], Vec::as_slice);
        mutate(&mut random, &mut input, other, MAX_INPUT);
        checked(target, &input);
        done += 1;
    }
    done
}

/// Runs a target on one input, which is kept in a file if it fails.
fn checked(target: &Target, input: &[u8]) {
    let Err(panic) = catch_unwind(AssertUnwindSafe(|| (target.run)(input))) else { return };
    let file = std::env::temp_dir().join(format!("sarsen-fuzz-{}-{:016x}", target.name, hash(input)));
    match std::fs::write(&file, input) {
        Ok(()) => eprintln!(
            "target {} fails on {} bytes, which are in {}. Copy that to {} and it stays a test.",
            target.name,
            input.len(),
            file.display(),
            corpus_folder(target).display()
        ),
        Err(error) => eprintln!("target {} fails on {input:02x?} ({error})", target.name),
    }
    resume_unwind(panic);
}

/// FNV-1a, to name files by their contents.
#[must_use]
pub fn hash(input: &[u8]) -> u64 {
    input
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}
