//! A time server for devices whose clock is wrong: SNTP, on the UDP port of the device API's number if that is free.
//!
//! Source: RFC 5905 §7.3.

use std::io;
use std::net::{SocketAddr, UdpSocket as StdSocket};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::net::UdpSocket;

/// Length of a message, in bytes.
const LENGTH: usize = 48;
/// Seconds from 1900, where NTP counts from, to 1970.
const EPOCH: u64 = 2_208_988_800;
/// No leap second to come, version 4; mode 3 asks and 4 answers.
const ANSWER: u8 = 4 << 3 | 4;
const MODE_CLIENT: u8 = 3;
/// As of a server that has its time from one with a clock of its own.
const STRATUM: u8 = 2;

/// Binds the port of the device API, or any other if somebody has that.
pub(crate) fn bind(api: SocketAddr) -> io::Result<StdSocket> {
    let socket = StdSocket::bind(api).or_else(|_| StdSocket::bind((api.ip(), 0)))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Answers until the task is dropped.
pub(crate) async fn serve(socket: StdSocket) -> io::Result<()> {
    let socket = UdpSocket::from_std(socket)?;
    let mut question = [0; 512];
    loop {
        // An error is of a packet, such as one that nobody took.
        let Ok((length, from)) = socket.recv_from(&mut question).await else { continue };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        if let Some(answer) = answer(question.get(..length).unwrap_or_default(), now) {
            let _ = socket.send_to(&answer, from).await;
        }
    }
}

fn answer(question: &[u8], now: std::time::Duration) -> Option<[u8; LENGTH]> {
    let question = question.first_chunk::<LENGTH>().filter(|question| question[0] & 7 == MODE_CLIENT)?;
    // The seconds of an era, and 2⁻³² of one.
    let seconds = (now.as_secs() + EPOCH) << 32;
    let stamp = (seconds | ((u64::from(now.subsec_nanos()) << 32) / 1_000_000_000)).to_be_bytes();
    let mut answer = [0; LENGTH];
    (answer[0], answer[1]) = (ANSWER, STRATUM);
    answer[16..24].copy_from_slice(&stamp);
    answer[24..32].copy_from_slice(&question[40..]);
    answer[32..40].copy_from_slice(&stamp);
    answer[40..].copy_from_slice(&stamp);
    Some(answer)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use stubdoms_web::sntp;

    use super::*;

    #[test]
    fn the_devices_own_client_takes_the_answer() {
        // 2027-01-01, and a time in the era behind 2036.
        for seconds in [1_798_761_600, 2_100_000_000] {
            let now = Duration::new(seconds, 250_000_000);
            let answer = answer(&sntp::emit_request(77), now).unwrap();
            let read = sntp::parse_answer(&answer, 77).unwrap();
            assert_eq!((read.since_1970, read.stratum), (now, STRATUM));
        }
        assert_eq!(answer(&[0x24; LENGTH], Duration::ZERO), None, "an answer is not answered");
        assert_eq!(answer(&[0x23; LENGTH - 1], Duration::ZERO), None);
    }
}
