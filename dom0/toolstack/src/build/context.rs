//! The state in which a domain's first vCPU starts: the HVM context of x86.
//!
//! 32-bit protected mode without paging, flat segments, interrupts off, the start info's address in
//! `ebx`. The stream has four records: header, CPU, MTRR, end.
//!
//! Source: `arch-x86/hvm/save.h`; `arch-x86/hvm/start_info.h` for the state itself.

/// Length of the stream, in bytes.
pub const BYTES: usize = 4 * DESCRIPTOR + HEADER + CPU + MTRR;

const DESCRIPTOR: usize = 8;
const HEADER: usize = 24;
const CPU: usize = 1032;
const MTRR: usize = 240;

/// Record types.
mod code {
    pub(super) const END: u16 = 0;
    pub(super) const HEADER: u16 = 1;
    pub(super) const CPU: u16 = 2;
    pub(super) const MTRR: u16 = 14;
}

/// Offsets into `hvm_hw_cpu`.
mod cpu {
    pub(super) const RBX: usize = 520;
    pub(super) const RIP: usize = 640;
    pub(super) const RFLAGS: usize = 648;
    pub(super) const CR0: usize = 656;
    pub(super) const DR6: usize = 720;
    pub(super) const DR7: usize = 728;
    pub(super) const CS_LIMIT: usize = 768;
    pub(super) const DS_LIMIT: usize = 772;
    pub(super) const ES_LIMIT: usize = 776;
    pub(super) const SS_LIMIT: usize = 788;
    pub(super) const TR_LIMIT: usize = 792;
    pub(super) const CS_ARBYTES: usize = 888;
    pub(super) const DS_ARBYTES: usize = 892;
    pub(super) const ES_ARBYTES: usize = 896;
    pub(super) const SS_ARBYTES: usize = 908;
    pub(super) const TR_ARBYTES: usize = 912;
}

/// Offsets into `hvm_hw_mtrr`.
mod mtrr {
    pub(super) const PAT: usize = 0;
    pub(super) const CAP: usize = 224;
    pub(super) const DEF_TYPE: usize = 232;
}

/// Code segment: present, ring 0, 32-bit, granularity of pages, accessed.
const CODE: u32 = 0xc9b;
/// Data segment of the same kind.
const DATA: u32 = 0xc93;
/// Busy 32-bit task state segment.
const TASK: u32 = 0x8b;

/// The stream for a vCPU that starts at `entry` with the start info at `start_info`.
///
/// `signature` is `CPUID[1].eax` of the machine; Xen warns if it is another.
pub fn stream(entry: u32, start_info: u32, signature: u32) -> [u8; BYTES] {
    let mut stream = Stream { bytes: [0; BYTES], at: 0 };
    stream.begin(code::HEADER, HEADER);
    stream.put32(0, 0x5438_1286);
    stream.put32(4, 1);
    stream.put32(16, signature);
    stream.end(HEADER);

    stream.begin(code::CPU, CPU);
    stream.put64(cpu::RBX, u64::from(start_info));
    stream.put64(cpu::RIP, u64::from(entry));
    stream.put64(cpu::RFLAGS, 1 << 1);
    // Protected mode; the extension type bit is always one.
    stream.put64(cpu::CR0, 1 << 0 | 1 << 4);
    stream.put64(cpu::DR6, 0xffff_0ff0);
    stream.put64(cpu::DR7, 0x400);
    for limit in [cpu::CS_LIMIT, cpu::DS_LIMIT, cpu::ES_LIMIT, cpu::SS_LIMIT] {
        stream.put32(limit, u32::MAX);
    }
    stream.put32(cpu::TR_LIMIT, 0x67);
    stream.put32(cpu::CS_ARBYTES, CODE);
    for rights in [cpu::DS_ARBYTES, cpu::ES_ARBYTES, cpu::SS_ARBYTES] {
        stream.put32(rights, DATA);
    }
    stream.put32(cpu::TR_ARBYTES, TASK);
    stream.end(CPU);

    stream.begin(code::MTRR, MTRR);
    stream.put64(mtrr::PAT, 0x0007_0406_0007_0406);
    stream.put64(mtrr::CAP, 0x508);
    // Enabled, write-back for everything.
    stream.put64(mtrr::DEF_TYPE, 0x806);
    stream.end(MTRR);

    stream.begin(code::END, 0);
    stream.end(0);
    stream.bytes
}

struct Stream {
    bytes: [u8; BYTES],
    /// Where the current record's body starts.
    at: usize,
}

impl Stream {
    fn begin(&mut self, code: u16, length: usize) {
        self.put(0, &code.to_le_bytes());
        // Bodies are shorter than 4 GiB by far; two bytes of instance, always 0, lie between.
        self.put(4, &(length as u32).to_le_bytes());
        self.at += DESCRIPTOR;
    }

    fn end(&mut self, length: usize) {
        self.at += length;
    }

    fn put32(&mut self, offset: usize, value: u32) {
        self.put(offset, &value.to_le_bytes());
    }

    fn put64(&mut self, offset: usize, value: u64) {
        self.put(offset, &value.to_le_bytes());
    }

    fn put(&mut self, offset: usize, value: &[u8]) {
        let start = self.at + offset;
        // All offsets are constants of this file, within their record.
        self.bytes[start..start + value.len()].copy_from_slice(value);
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    fn word(bytes: &[u8], at: usize) -> u64 {
        u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
    }

    #[test]
    fn four_records_fill_the_stream() {
        let bytes = stream(0x10_0000, 0xfe_0000, 0xabc);
        let mut at = 0;
        let mut records = Vec::new();
        while at < bytes.len() {
            let code = u16::from_le_bytes([bytes[at], bytes[at + 1]]);
            let length = word(&bytes, at) >> 32;
            records.push((code, length));
            at += 8 + length as usize;
        }
        assert_eq!(at, bytes.len());
        assert_eq!(records, [(1, 24), (2, 1032), (14, 240), (0, 0)]);
    }

    #[test]
    fn the_cpu_starts_at_the_entry() {
        let bytes = stream(0x10_0000, 0xfe_0000, 0xabc);
        let cpu = &bytes[8 + 24 + 8..];
        assert_eq!(word(cpu, 520), 0xfe_0000, "rbx");
        assert_eq!(word(cpu, 640), 0x10_0000, "rip");
        assert_eq!(word(cpu, 648), 2, "rflags: interrupts off");
        assert_eq!(word(cpu, 656), 0x11, "cr0: protected mode, no paging");
        assert_eq!(word(&bytes, 8), 0x1_5438_1286, "magic and version");
        assert_eq!(word(&bytes, 24) as u32, 0xabc);
    }
}
