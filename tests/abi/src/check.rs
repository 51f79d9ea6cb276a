//! Compares what our sources have with what Xen's headers say.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result};

use crate::compile::{self, Question};
use crate::source::{self, Source, Wanted};
use crate::table::{Arch, File, Table, is_padding};
use crate::value::Known;

/// How many values were compared, and what is wrong, one sentence each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Values of ours that were held against Xen's.
    pub compared: usize,
    /// What is wrong.
    pub faults: Vec<String>,
}

/// Our sources by their path from the repository's root.
pub type Sources = BTreeMap<String, Source>;

/// Reads all files that the table is about.
///
/// # Errors
/// A file that cannot be read, with its name.
pub fn sources(repository: &Path, table: &Table) -> Result<Sources> {
    let mut sources = Sources::new();
    let mut known = Known::default();
    let all = table.all.iter().map(|place| (place, Wanted::All));
    let structures = table.structures.iter().map(|place| (place, Wanted::Structures));
    for (place, wanted) in all.chain(structures) {
        let path = repository.join(place);
        let files = if path.is_dir() { source::files(&path)? } else { vec![path] };
        for file in files {
            let name = file.strip_prefix(repository).unwrap_or(&file).to_string_lossy().into_owned();
            let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {name}"))?;
            let source = source::read(&text, wanted, &mut known).with_context(|| name.clone())?;
            if source != Source::default() {
                sources.insert(name, source);
            }
        }
    }
    Ok(sources)
}

/// Compares everything. What the C compiler refuses, a name that the headers do not have for one, is a fault
/// as a difference is.
pub fn check(xen: &Path, table: &Table, sources: &Sources) -> Outcome {
    let mut outcome = Outcome { compared: 0, faults: coverage(table, sources) };
    for file in &table.files {
        let Some(source) = sources.get(&file.path) else { continue };
        for arch in Arch::ALL.into_iter().filter(|arch| file.only.is_none_or(|only| only == *arch)) {
            let claims = claims(file, source, arch);
            let questions: Vec<Question> = claims
                .iter()
                .map(|claim| Question { about: claim.about.clone(), expression: claim.expression.clone() })
                .collect();
            let answers = match compile::answer(xen, arch, &file.headers, &file.declare, &questions) {
                Ok(answers) => answers,
                Err(error) => {
                    outcome.faults.push(format!("{}: {error:#}", file.path));
                    continue;
                }
            };
            for (claim, answer) in claims.iter().zip(answers) {
                outcome.compared += 1;
                let right = match claim.relation {
                    Relation::Equal => claim.ours == answer,
                    Relation::AtLeast => claim.ours >= answer,
                    Relation::AtMost => claim.ours <= answer,
                };
                if !right {
                    outcome.faults.push(format!(
                        "{}: ours is {} ({:#x}), Xen's `{}` for {} is {answer} ({answer:#x})",
                        claim.about,
                        claim.ours,
                        claim.ours,
                        claim.expression,
                        arch.name(),
                    ));
                }
            }
        }
    }
    outcome
}

/// A number of ours, and what it stands for.
struct Claim {
    about: String,
    ours: i128,
    expression: String,
    relation: Relation,
}

/// How ours relates to Xen's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    Equal,
    AtLeast,
    AtMost,
}

fn claims(file: &File, source: &Source, arch: Arch) -> Vec<Claim> {
    let mut claims = Vec::new();
    for (name, number) in &file.numbers {
        if let (Some(ours), Some(expression)) = (source.numbers.get(name), number.expression(arch)) {
            claims.push(Claim {
                about: format!("{}: {name}", file.path),
                ours: *ours,
                expression: expression.to_owned(),
                relation: Relation::Equal,
            });
        }
    }
    for (name, structure) in &file.structures {
        let Some(layout) = source.structures.get(name) else { continue };
        if structure.only.is_some_and(|only| only != arch) {
            continue;
        }
        let xen = &structure.xen;
        claims.push(Claim {
            about: format!("{}: size of {name}", file.path),
            ours: layout.extent.size.into(),
            expression: format!("sizeof({xen})"),
            relation: match (&structure.longer, &structure.shorter) {
                (Some(_), None) => Relation::AtLeast,
                (None, Some(_)) => Relation::AtMost,
                _ => Relation::Equal,
            },
        });
        for field in &layout.fields {
            let Some(theirs) = structure.field(&field.name) else { continue };
            let about = |what| format!("{}: {what} of {name}.{}", file.path, field.name);
            claims.push(Claim {
                about: about("offset"),
                ours: field.offset.into(),
                expression: format!("__builtin_offsetof({xen}, {theirs})"),
                relation: Relation::Equal,
            });
            claims.push(Claim {
                about: about("size"),
                ours: field.size.into(),
                expression: format!("sizeof((({xen} *)0)->{theirs})"),
                relation: Relation::Equal,
            });
        }
    }
    claims
}

/// What the sources have and the table lacks, and the reverse.
pub fn coverage(table: &Table, sources: &Sources) -> Vec<String> {
    let mut faults = Vec::new();
    let nothing = Source::default();
    let listed: BTreeSet<&str> = table.files.iter().map(|file| file.path.as_str()).collect();
    for path in sources.keys().filter(|path| !listed.contains(path.as_str())) {
        faults.push(format!("{path}: holds numbers or structures, and abi.toml has no entry for the file"));
    }
    for file in &table.files {
        let source = sources.get(&file.path).unwrap_or(&nothing);
        let path = &file.path;
        compare_names(path, "number", source.numbers.keys(), file.numbers.keys(), &mut faults);
        compare_names(path, "structure", source.structures.keys(), file.structures.keys(), &mut faults);
        for (name, structure) in &file.structures {
            let fields: BTreeSet<&str> = source
                .structures
                .get(name)
                .map(|layout| layout.fields.iter().map(|field| field.name.as_str()).collect())
                .unwrap_or_default();
            for field in structure.names.keys().chain(structure.ours.keys()) {
                if !fields.contains(field.as_str()) {
                    faults.push(format!(
                        "{path}: abi.toml names {name}.{field}, which the source does not have"
                    ));
                }
            }
            let padding = fields.iter().filter(|field| is_padding(field)).count();
            if !fields.is_empty() && structure.ours.len() + padding == fields.len() {
                faults.push(format!("{path}: no field of {name} is compared"));
            }
        }
    }
    faults
}

fn compare_names<'a>(
    path: &str,
    kind: &str,
    source: impl Iterator<Item = &'a String>,
    table: impl Iterator<Item = &'a String>,
    faults: &mut Vec<String>,
) {
    let (source, table): (BTreeSet<&String>, BTreeSet<&String>) = (source.collect(), table.collect());
    for name in source.difference(&table) {
        faults.push(format!("{path}: {kind} {name} is not in abi.toml"));
    }
    for name in table.difference(&source) {
        faults.push(format!("{path}: abi.toml has {kind} {name}, which the source does not have"));
    }
}
