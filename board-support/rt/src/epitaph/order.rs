//! The steps of the page's two ends whose order matters, by themselves, so that a model checker can try them
//! in every order. The models, each with twins that must fail, are `epitaph` in `tests/ring`.

use core::sync::atomic::Ordering;

use board_support_hyp::word::Word;

use super::MAGIC;

/// Makes so many bytes of text readable. They are there for who sees the magic, and when more follow, for
/// who sees the new length.
pub fn publish(magic: &impl Word, length: &impl Word, bytes: u32) {
    length.store(bytes, Ordering::Release);
    magic.store(MAGIC, Ordering::Release);
}

/// How many bytes of text can be read, as the page says; `None` if it holds nothing.
pub fn find(magic: &impl Word, length: &impl Word) -> Option<u32> {
    (magic.load(Ordering::Acquire) == MAGIC).then(|| length.load(Ordering::Acquire))
}
