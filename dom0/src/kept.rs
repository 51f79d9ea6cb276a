//! Memory that outlives a reset, where the selector has found some: a note for the next life of the machine, what the order
//! that ends this one says of itself, and dom0's last words.

use alloc::string::String;

use board_support_hyp::Shared;
use board_support_rt::{epitaph, memory, set_epitaph};
use proto_handoff::kept;
use proto_xen::{Gaddr, PAGE_SIZE};

/// The memory.
pub(crate) struct Pages {
    note: memory::SpecialPage,
}

/// What the life before has left.
pub(crate) struct Found {
    /// Its note.
    pub(crate) note: kept::Kept,
    /// What an order says of itself, if it has left anything.
    pub(crate) order: Option<kept::Order>,
    /// Its last words, if it had any.
    pub(crate) last_words: Option<String>,
}

impl Pages {
    /// Reads what was left at the address that the selector has told, and takes the place of that: from here on a
    /// panic leaves its words there. None if there is no such memory, or nothing in it that is understood.
    pub(crate) fn open(at: u64) -> Option<(Self, Found)> {
        let note = memory::special_page(Gaddr(at))?;
        let words_at = Gaddr(at.checked_add(PAGE_SIZE as u64)?);
        let words = memory::special_page(words_at)?;
        let left = kept::Kept::read(note.words())?;
        let order = kept::Order::take(note.words());
        let found = Found { note: left, order, last_words: epitaph::read(words.words()) };
        let this = Self { note };
        // Empties the page; what the words are about is told from here on.
        let _ = epitaph::Writer::new(words.words());
        words.write_back();
        this.leave(kept::Note::Working);
        set_epitaph(words_at.0).then_some((this, found))
    }

    /// Leaves a note for the next life.
    pub(crate) fn leave(&self, note: kept::Note) {
        kept::Kept { note, starts: 0 }.write(self.note.words());
        self.note.write_back();
    }

    /// Leaves the note that this life ends by order, and why.
    pub(crate) fn leave_order(&self, why: &[u8]) {
        kept::Order::leave(self.note.words(), why);
        self.leave(kept::Note::Ordered);
    }
}
