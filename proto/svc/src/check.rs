//! What the tests of all protocols do.

extern crate std;

use core::fmt::Debug;

use heapless::String;

use crate::{MAX_MESSAGE, Message, decode, encode, text::clipped};

/// The longest text.
pub(crate) fn long<const N: usize>() -> String<N> {
    clipped(&"x".repeat(N))
}

/// A message fits, and comes back as it was.
pub(crate) fn round_trip<M: Message + PartialEq + Debug>(message: M) {
    let mut buffer = [0; MAX_MESSAGE];
    let bytes = encode(&message, &mut buffer).unwrap();
    assert_eq!(decode::<M>(bytes), Ok(message));
}
