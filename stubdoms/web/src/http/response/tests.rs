use alloc::string::String;
use alloc::vec;
use alloc::{format, vec::Vec};

use proptest::prelude::*;

use super::*;

#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    body: Vec<u8>,
    rest: usize,
}

/// Reads `bytes` in the given pieces and then the end of the connection.
fn read(method: Method, limits: Limits, pieces: &[&[u8]]) -> Result<Answer, HttpError> {
    let mut reader = ResponseReader::new(method, limits);
    let mut answer = Answer { status: 0, body: vec![], rest: 0 };
    for piece in pieces {
        let mut rest = *piece;
        loop {
            let (used, event) = reader.step(rest)?;
            rest = &rest[used..];
            match event {
                Event::More => {
                    assert!(rest.is_empty(), "input is left, but more is wanted");
                    break;
                }
                Event::Head(head) => answer.status = head.status,
                Event::Body(bytes) => {
                    assert!(!bytes.is_empty());
                    answer.body.extend_from_slice(bytes);
                }
                Event::Done => {
                    answer.rest += rest.len();
                    break;
                }
            }
        }
    }
    reader.end()?;
    Ok(answer)
}

const SMALL: Limits = Limits { head: 400, body: 20 };

fn once(bytes: &[u8]) -> Result<Answer, HttpError> {
    read(Method::Get, SMALL, &[bytes])
}

fn good(status: u16, body: &str) -> Result<Answer, HttpError> {
    Ok(Answer { status, body: body.as_bytes().to_vec(), rest: 0 })
}

/// Answers that are fine, with what they say.
fn sound() -> Vec<(&'static str, u16, &'static str)> {
    vec![
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", 200, "abc"),
        ("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n", 201, ""),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", 304, ""),
        ("HTTP/1.1 204 \r\n\r\n", 204, ""),
        ("HTTP/1.1 200\r\ncontent-length:  3 \r\nContent-Length: 3\r\n\r\nabc", 200, "abc"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 200, "abc"),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n3;x=\"y\"\r\nabc\r\n0A \r\n0123456789\r\n000\r\nA: b\r\nC: d\r\n\r\n",
            200,
            "abc0123456789",
        ),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", 200, "x"),
        ("HTTP/1.0 200 OK\r\n\r\nuntil the end", 200, "until the end"),
        ("HTTP/1.1 503 Busy\r\nContent-Type: text/plain; x=y\r\n\r\n", 503, ""),
    ]
}

#[test]
fn sound_answers_are_read_whole_and_byte_by_byte() {
    for (text, status, body) in sound() {
        assert_eq!(once(text.as_bytes()), good(status, body), "{text}");
        let single: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        assert_eq!(read(Method::Get, SMALL, &single), good(status, body), "{text}");
    }
}

#[test]
fn sound_answers_are_read_alike_at_every_split() {
    for (text, status, body) in sound() {
        for at in 0..text.len() {
            let (first, second) = text.as_bytes().split_at(at);
            assert_eq!(read(Method::Get, SMALL, &[first, second]), good(status, body), "{text} at {at}");
        }
    }
}

#[test]
fn answers_cut_short_are_truncated() {
    for (text, ..) in
        sound().into_iter().filter(|(text, ..)| text.contains("ength: 3") || text.contains("unked"))
    {
        for at in 0..text.len() - 1 {
            let cut = once(&text.as_bytes()[..at]);
            assert!(
                matches!(
                    cut,
                    Err(HttpError::HeadTruncated { .. }
                        | HttpError::Truncated { .. }
                        | HttpError::ChunksTruncated { .. })
                ),
                "{text} at {at}: {cut:?}"
            );
        }
    }
    assert_eq!(
        once(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc"),
        Err(HttpError::Truncated { have: 3, need: 5 })
    );
}

#[test]
fn the_answer_to_head_has_no_body() {
    let text = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n";
    assert_eq!(read(Method::Head, SMALL, &[text]), good(200, ""));
}

#[test]
fn bytes_behind_the_answer_do_not_belong_to_it() {
    let answer = once(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 500").unwrap();
    assert_eq!((answer.body, answer.rest), (b"x".to_vec(), 12));
}

#[test]
fn hostile_answers_are_refused_with_their_reason() {
    let body_limit = HttpError::BodyTooLong { limit: 20 };
    let malformed = HttpError::HeadMalformed;
    let head = "HTTP/1.1 200 OK\r\n";
    let chunked = |rest: &str| format!("{head}Transfer-Encoding: chunked\r\n\r\n{rest}");
    let many_fields = format!("{head}{}\r\n", "A: b\r\n".repeat(65));
    let table: Vec<(String, HttpError)> = vec![
        ("\r\n\r\n".into(), malformed),
        ("SSH-2.0-OpenSSH\r\n\r\n".into(), malformed),
        ("HTTP/2.0 200 OK\r\n\r\n".into(), malformed),
        ("HTTP/1.1 099 OK\r\n\r\n".into(), malformed),
        ("HTTP/1.1 2000 OK\r\n\r\n".into(), malformed),
        (format!("{head}A b\r\n\r\n"), malformed),
        (format!("{head}A: \0\r\n\r\n"), malformed),
        (format!("{head}A: {}\r\n\r\n", "x".repeat(400)), HttpError::HeadTooLong { limit: 400 }),
        ("x".repeat(500), HttpError::HeadTooLong { limit: 400 }),
        (many_fields, HttpError::HeadTooLong { limit: 400 }),
        (format!("{head}Content-Length: 21\r\n\r\n"), body_limit),
        (format!("{head}Content-Length: 18446744073709551615\r\n\r\n"), body_limit),
        (format!("{head}Content-Length: 18446744073709551616\r\n\r\n"), HttpError::LengthUnclear),
        (format!("{head}Content-Length: -1\r\n\r\n"), HttpError::LengthUnclear),
        (format!("{head}Content-Length: +1\r\n\r\n"), HttpError::LengthUnclear),
        (format!("{head}Content-Length: 0x1\r\n\r\n"), HttpError::LengthUnclear),
        (format!("{head}Content-Length: \r\n\r\n"), HttpError::LengthUnclear),
        (format!("{head}Content-Length: 1, 2\r\n\r\n"), HttpError::LengthUnclear),
        (format!("{head}Content-Length: 1\r\nContent-Length: 2\r\n\r\n"), HttpError::LengthUnclear),
        (format!("{head}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"), HttpError::LengthUnclear),
        (format!("{head}Transfer-Encoding: gzip, chunked\r\n\r\n"), HttpError::CodingUnknown),
        (format!("{head}Transfer-Encoding: identity\r\n\r\n"), HttpError::CodingUnknown),
        (
            format!("{head}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"),
            HttpError::CodingUnknown,
        ),
        ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".into(), HttpError::CodingUnknown),
        (format!("{head}\r\n{}", "x".repeat(21)), body_limit),
        (chunked("15\r\n"), body_limit),
        (chunked("14\r\n01234567890123456789\r\n1\r\n"), body_limit),
        (chunked("ffffffffffffffff\r\n"), body_limit),
        (chunked("00000000000000001\r\n"), body_limit),
        (chunked("x\r\n"), HttpError::ChunkMalformed { at: 0 }),
        (chunked("\r\n"), HttpError::ChunkMalformed { at: 0 }),
        (chunked("-1\r\n"), HttpError::ChunkMalformed { at: 0 }),
        (chunked("1\nx\n0\n\n"), HttpError::ChunkMalformed { at: 0 }),
        (chunked("1;a\nx\r\n0\r\n\r\n"), HttpError::ChunkMalformed { at: 0 }),
        (chunked("1\r\nxy\r\n"), HttpError::ChunkMalformed { at: 1 }),
        (chunked("1\r\nx\n"), HttpError::ChunkMalformed { at: 1 }),
        (chunked(&format!("1;{}\r\n", "x".repeat(300))), HttpError::ChunkMalformed { at: 0 }),
        (chunked(&format!("0\r\nA: {}", "x".repeat(9000))), HttpError::TrailerTooLong { limit: 8192 }),
        ("HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\n\r\n".into(), HttpError::ProtocolSwitched),
        ("HTTP/1.1 100 Continue\r\n\r\n".repeat(9), HttpError::TooManyInterim { limit: 8 }),
    ];
    for (text, error) in table {
        assert_eq!(once(text.as_bytes()), Err(error), "{text:?}");
        let single: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        assert_eq!(read(Method::Get, SMALL, &single), Err(error), "{text:?} byte by byte");
    }
    let many = format!("{head}{}\r\n", "A: b\r\n".repeat(65));
    assert_eq!(
        read(Method::Get, Limits::default(), &[many.as_bytes()]),
        Err(HttpError::TooManyFields { limit: 64 })
    );
}

proptest! {
    /// Whatever comes, in whatever pieces: the same outcome, no panic, never more body than the limit.
    #[test]
    fn any_bytes_end_alike_in_any_pieces(
        noise in proptest::collection::vec(any::<u8>(), 0..80),
        which in 0usize..10,
        keep in 0usize..120,
        cuts in proptest::collection::vec(0usize..200, 0..6),
    ) {
        let (text, ..) = sound()[which];
        let mut bytes = text.as_bytes()[..keep.min(text.len())].to_vec();
        bytes.extend_from_slice(&noise);
        let whole = once(&bytes);
        if let Ok(answer) = &whole {
            prop_assert!(answer.body.len() as u64 <= SMALL.body);
        }
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut % (bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        prop_assert_eq!(read(Method::Get, SMALL, &pieces), whole);
    }
}
