//! A bound on the memory that a message decodes to.
//!
//! Two bytes on the wire, an empty element of a list, become several hundred bytes in memory. So
//! before anything is decoded, a message is walked along the schema just as prost would, and what it
//! would allocate is added up. The shapes that guide the walk come from `build.rs`. Without them a
//! text could not be told from a message, and either a text would be refused for what it looks like,
//! or a list could be dressed up so that it escapes.
//!
//! Where prost would give up, the walk ends with [`Refused::Malformed`], so the two never disagree on
//! where a field starts. One attack that this stops:
//! 1. A message ends in the middle of its last field, whose own length reaches past that end.
//! 2. prost notices at the end of that field, after it has decoded all that stands there.
//! 3. A walk that goes on behind the message would read the same bytes from another place.

/// Levels of nesting below the outermost message. prost goes to a hundred, with several stack frames
/// each; messages from a controller have no more than eight.
const MAX_DEPTH: u32 = 16;
/// A vector of small elements starts with room for four, and doubles by having the old and the new
/// storage at once: four times an element covers both.
const GROWTH: usize = 4;
/// What an allocation takes besides its bytes.
const OVERHEAD: usize = 16;

/// Why a message is not decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It would take more memory than allowed.
    TooMuch,
    /// Not a message of this shape, or nested too deeply.
    Malformed,
}

/// A message of the schema.
#[derive(Clone, Copy, Debug)]
pub struct Shape(usize);

#[derive(Debug)]
struct Field {
    tag: u64,
    kind: Kind,
    /// Bytes that an element takes in its list; 0 for what is no list and lies in the message itself.
    element: usize,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// A number. In a list it may come packed, as many to a field as that has bytes.
    Scalar,
    /// A text, or bytes.
    Bytes,
    Message(usize),
}

include!(concat!(env!("OUT_DIR"), "/shapes.rs"));

/// Tells how many bytes of memory the message takes at most while and after it is decoded.
///
/// # Errors
/// [`Refused::TooMuch`] when that is more than `limit`, else [`Refused::Malformed`].
pub fn check(message: &[u8], shape: Shape, limit: usize) -> Result<usize, Refused> {
    let mut left = limit;
    walk(message, shape.0, MAX_DEPTH, &mut left)?;
    Ok(limit - left)
}

fn walk(mut rest: &[u8], shape: usize, depth: u32, left: &mut usize) -> Result<(), Refused> {
    let fields = SHAPES.get(shape).copied().unwrap_or_default();
    // Groups that are open. They are in no schema, so prost skips them with all that is inside.
    let mut groups = 0_u32;
    while !rest.is_empty() {
        let key = varint(&mut rest)?;
        let field = fields.iter().find(|field| field.tag == key >> 3 && groups == 0);
        let length = match key & 7 {
            0 => {
                varint(&mut rest)?;
                0
            }
            1 => 8,
            2 => usize::try_from(varint(&mut rest)?).map_err(|_| Refused::Malformed)?,
            3 => {
                groups = groups.checked_add(1).ok_or(Refused::Malformed)?;
                0
            }
            4 => {
                groups = groups.checked_sub(1).ok_or(Refused::Malformed)?;
                0
            }
            5 => 4,
            _ => return Err(Refused::Malformed),
        };
        let (content, next) = rest.split_at_checked(length).ok_or(Refused::Malformed)?;
        rest = next;
        let Some(field) = field else { continue };
        let own = match field.kind {
            Kind::Scalar => field.element.saturating_mul(GROWTH * content.len().max(1)),
            Kind::Bytes => (field.element * GROWTH).saturating_add(content.len() + OVERHEAD),
            Kind::Message(_) => field.element * GROWTH + if field.element > 0 { OVERHEAD } else { 0 },
        };
        *left = left.checked_sub(own).ok_or(Refused::TooMuch)?;
        if let (Kind::Message(inner), 2) = (field.kind, key & 7) {
            walk(content, inner, depth.checked_sub(1).ok_or(Refused::Malformed)?, left)?;
        }
    }
    if groups == 0 { Ok(()) } else { Err(Refused::Malformed) }
}

fn varint(rest: &mut &[u8]) -> Result<u64, Refused> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, tail) = rest.split_first().ok_or(Refused::Malformed)?;
        *rest = tail;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Refused::Malformed)
}

#[cfg(test)]
mod tests;
