//! The firmware's event log in its crypto-agile form: read in place, and replayed into PCR values.
//!
//! ```text
//!   header: an event of the old form (SHA-1) that names the banks and the sizes of their digests
//!   event*: PCR, type, a digest for each bank, data
//! ```
//!
//! The log lies in memory that anybody could write; it is believed as far as its replay gives the values that a
//! TPM quotes. Data of events is not covered by that: only where a digest is the hash of the data
//! ([`Event::data_is_measured`]) does it say what was measured.
//!
//! Source: TCG PC Client Platform Firmware Profile, 1.06, section 10. Little-endian.

use core::fmt;

use sha2::{Digest, Sha256};

use crate::{
    ids::alg,
    pcr::{self, Selection, Value, Values},
    wire::{Field, Malformed, Reader},
};

/// Types of events. Source: table 27 of the profile.
pub mod kind {
    /// Nothing is extended; tells something of the log.
    pub const NO_ACTION: u32 = 3;
    /// A mark between what firmware did and what it started.
    pub const SEPARATOR: u32 = 4;
    /// Something that was done.
    pub const ACTION: u32 = 5;
    /// What the operating system measures as it likes.
    pub const IPL: u32 = 0xd;
    /// A variable of the firmware.
    pub const EFI_VARIABLE_DRIVER_CONFIG: u32 = 0x8000_0001;
    /// A boot variable.
    pub const EFI_VARIABLE_BOOT: u32 = 0x8000_0002;
    /// A program that was started.
    pub const EFI_BOOT_SERVICES_APPLICATION: u32 = 0x8000_0003;
    /// The partition table.
    pub const EFI_GPT_EVENT: u32 = 0x8000_0006;
    /// Something that was done.
    pub const EFI_ACTION: u32 = 0x8000_0007;
}

/// The banks that a log can name.
const MAX_BANKS: usize = 8;
/// `Spec ID Event03`, with the zero behind it.
const SIGNATURE: &[u8; 16] = b"Spec ID Event03\0";
/// Bytes of SHA-1, which the header's event has room for.
const SHA1: usize = 20;
/// `StartupLocality`, with the zero behind it, and the locality.
const LOCALITY: &[u8; 16] = b"StartupLocality\0";
/// Bytes of the most that an event's data can have.
const MAX_DATA: usize = 1 << 20;

/// A log.
#[derive(Clone, Copy, Debug)]
pub struct Log<'a> {
    /// Algorithm and digest size of each bank, as the header has them.
    banks: [(u16, u16); MAX_BANKS],
    count: usize,
    events: &'a [u8],
}

/// An event.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    /// The PCR that it is about.
    pub pcr: u32,
    /// See [`kind`].
    pub kind: u32,
    /// The digest for the SHA-256 bank; none if the event has none.
    pub sha256: Option<Value>,
    /// What the firmware tells of it.
    pub data: &'a [u8],
}

/// Reads little-endian.
fn u32_le(reader: &mut Reader<'_>) -> Result<u32, Malformed> {
    reader.array().map(u32::from_le_bytes)
}

fn u16_le(reader: &mut Reader<'_>) -> Result<u16, Malformed> {
    reader.array().map(u16::from_le_bytes)
}

impl<'a> Log<'a> {
    /// Reads the header. The events follow, to the end of the bytes.
    ///
    /// # Errors
    /// [`Malformed`]; [`Field::SpecIdEvent`] if the log is not crypto-agile.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let (_pcr, event_kind) = (u32_le(&mut reader)?, u32_le(&mut reader)?);
        if event_kind != kind::NO_ACTION {
            return Err(Malformed::Field { field: Field::SpecIdEvent, found: event_kind.into() });
        }
        reader.take(SHA1)?;
        let data = data(&mut reader)?;
        let mut header = Reader::new(data);
        if header.take(SIGNATURE.len())? != SIGNATURE {
            return Err(Malformed::Field { field: Field::SpecIdEvent, found: 0 });
        }
        // The platform's class, the specification's version, the size of an unsigned integer.
        header.take(8)?;
        let count = u32_le(&mut header)?;
        let too_many = Malformed::Field { field: Field::Count, found: count.into() };
        let count = usize::try_from(count).ok().filter(|count| *count <= MAX_BANKS).ok_or(too_many)?;
        let mut banks = [(0, 0); MAX_BANKS];
        for bank in banks.iter_mut().take(count) {
            *bank = (u16_le(&mut header)?, u16_le(&mut header)?);
        }
        if let Some(&(_, size)) =
            banks.iter().take(count).find(|&&bank| bank.0 == alg::SHA256 && bank.1 != 32)
        {
            return Err(Malformed::Field { field: Field::Algorithm, found: size.into() });
        }
        let vendor = usize::from(header.u8()?);
        header.take(vendor)?;
        header.end()?;
        Ok(Self { banks, count, events: reader.rest() })
    }

    /// The algorithms of the banks, and the sizes of their digests.
    pub fn banks(&self) -> &[(u16, u16)] {
        // `parse` bounded the count.
        &self.banks[..self.count]
    }

    /// Its events, in order. After one that is malformed there are none.
    pub fn events(&self) -> Events<'a> {
        Events { log: *self, rest: self.events }
    }

    /// Bytes of the event that `bytes` begin with, in a log with these banks.
    ///
    /// # Errors
    /// [`Malformed`], also if it is not there to its end.
    pub fn length_of(&self, bytes: &[u8]) -> Result<usize, Malformed> {
        let mut reader = Reader::new(bytes);
        Event::parse(self, &mut reader)?;
        Ok(bytes.len() - reader.rest().len())
    }

    /// The values that the PCRs of the SHA-256 bank have if all events were extended.
    ///
    /// # Errors
    /// [`Malformed`], also for an event that says nothing of this bank, or is about a PCR that there is not.
    pub fn replay(&self) -> Result<Values, Malformed> {
        let mut values = reset_values();
        for event in self.events() {
            event?.replay(&mut values)?;
        }
        Ok(values)
    }
}

/// What PCRs are after a reset: zeros, but ones where the dynamic launch has its own.
pub const fn reset_values() -> Values {
    let mut values = [[0; 32]; pcr::COUNT];
    let mut at = 17;
    while at <= 22 {
        values[at] = [0xff; 32];
        at += 1;
    }
    values
}

/// The events of a log.
#[derive(Clone, Debug)]
pub struct Events<'a> {
    log: Log<'a>,
    rest: &'a [u8],
}

impl<'a> Iterator for Events<'a> {
    type Item = Result<Event<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let mut reader = Reader::new(self.rest);
        let event = Event::parse(&self.log, &mut reader);
        self.rest = if event.is_ok() { reader.rest() } else { &[] };
        Some(event)
    }
}

fn data<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Malformed> {
    let length = u32_le(reader)?;
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > MAX_DATA {
        return Err(Malformed::TooLong { length, most: MAX_DATA });
    }
    reader.take(length)
}

impl<'a> Event<'a> {
    fn parse(log: &Log<'_>, reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let (pcr, kind) = (u32_le(reader)?, u32_le(reader)?);
        let count = u32_le(reader)?;
        if count as usize > MAX_BANKS {
            return Err(Malformed::Field { field: Field::Count, found: count.into() });
        }
        let mut sha256 = None;
        for _ in 0..count {
            let algorithm = u16_le(reader)?;
            let bank = log.banks().iter().find(|bank| bank.0 == algorithm);
            let unknown = Malformed::Field { field: Field::Algorithm, found: algorithm.into() };
            let &(_, size) = bank.ok_or(unknown)?;
            let digest = reader.take(size.into())?;
            if algorithm == alg::SHA256 {
                // `Log::parse` saw that it has 32 bytes.
                sha256 = digest.try_into().ok();
            }
        }
        Ok(Self { pcr, kind, sha256, data: data(reader)? })
    }

    /// Extends what it was extended into.
    ///
    /// # Errors
    /// [`Malformed`], see [`Log::replay`].
    pub fn replay(&self, values: &mut Values) -> Result<(), Malformed> {
        if self.kind == kind::NO_ACTION {
            if let Some(locality) = self.startup_locality() {
                values[0][31] = locality;
            }
            return Ok(());
        }
        let of = self.pcr.into();
        let value = usize::try_from(self.pcr).ok().and_then(|pcr| values.get_mut(pcr));
        let value = value.ok_or(Malformed::Field { field: Field::Pcr, found: of })?;
        let digest = self.sha256.ok_or(Malformed::Field { field: Field::Algorithm, found: of })?;
        *value = pcr::extended(value, &digest);
        Ok(())
    }

    /// The locality from which the TPM was started, if this event tells it: the last byte of the value that PCR 0 begins with.
    pub fn startup_locality(&self) -> Option<u8> {
        let is_told = self.kind == kind::NO_ACTION && self.pcr == 0;
        match self.data.strip_prefix(LOCALITY) {
            Some(&[locality]) if is_told => Some(locality),
            _ => None,
        }
    }

    /// Whether its digest is the hash of its data, so that a replay that fits vouches for the data too.
    pub fn data_is_measured(&self) -> bool {
        self.sha256 == Some(Sha256::digest(self.data).into())
    }

    /// Appends it to a log that has the SHA-256 bank (and, for this event, no other). Gives the bytes written;
    /// none if there is no room, or no digest.
    pub fn emit(&self, out: &mut [u8]) -> Option<usize> {
        let length = u32::try_from(self.data.len()).ok()?;
        put(
            out,
            &[
                &self.pcr.to_le_bytes(),
                &self.kind.to_le_bytes(),
                &1_u32.to_le_bytes(),
                &alg::SHA256.to_le_bytes(),
                &self.sha256?,
                &length.to_le_bytes(),
                self.data,
            ],
        )
    }
}

/// The header of a log with the SHA-256 bank alone, where no firmware wrote one. Gives the bytes written; none
/// if there is no room.
pub fn emit_header(out: &mut [u8]) -> Option<usize> {
    // Class "client", version 2.0 errata 2, integers of 64 bits; one bank; nothing of the vendor.
    let spec: &[&[u8]] = &[
        SIGNATURE,
        &[0, 0, 0, 0, 0, 2, 2, 2],
        &1_u32.to_le_bytes(),
        &alg::SHA256.to_le_bytes(),
        &32_u16.to_le_bytes(),
        &[0],
    ];
    let length: usize = spec.iter().map(|part| part.len()).sum();
    let head: &[&[u8]] =
        &[&[0; 4], &kind::NO_ACTION.to_le_bytes(), &[0; SHA1], &u32::try_from(length).ok()?.to_le_bytes()];
    let at = put(out, head)?;
    Some(at + put(&mut out[at..], spec)?)
}

fn put(out: &mut [u8], parts: &[&[u8]]) -> Option<usize> {
    let mut at = 0;
    for part in parts {
        out.get_mut(at..at + part.len())?.copy_from_slice(part);
        at += part.len();
    }
    Some(at)
}

/// The PCRs in which two sets of values differ.
pub fn differing(a: &Values, b: &Values) -> Selection {
    let differs = (0..pcr::COUNT).filter(|&pcr| a[pcr] != b[pcr]);
    Selection::from_bits(differs.fold(0, |bits, pcr| bits | 1 << pcr))
}

/// The type and the PCR; the data of a log is the firmware's.
impl fmt::Debug for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Event(pcr {}, type {:#x}, {} bytes)", self.pcr, self.kind, self.data.len())
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    fn hash(data: &[u8]) -> Value {
        Sha256::digest(data).into()
    }

    fn log(events: &[Event<'_>]) -> Vec<u8> {
        let mut bytes = std::vec![0; 4096];
        let mut at = emit_header(&mut bytes).unwrap();
        for event in events {
            at += event.emit(&mut bytes[at..]).unwrap();
        }
        bytes.truncate(at);
        bytes
    }

    fn event(pcr: u32, data: &[u8]) -> Event<'_> {
        Event { pcr, kind: kind::IPL, sha256: Some(hash(data)), data }
    }

    #[test]
    fn what_is_written_is_read_again_and_replayed() {
        let events = [event(4, b"xen"), event(13, b"table"), event(13, b"net")];
        let bytes = log(&events);
        let read = Log::parse(&bytes).unwrap();
        assert_eq!(read.banks(), [(alg::SHA256, 32)]);
        assert_eq!(read.events().collect::<Result<Vec<_>, _>>().unwrap(), events);
        let values = read.replay().unwrap();
        let thirteen = pcr::extended(&pcr::extended(&[0; 32], &hash(b"table")), &hash(b"net"));
        assert_eq!(values[13], thirteen);
        assert_eq!(differing(&values, &reset_values()).bits(), 1 << 4 | 1 << 13);
        assert!(read.events().all(|event| event.unwrap().data_is_measured()));
    }

    #[test]
    fn a_startup_locality_is_what_pcr_0_begins_with() {
        let data = b"StartupLocality\0\x03";
        let locality = Event { pcr: 0, kind: kind::NO_ACTION, sha256: Some([0; 32]), data };
        let bytes = log(&[locality, event(0, b"firmware")]);
        let values = Log::parse(&bytes).unwrap().replay().unwrap();
        let mut first = [0; 32];
        first[31] = 3;
        assert_eq!(values[0], pcr::extended(&first, &hash(b"firmware")));
    }

    #[test]
    fn every_cut_ends_in_an_error_or_between_events() {
        let bytes = log(&[event(1, b"a"), event(2, b"bb")]);
        for length in 0..bytes.len() {
            let Ok(log) = Log::parse(&bytes[..length]) else {
                continue;
            };
            let ok = log.events().filter(Result::is_ok).count();
            let bad = log.events().filter(Result::is_err).count();
            assert!(bad <= 1 && ok < 2, "{length}");
        }
    }

    #[test]
    fn the_length_of_an_event_is_known_once_it_is_whole() {
        let header = Log::parse(&log(&[])).unwrap().events.len();
        assert_eq!(header, 0);
        let bytes = log(&[event(1, b"a"), event(2, b"bb")]);
        let read = Log::parse(&bytes).unwrap();
        let first = read.length_of(read.events).unwrap();
        assert_eq!(read.length_of(&read.events[first..]), Ok(read.events.len() - first));
        for length in 0..first {
            assert!(read.length_of(&read.events[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn a_pcr_that_there_is_not_is_told() {
        let bytes = log(&[event(24, b"a")]);
        let error = Log::parse(&bytes).unwrap().replay().unwrap_err();
        assert_eq!(error, Malformed::Field { field: Field::Pcr, found: 24 });
    }
}
