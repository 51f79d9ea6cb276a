//! Shared pages that the other end rewrites at will.
//!
//! The input is a schedule: what we do, and which words the peer writes in between.

use proto_io::console::Lines;
use proto_ring::back::Back;
use proto_ring::channel::{self, DOWN, Side, UP};
use proto_ring::frame::{FrameReader, FrameWriter, MAX_PAYLOAD, Sent};
use proto_ring::front::Front;
use proto_ring::page::Word;
use proto_ring::stream::{Direction, Reader, Writer};
use proto_ring::{AtomicU32, Index, WORDS_PER_PAGE, Words};

use super::input::Input;

const SLOT: usize = 12;
const NR_ENTS: u32 = Front::<SLOT>::NR_ENTS;

fn page() -> Box<Words> {
    Box::new([const { AtomicU32::new(0) }; WORDS_PER_PAGE])
}

/// The peer writes a word: anywhere, or close to what an index word says now, where lies are hardest to tell.
fn write(page: &Words, input: &mut Input<'_>) {
    let step = input.byte();
    if step < 0x80 {
        let at = usize::from(input.half()) % WORDS_PER_PAGE;
        page[at].store(input.word(), core::sync::atomic::Ordering::Relaxed);
        return;
    }
    // The index words of rings and channels.
    let words = [0, 4, 8, 12, 64, 128, 192, 256, 320, 384].map(Word::at);
    let word = words[usize::from(step) % words.len()];
    let by = u32::from(input.byte());
    let now = word.load(page);
    word.store(page, if by < 0x80 { now.wrapping_add(by) } else { now.wrapping_sub(by - 0x7f) });
}

/// A backend whose frontend does anything.
pub(super) fn request_ring_back(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let page = page();
    let start = Index::new(input.word());
    let mut back = Back::<SLOT>::starting_at(start);
    Word::at(0).store(&page, start.raw());
    let mut taken = 0_u32;
    let mut answered = 0_u32;
    while !input.is_empty() {
        match input.byte() % 5 {
            0 => write(&page, &mut input),
            1 => {
                if back.take(&page, &mut [0; SLOT]) == Ok(true) {
                    taken += 1;
                }
            }
            2 if back.in_flight() > 0 => {
                back.put(&page, &[0xaa; SLOT]);
                answered += 1;
            }
            3 => {
                let _ = back.push(&page);
            }
            _ => {
                let _ = back.await_request(&page);
            }
        }
        assert_eq!(back.in_flight(), taken - answered);
        assert!(back.in_flight() <= NR_ENTS);
        assert!(
            back.requests(&page).is_ok_and(|count| count + back.in_flight() <= NR_ENTS)
                || back.requests(&page).is_err()
        );
    }
}

/// A frontend whose backend does anything.
pub(super) fn request_ring_front(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let page = page();
    let start = Index::new(input.word());
    let mut front = Front::<SLOT>::starting_at(start);
    Word::at(8).store(&page, start.raw());
    let (mut asked, mut shown, mut answers) = (0_u32, 0_u32, 0_u32);
    while !input.is_empty() {
        match input.byte() % 5 {
            0 => write(&page, &mut input),
            1 => {
                if front.put(&page, &[0x55; SLOT]).is_ok() {
                    asked += 1;
                }
            }
            2 => {
                let _ = front.push(&page);
                shown = asked;
            }
            3 => {
                if let Ok(Some(at)) = front.take(&page, &mut [0; SLOT]) {
                    assert_eq!(at.since(start), answers, "answers come in the order of their slots");
                    answers += 1;
                }
            }
            _ => {
                let _ = front.await_response(&page);
            }
        }
        assert!(answers <= shown, "an answer to what was not asked");
        assert_eq!(front.free(), NR_ENTS - (asked - answers));
    }
}

/// Both ends of one direction, each with a peer that does anything.
pub(super) fn stream(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let directions: [Direction; 2] = [UP, DOWN];
    let at = directions[usize::from(input.byte()) % 2];
    let size = at.window.size();
    let page = page();
    let start = Index::new(input.word());
    at.prod.store(&page, start.raw());
    at.cons.store(&page, start.raw());
    let (mut writer, mut reader) = match input.byte() % 2 {
        0 => (Writer::starting_at(at, start), Reader::starting_at(at, start)),
        _ => {
            write(&page, &mut input);
            let (Ok(writer), Ok(reader)) = (Writer::attach(at, &page), Reader::attach(at, &page)) else {
                return;
            };
            (writer, reader)
        }
    };
    let mut buffer = [0; 4096];
    while !input.is_empty() {
        let step = input.byte();
        let count = usize::from(input.half()) % buffer.len();
        match step % 6 {
            0 => write(&page, &mut input),
            1 => assert!(writer.stage(&page, &buffer[..count]).unwrap_or(0) <= count),
            2 => {
                let _ = writer.publish(&page);
            }
            3 => {
                let got = reader.take(&page, &mut buffer[..count]).unwrap_or(0);
                assert!(got <= count && got <= size as usize);
            }
            4 => {
                let _ = reader.release(&page);
            }
            _ => {
                let _ = writer.await_room(&page, count as u32);
                let _ = reader.await_data(&page, count as u32);
            }
        }
        assert!(writer.outstanding() <= size);
        assert!(writer.room(&page).unwrap_or(0) <= size && reader.available(&page).unwrap_or(0) <= size);
    }
}

/// An end of a channel that sends and receives messages.
pub(super) fn channel_frames(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let page = page();
    channel::initialise(&page);
    let side = if input.byte().is_multiple_of(2) { Side::Lower } else { Side::Upper };
    let _ = channel::inspect(&page);
    let (writer, reader) = side.streams();
    let (mut sender, mut receiver) = (FrameWriter::new(writer), FrameReader::new(reader));
    // The peer's own streams, for messages that are whole.
    let (mut raw, mut drain) = side.peer().streams();
    let mut buffer = [0; MAX_PAYLOAD];
    while !input.is_empty() {
        match input.byte() % 7 {
            0 => write(&page, &mut input),
            1 => {
                let piece = input.piece();
                match sender.send(&page, piece) {
                    Ok(Sent::TooLong) => assert!(piece.len() > MAX_PAYLOAD),
                    Ok(Sent::NoRoom) => {
                        let _ = sender.await_room(&page, piece.len());
                    }
                    Ok(Sent::Whole(_)) | Err(_) => {}
                }
            }
            2 => {
                if let Ok(Some((length, _))) = receiver.receive(&page, &mut buffer) {
                    assert!(length <= MAX_PAYLOAD);
                }
            }
            3 => {
                let _ = receiver.await_data(&page);
            }
            4 => {
                let piece = input.piece();
                if raw.stage(&page, piece).is_ok() {
                    let _ = raw.publish(&page);
                }
            }
            5 => {
                if drain.take(&page, &mut [0; 256]).is_ok() {
                    let _ = drain.release(&page);
                }
            }
            _ => {
                let _ = (channel::inspect(&page), side.peer().is_closed(&page));
            }
        }
    }
}

/// Schedules in which something happens.
pub(super) fn schedules() -> Vec<Vec<u8>> {
    let mut message = vec![0];
    for _ in 0..4 {
        // The peer sends a message of three bytes, we receive it and answer.
        message.extend([4, 5, 0, 3, 0, b'o', b'n', b'e', 2, 3, 1, 2, 0, b'h', b'i', 5]);
    }
    let near_the_wrap = [0xf0, 0xff, 0xff, 0xff];
    let turns: Vec<u8> = (0..120).map(|turn| [0, 0x80, 1, 1, 2, 3, 4, 1, 2, 3, 4, 0][turn % 12]).collect();
    let mut stream = vec![0];
    stream.extend(near_the_wrap);
    stream.push(0);
    for turn in 0..24_u8 {
        stream.extend([1 + turn % 5, turn.wrapping_mul(37), turn % 4]);
    }
    vec![message, [near_the_wrap.as_slice(), &turns].concat(), stream]
}

/// Lines out of whatever an application prints.
pub(super) fn console_lines(bytes: &[u8]) {
    let mut lines = Lines::<32>::new();
    let mut collected = Vec::new();
    let mut check = |bytes: &[u8], cut: bool| {
        assert!(bytes.len() <= 32 && (!cut || bytes.len() == 32));
        collected.extend_from_slice(bytes);
    };
    lines.extend(bytes, |line| check(&line.bytes, line.cut));
    if let Some(line) = lines.flush() {
        check(&line.bytes, line.cut);
    }
    // Nothing but line ends and zeroes is left out.
    let kept: Vec<u8> = bytes.iter().copied().filter(|byte| !matches!(byte, b'\n' | b'\r' | 0)).collect();
    assert_eq!(collected, kept);
}

pub(super) fn texts() -> Vec<Vec<u8>> {
    vec![b"one\r\n\ntwo\nprompt> ".to_vec(), vec![b'x'; 100], b"\0\r\n".repeat(20)]
}
