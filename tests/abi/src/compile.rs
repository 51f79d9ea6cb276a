//! Has the host's C compiler say what Xen's headers make of an expression.
//!
//! Each expression becomes an operand of an `asm` statement, so that its value stands in the compiler's
//! assembly; nothing is assembled, linked or run. A compiler for another architecture than the headers' is
//! told by macros which ones to read. It must be one with 64-bit `long` and natural alignment, which the
//! generated source asserts.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::table::Arch;

/// One question to the compiler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// What it is about, for messages.
    pub about: String,
    /// Constant C expression.
    pub expression: String,
}

/// Answers the questions by `headers` (and `declare`, more C) of the folder `xen`.
///
/// # Errors
/// When there is no C compiler, or it refuses something; its words name the question.
pub fn answer(
    xen: &Path,
    arch: Arch,
    headers: &[String],
    declare: &str,
    questions: &[Question],
) -> Result<Vec<i128>> {
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let (input, output) = (folder.path().join("abi.c"), folder.path().join("abi.s"));
    let program = program(headers, declare, questions);
    std::fs::write(&input, program).context("cannot write the C source")?;
    // The headers name each other with and without their folder.
    let above = xen.parent().unwrap_or(xen);
    let compiled = Command::new("gcc")
        .args(["-S", "-O1", "-std=gnu11", "-ffreestanding", "-w", "-fno-asynchronous-unwind-tables"])
        .args(architecture(arch))
        .arg("-I")
        .arg(above)
        .arg("-I")
        .arg(xen)
        .arg("-o")
        .args([&output, &input])
        .output()
        .context("cannot run gcc, which reads Xen's headers here; it is the one that Rust links with")?;
    if !compiled.status.success() {
        bail!(
            "the C compiler refuses what abi.toml says of Xen's headers for {}:\n{}",
            arch.name(),
            String::from_utf8_lossy(&compiled.stderr)
        );
    }
    let assembly = std::fs::read_to_string(&output).context("the compiler wrote no assembly")?;
    read(&assembly, questions.len())
}

/// Words that make a compiler read the headers of `arch`.
fn architecture(arch: Arch) -> [&'static str; 4] {
    match arch {
        Arch::X86_64 => ["-U__aarch64__", "-D__x86_64__=1", "-fsigned-char", "-fno-pie"],
        Arch::Aarch64 => ["-U__x86_64__", "-D__aarch64__=1", "-funsigned-char", "-fno-pie"],
    }
}

const MARK: &str = "sarsen-abi";

fn program(headers: &[String], declare: &str, questions: &[Question]) -> String {
    let mut text = String::from(
        "#include <stddef.h>\n#include <stdint.h>\n#define __XEN_TOOLS__ 1\n\
         _Static_assert(sizeof(long) == 8 && sizeof(void *) == 8, \"a compiler with 64-bit long\");\n\
         _Static_assert(_Alignof(uint64_t) == 8 && _Alignof(uint32_t) == 4, \"natural alignment\");\n",
    );
    for header in headers {
        let _ = writeln!(text, "#include <xen/{header}>");
    }
    let _ = writeln!(text, "{declare}");
    text.push_str("void abi(void)\n{\n");
    for (number, question) in questions.iter().enumerate() {
        // Errors are reported as in a file that is called like the question.
        let _ = writeln!(text, "#line 1 \"{}\"", question.about.replace(['"', '\\'], "'"));
        let _ = writeln!(
            text,
            "__asm__ volatile(\"{MARK} {number} %0\" :: \"i\"((int64_t)({})));",
            question.expression
        );
    }
    text.push_str("}\n");
    text
}

/// Reads the marked lines of the assembly.
fn read(assembly: &str, count: usize) -> Result<Vec<i128>> {
    let mut answers = vec![None; count];
    for line in assembly.lines() {
        let Some(rest) = line.trim().strip_prefix(MARK) else { continue };
        let mut words = rest.split_whitespace();
        let number = words.next().and_then(|word| word.parse::<usize>().ok());
        // The sign before an immediate operand is the architecture's.
        let value = words.next().and_then(|word| word.trim_start_matches(['$', '#']).parse::<i128>().ok());
        let place = number.and_then(|number| answers.get_mut(number));
        let (Some(place), Some(value)) = (place, value) else {
            bail!("the compiler wrote a line that is not as expected: {line}");
        };
        *place = Some(value);
    }
    let missing = || "the compiler left an answer out";
    answers.into_iter().map(|answer| answer.with_context(missing)).collect()
}
