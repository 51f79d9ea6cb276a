//! Which shared libraries a set of programs needs, found as the dynamic linker finds them. Pure.
//!
//! Source: System V ABI, "Dynamic Linking": `DT_NEEDED`, `PT_INTERP`.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use elf::ElfBytes;
use elf::abi::{DT_NEEDED, PT_INTERP};
use elf::endian::LittleEndian;

/// Libraries by name: those that `programs` need, those that these need, and so on. `find` knows a
/// library's bytes.
///
/// # Errors
/// When a file is no ELF file, or `find` does not know a library; the error names who needs it.
pub fn closure(
    programs: &[(String, Vec<u8>)],
    find: impl Fn(&str) -> Result<Option<Vec<u8>>>,
) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut wanted = Vec::new();
    for (name, bytes) in programs {
        wanted.extend(needed(name, bytes)?);
    }
    while let Some((who, name)) = wanted.pop() {
        if found.contains_key(&name) {
            continue;
        }
        let bytes = find(&name)?.with_context(|| format!("{who} needs {name}, which no package has"))?;
        wanted.extend(needed(&name, &bytes)?);
        found.insert(name, bytes);
    }
    Ok(found)
}

/// Pairs of `name` and a library that it names.
fn needed(name: &str, bytes: &[u8]) -> Result<Vec<(String, String)>> {
    let file = parse(name, bytes)?;
    let common = file.find_common_data().with_context(|| format!("{name}: no section table"))?;
    let (Some(dynamic), Some(strings)) = (common.dynamic, common.dynsyms_strs) else { return Ok(Vec::new()) };
    dynamic
        .iter()
        .filter(|entry| entry.d_tag == DT_NEEDED)
        .map(|entry| {
            let library = strings.get(usize::try_from(entry.d_val())?)?;
            Ok((name.to_owned(), library.to_owned()))
        })
        .collect::<Result<_>>()
        .with_context(|| format!("{name}: a library without a name"))
}

/// Path of the program that starts `program`, without the slash at its front; `None` for a static one.
///
/// # Errors
/// When the file is no ELF file, or the path is none.
pub fn interpreter(name: &str, program: &[u8]) -> Result<Option<String>> {
    let file = parse(name, program)?;
    let Some(segment) =
        file.segments().and_then(|all| all.iter().find(|segment| segment.p_type == PT_INTERP))
    else {
        return Ok(None);
    };
    let bytes = file.segment_data(&segment).with_context(|| format!("{name}: truncated"))?;
    let path = std::str::from_utf8(bytes).with_context(|| format!("{name}: the interpreter's path"))?;
    Ok(Some(path.trim_end_matches('\0').trim_start_matches('/').to_owned()))
}

fn parse<'a>(name: &str, bytes: &'a [u8]) -> Result<ElfBytes<'a, LittleEndian>> {
    ElfBytes::minimal_parse(bytes).with_context(|| format!("{name} is not an ELF file"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
        bytes[at..at + value.len()].copy_from_slice(value);
    }

    /// An ELF file with nothing but an interpreter, a dynamic section and its strings.
    fn file(needs: &[&str]) -> Vec<u8> {
        let path = b"/lib64/ld.so\0";
        let mut strings = vec![0];
        let mut dynamic = Vec::new();
        for need in needs {
            dynamic.extend_from_slice(&1u64.to_le_bytes());
            dynamic.extend_from_slice(&(strings.len() as u64).to_le_bytes());
            strings.extend_from_slice(need.as_bytes());
            strings.push(0);
        }
        dynamic.extend_from_slice(&[0; 16]);
        let [path_at, dynamic_at, strings_at] =
            [120, 136, 136 + dynamic.len()].map(|at: usize| at.next_multiple_of(8));
        let sections_at = (strings_at + strings.len()).next_multiple_of(8);
        let mut bytes = vec![0; sections_at + 4 * 64];
        put(&mut bytes, 0, b"\x7fELF\x02\x01\x01");
        put(&mut bytes, 16, &[3, 0, 62, 0, 1]);
        put(&mut bytes, 32, &64u64.to_le_bytes()); // e_phoff
        put(&mut bytes, 40, &(sections_at as u64).to_le_bytes());
        put(&mut bytes, 52, &[64, 0, 56, 0, 1, 0, 64, 0, 4, 0, 0, 0]);
        put(&mut bytes, 64, &3u32.to_le_bytes()); // PT_INTERP
        put(&mut bytes, 72, &(path_at as u64).to_le_bytes());
        put(&mut bytes, 96, &(path.len() as u64).to_le_bytes());
        put(&mut bytes, path_at, path);
        put(&mut bytes, dynamic_at, &dynamic);
        put(&mut bytes, strings_at, &strings);
        // .dynsym without symbols, .dynstr, .dynamic: type, offset, size, link, entry size.
        let sections =
            [(11, 64, 0, 2, 24), (3, strings_at, strings.len(), 0, 0), (6, dynamic_at, dynamic.len(), 2, 16)];
        for (index, (kind, at, size, link, entry)) in sections.into_iter().enumerate() {
            let header = sections_at + (index + 1) * 64;
            put(&mut bytes, header + 4, &u32::to_le_bytes(kind));
            put(&mut bytes, header + 24, &(at as u64).to_le_bytes());
            put(&mut bytes, header + 32, &(size as u64).to_le_bytes());
            put(&mut bytes, header + 40, &u32::to_le_bytes(link));
            put(&mut bytes, header + 56, &u64::to_le_bytes(entry));
        }
        bytes
    }

    #[test]
    fn libraries_of_libraries_come_along_each_once() {
        let library = |name: &str| {
            Ok(match name {
                "b.so" => Some(file(&["c.so", "d.so"])),
                "c.so" => Some(file(&["d.so", "b.so"])),
                "d.so" => Some(file(&[])),
                _ => None,
            })
        };
        let programs = [("a".to_owned(), file(&["b.so"])), ("e".to_owned(), file(&["d.so"]))];
        let found = closure(&programs, library).unwrap();
        assert_eq!(found.keys().collect::<Vec<_>>(), ["b.so", "c.so", "d.so"]);
    }

    #[test]
    fn a_library_that_is_nowhere_is_named_with_who_needs_it() {
        let library = |name: &str| Ok((name == "b.so").then(|| file(&["z.so"])));
        let error = closure(&[("a".to_owned(), file(&["b.so"]))], library).unwrap_err().to_string();
        assert_eq!(error, "b.so needs z.so, which no package has");
        assert!(closure(&[("a".to_owned(), b"text".to_vec())], |_| Ok(None)).is_err());
    }

    #[test]
    fn the_interpreter_is_told_by_the_program() {
        assert_eq!(interpreter("a", &file(&[])).unwrap().as_deref(), Some("lib64/ld.so"));
    }
}
