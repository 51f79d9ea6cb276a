//! Small changes to inputs, drawn from a seeded generator: equal seeds give equal inputs.

/// SplitMix64. Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A generator that starts at `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `bound`; 0 if that is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        if bound == 0 { 0 } else { (self.number() % bound as u64) as usize }
    }
}

/// Numbers at which arithmetic goes wrong.
const EDGES: [u64; 12] =
    [0, 1, 2, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff, i64::MAX as u64, u64::MAX];

/// Changes `input` in one to eight places, with pieces of `other` among what is put in, and keeps it at no
/// more than `most` bytes.
pub fn mutate(random: &mut Random, input: &mut Vec<u8>, other: &[u8], most: usize) {
    for _ in 0..1 + random.below(8) {
        change(random, input, other);
    }
    input.truncate(most);
}

fn change(random: &mut Random, input: &mut Vec<u8>, other: &[u8]) {
    let at = random.below(input.len());
    match random.below(9) {
        0 => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
        1 => {
            if let Some(byte) = input.get_mut(at) {
                *byte = random.number() as u8;
            }
        }
        2 => {
            if let Some(byte) = input.get_mut(at) {
                *byte = byte.wrapping_add(random.number() as u8 % 9).wrapping_sub(4);
            }
        }
        3 => write_edge(random, input, at),
        4 => {
            input.truncate(at);
        }
        5 => {
            let end = (at + 1 + random.below(16)).min(input.len());
            input.drain(at.min(end)..end);
        }
        6 => {
            let end = (at + 1 + random.below(64)).min(input.len());
            let piece = input[at.min(end)..end].to_vec();
            insert(input, at, &piece);
        }
        7 => {
            let from = random.below(other.len());
            let to = (from + 1 + random.below(64)).min(other.len());
            insert(input, at, &other[from.min(to)..to]);
        }
        _ => {
            let bytes = random.number().to_le_bytes();
            insert(input, at, &bytes[..1 + random.below(8)]);
        }
    }
}

/// Overwrites 1, 2, 4 or 8 bytes with an edge, in either byte order.
fn write_edge(random: &mut Random, input: &mut [u8], at: usize) {
    let edge = EDGES[random.below(EDGES.len())];
    let width = 1 << random.below(4);
    let mut bytes = edge.to_le_bytes();
    let bytes = &mut bytes[..width];
    if random.below(2) == 0 {
        bytes.reverse();
    }
    for (place, byte) in input.iter_mut().skip(at).zip(bytes) {
        *place = *byte;
    }
}

fn insert(input: &mut Vec<u8>, at: usize, piece: &[u8]) {
    let tail = input.split_off(at.min(input.len()));
    input.extend_from_slice(piece);
    input.extend(tail);
}

#[cfg(test)]
mod tests {
    use super::{Random, mutate};

    #[test]
    fn equal_seeds_give_equal_inputs_and_no_input_grows_too_long() {
        let run = |seed| {
            let mut random = Random::new(seed);
            let mut input = b"an input".to_vec();
            for _ in 0..2000 {
                mutate(&mut random, &mut input, b"another", 100);
                assert!(input.len() <= 100);
            }
            input
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }

    #[test]
    fn an_empty_input_grows() {
        let mut random = Random::new(3);
        let mut input = Vec::new();
        for _ in 0..100 {
            mutate(&mut random, &mut input, b"", 64);
        }
        assert!(!input.is_empty());
    }
}
