//! U-Boot's script on the ESP, in the wrapping that U-Boot wants.
//!
//! Source: U-Boot, `include/image.h` (legacy image), `tools/mkimage.c` (list of files of a script).

use anyhow::{Result, bail, ensure};
use proto_manifest::table::VirtioMmio;

use crate::paths;

/// Bytes of the header.
const HEADER: usize = 64;
const MAGIC: u32 = 0x2705_1956;
/// `IH_OS_LINUX`, `IH_ARCH_ARM64`, `IH_TYPE_SCRIPT`, `IH_COMP_NONE`.
const KIND: [u8; 4] = [5, 22, 6, 0];
const NAME: &[u8] = b"Sarsen";

/// Fills the template `boot/uboot/boot.cmd.in` and wraps it. `transports` are left to driver domains.
///
/// # Errors
/// When Xen's command line holds a character that U-Boot would take for its own.
pub fn script(xen_command_line: &str, transports: &[u8]) -> Result<Vec<u8>> {
    let template = paths::read_text(&paths::repository().join("boot/uboot/boot.cmd.in"))?;
    Ok(wrapped(fill(&template, xen_command_line, transports)?.as_bytes()))
}

fn fill(template: &str, xen_command_line: &str, transports: &[u8]) -> Result<String> {
    let special = xen_command_line.chars().find(|&c| c.is_control() || "'\"\\${};|&<>#".contains(c));
    if let Some(special) = special {
        bail!("Xen's command line holds {special:?}, which U-Boot's script does not carry");
    }
    for mark in ["@XEN@", "@PASSTHROUGH@"] {
        ensure!(template.contains(mark), "boot/uboot/boot.cmd.in has no {mark}");
    }
    let lines = template.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    let text: String = lines.map(|line| format!("{line}\n")).collect();
    // Eight transports share a page of registers, which goes to one domain.
    let page = |transport: &u8| transport - transport % VirtioMmio::A_PAGE;
    let marked = transports.iter().map(page).flat_map(|first| first..first + VirtioMmio::A_PAGE);
    let marks: Vec<String> = marked
        .map(|transport| {
            let address = VirtioMmio { transport, pool_pages: 1 }.address();
            format!("fdt set /virtio_mmio@{address:x} xen,passthrough")
        })
        .collect();
    Ok(text.replace("@XEN@", xen_command_line).replace("@PASSTHROUGH@", &marks.join("\n")))
}

/// A script as U-Boot takes it: a header with checksums, the list of files (one), the text. Without a date,
/// so that equal inputs give equal images.
fn wrapped(text: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend((text.len() as u32).to_be_bytes());
    // The list ends.
    body.extend(0u32.to_be_bytes());
    body.extend(text);

    let mut header = Vec::with_capacity(HEADER);
    // The header's own checksum, the date, the length, where to load it, where to start it, the checksum.
    for word in [MAGIC, 0, 0, body.len() as u32, 0, 0, crc32(&body)] {
        header.extend(word.to_be_bytes());
    }
    header.extend(KIND);
    header.extend(NAME);
    header.resize(HEADER, 0);
    let checksum = crc32(&header);
    header[4..8].copy_from_slice(&checksum.to_be_bytes());
    header.extend(body);
    header
}

/// CRC-32 as Ethernet has it.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| crc >> 1 ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_everybody() {
        // The check value of CRC-32/ISO-HDLC.
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b""), 0);
    }

    #[test]
    fn a_script_is_wrapped_as_by_mkimage() {
        let out = wrapped(b"reset\n");
        assert_eq!(out[..4], [0x27, 0x05, 0x19, 0x56]);
        assert_eq!(out[12..16], 14u32.to_be_bytes());
        assert_eq!(out[28..32], [5, 22, 6, 0]);
        assert_eq!(&out[32..39], b"Sarsen\0");
        assert_eq!(out[64..72], [0, 0, 0, 6, 0, 0, 0, 0]);
        assert_eq!(&out[72..], b"reset\n");
        assert_eq!(out[24..28], crc32(&out[64..]).to_be_bytes());
        let mut header = out[..64].to_vec();
        header[4..8].fill(0);
        assert_eq!(out[4..8], crc32(&header).to_be_bytes());
    }

    #[test]
    fn marks_are_filled_and_comments_go() {
        let template = "# about @XEN@\n\nfdt set \\#x \"@XEN@\"\n@PASSTHROUGH@\nbooti\n";
        let text = fill(template, "console=dtuart", &[25]).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "fdt set \\#x \"console=dtuart\"");
        assert_eq!(lines.len(), 10);
        assert_eq!(lines[1], "fdt set /virtio_mmio@a003000 xen,passthrough");
        assert_eq!(lines[8], "fdt set /virtio_mmio@a003e00 xen,passthrough");
        assert_eq!(lines[9], "booti");
    }

    #[test]
    fn what_u_boot_would_read_is_refused() {
        let template = "@XEN@ @PASSTHROUGH@";
        for bad in ["a;b", "a\"b", "$x", "a\nb", "#"] {
            assert!(fill(template, bad, &[]).is_err(), "{bad}");
        }
        assert!(fill("no mark", "a", &[]).is_err());
    }
}
