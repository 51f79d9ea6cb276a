use super::HttpError;

/// Longest line with a chunk's size and extensions, in bytes.
const MAX_SIZE_LINE: usize = 256;
/// Longest trailer, in bytes.
const MAX_TRAILER: usize = 8192;

/// What the next byte belongs to. Line ends are CR LF here, without exception: this is where two readers with
/// different habits would disagree about where an answer ends.
#[derive(Clone, Copy, Debug)]
enum State {
    /// Digits of the size.
    Size {
        digits: u8,
    },
    /// An extension behind the size, up to the line end.
    Extension,
    /// The line feed behind the size.
    SizeEnd,
    /// Bytes of the chunk; `size` of them remain.
    Data,
    /// The line end behind the chunk's data: CR, then LF.
    DataCr,
    DataLf,
    /// The start of a trailer line.
    TrailerStart,
    /// Within a trailer line.
    TrailerLine,
    TrailerLineEnd,
    /// The last line feed.
    LastLf,
    Done,
}

/// Takes the framing off a chunked body. Source: RFC 9112 §7.1.
#[derive(Clone, Debug)]
pub(super) struct Chunks {
    state: State,
    size: u64,
    /// Length of the line or of the trailer so far.
    line: usize,
    /// Body bytes that were handed out.
    total: u64,
    limit: u64,
}

/// What the front of the input is.
pub(super) enum Piece {
    /// Framing: this many bytes are to be dropped.
    Framing(usize),
    /// Body: this many bytes are to be handed out.
    Body(usize),
    /// The end; nothing more is taken.
    End,
}

impl Chunks {
    pub(super) fn new(limit: u64) -> Self {
        Chunks { state: State::Size { digits: 0 }, size: 0, line: 0, total: 0, limit }
    }

    /// Body bytes that were handed out.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Looks at the front of `input`, which is not empty unless the end was reached.
    pub(super) fn take(&mut self, input: &[u8]) -> Result<Piece, HttpError> {
        let mut dropped = 0;
        for byte in input {
            if matches!(self.state, State::Data | State::Done) {
                break;
            }
            self.framing(*byte)?;
            dropped += 1;
        }
        if dropped > 0 {
            return Ok(Piece::Framing(dropped));
        }
        if let State::Done = self.state {
            return Ok(Piece::End);
        }
        let here = self.size.min(input.len() as u64);
        self.size -= here;
        self.total += here;
        if self.size == 0 && here > 0 {
            self.state = State::DataCr;
        }
        Ok(Piece::Body(here as usize))
    }

    fn framing(&mut self, byte: u8) -> Result<(), HttpError> {
        let malformed = HttpError::ChunkMalformed { at: self.total };
        self.line += 1;
        self.state = match (self.state, byte) {
            (State::Size { digits }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                // Sixteen digits fill 64 bits.
                if digits == 16 {
                    return Err(HttpError::BodyTooLong { limit: self.limit });
                }
                let digit = (byte as char).to_digit(16).unwrap_or(0);
                self.size = self.size << 4 | u64::from(digit);
                State::Size { digits: digits + 1 }
            }
            (State::Size { digits: 0 }, _) => return Err(malformed),
            (State::Size { .. } | State::Extension, b'\r') => State::SizeEnd,
            (State::Size { .. }, b';' | b' ' | b'\t') => State::Extension,
            (State::Size { .. }, _) => return Err(malformed),
            (State::Extension, b'\n') => return Err(malformed),
            (State::Extension, _) => State::Extension,
            (State::SizeEnd, b'\n') => self.chunk_begins()?,
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => {
                (self.size, self.line) = (0, 0);
                State::Size { digits: 0 }
            }
            (State::TrailerStart, b'\r') => State::LastLf,
            (State::TrailerLine, b'\r') => State::TrailerLineEnd,
            (State::TrailerStart | State::TrailerLine, b'\n') => return Err(malformed),
            (State::TrailerStart | State::TrailerLine, _) => State::TrailerLine,
            (State::TrailerLineEnd, b'\n') => State::TrailerStart,
            (State::LastLf, b'\n') => State::Done,
            (State::SizeEnd | State::DataCr | State::DataLf | State::TrailerLineEnd | State::LastLf, _) => {
                return Err(malformed);
            }
            (state @ (State::Data | State::Done), _) => state,
        };
        match self.state {
            State::Size { .. } | State::Extension if self.line > MAX_SIZE_LINE => Err(malformed),
            State::TrailerStart | State::TrailerLine if self.line > MAX_TRAILER => {
                Err(HttpError::TrailerTooLong { limit: MAX_TRAILER })
            }
            _ => Ok(()),
        }
    }

    fn chunk_begins(&mut self) -> Result<State, HttpError> {
        self.line = 0;
        if self.size == 0 {
            return Ok(State::TrailerStart);
        }
        if self.total.checked_add(self.size).is_none_or(|end| end > self.limit) {
            return Err(HttpError::BodyTooLong { limit: self.limit });
        }
        Ok(State::Data)
    }
}
