//! Reads source files of ours: every constant number and every `repr(C)` structure in them.
//!
//! Tests are left out. So are constants of functions, arrays, references and assertions; the assertions on
//! sizes are kept, for they say what the Rust compiler found.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::{Attribute, Expr, ImplItem, Item, ItemStruct, spanned::Spanned};

use crate::layout::{self, Layout};
use crate::value::{self, Known, Value};

/// What one file holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Source {
    /// Numbers by name: `op::CREATE_DOMAIN`, `OUT.window.0`.
    pub numbers: BTreeMap<String, i128>,
    /// Structures by name.
    pub structures: BTreeMap<String, Layout>,
}

/// A constant that was found, not evaluated yet.
struct Found {
    name: String,
    line: usize,
    expr: Expr,
}

#[derive(Default)]
struct Finder {
    constants: Vec<Found>,
    structures: Vec<(String, ItemStruct)>,
    /// Structure and its size, as an assertion states it.
    asserted: Vec<(String, Expr)>,
}

/// All Rust files of a folder, tests left out, in order.
///
/// # Errors
/// When the folder cannot be read.
pub fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let listing = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in listing {
        let path = entry?.path();
        if path.file_stem().is_some_and(|stem| stem == "tests") {
            continue;
        }
        if path.is_dir() {
            found.extend(files(&path)?);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
    // `netif.rs` comes before what is in `netif`.
    found.sort_by_key(|path| path.with_extension(""));
    Ok(found)
}

/// What is wanted of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Every number and structure.
    All,
    /// Structures; the numbers of the file are nobody's interface, and need not be evaluated.
    Structures,
}

/// Reads a file. `known` has the constants of the files before it and gets those of this one.
///
/// # Errors
/// What cannot be read or evaluated, by line.
pub fn read(text: &str, wanted: Wanted, known: &mut Known) -> Result<Source> {
    let file = syn::parse_file(text)?;
    let mut finder = Finder::default();
    finder.items("", &file.items)?;

    let mut source = Source::default();
    // A constant may use one that stands below it; each round adds those whose parts are known.
    let mut left = finder.constants;
    let mut reasons: Vec<String> = Vec::new();
    while !left.is_empty() {
        let before = left.len();
        let mut failed = Vec::new();
        reasons.clear();
        for found in left {
            match value::evaluate(&found.expr, known) {
                Ok(value) => {
                    if wanted == Wanted::All {
                        source.numbers.extend(value.numbers(&found.name));
                    }
                    known.add(&found.name, value);
                }
                Err(error) => {
                    reasons.push(format!("line {}: `{}`: {error}", found.line, found.name));
                    failed.push(found);
                }
            }
        }
        left = failed;
        if left.len() == before {
            break;
        }
    }

    if wanted == Wanted::All && !reasons.is_empty() {
        bail!("{}", reasons.join("\n"));
    }

    let mut types = BTreeMap::new();
    let mut left: Vec<&(String, ItemStruct)> = finder.structures.iter().collect();
    // As above: one may hold another that stands below it.
    while !left.is_empty() {
        let before = left.len();
        let mut failed = Vec::new();
        let mut reasons = Vec::new();
        for one in left {
            let (name, item) = one;
            match layout::lay_out(item, known, &types) {
                Ok(layout) => {
                    types.insert(item.ident.to_string(), layout.extent);
                    known.add_size(&item.ident.to_string(), layout.extent.size);
                    source.structures.insert(name.clone(), layout);
                }
                Err(error) => {
                    reasons.push(format!("line {}: `{name}`: {error}", item.span().start().line));
                    failed.push(one);
                }
            }
        }
        left = failed;
        if left.len() == before {
            bail!("{}", reasons.join("\n"));
        }
    }
    for (name, expr) in &finder.asserted {
        let (Some(of), Ok(Value::Number(asserted))) = (types.get(name), value::evaluate(expr, known)) else {
            // A structure of another file, or one that is no `repr(C)`.
            continue;
        };
        if i128::from(of.size) != asserted {
            bail!("`{name}`: laid out here to {} bytes, but its assertion says {asserted}", of.size);
        }
    }
    Ok(source)
}

impl Finder {
    fn items(&mut self, prefix: &str, items: &[Item]) -> Result<()> {
        for item in items {
            match item {
                Item::Const(item) if is_test(&item.attrs) => {}
                Item::Const(item) if value::is_numeric(&item.ty) => {
                    self.constant(format!("{prefix}{}", item.ident), &item.expr);
                }
                Item::Const(item) if item.ident == "_" => self.assertion(&item.expr),
                Item::Struct(item) if layout::is_repr_c(item) && !is_test(&item.attrs) => {
                    self.structures.push((format!("{prefix}{}", item.ident), item.clone()));
                }
                Item::Enum(item) => {
                    for variant in &item.variants {
                        if let Some((_, expr)) = &variant.discriminant {
                            self.constant(format!("{prefix}{}::{}", item.ident, variant.ident), expr);
                        }
                    }
                }
                Item::Impl(item) => {
                    let syn::Type::Path(of) = item.self_ty.as_ref() else { continue };
                    // Of an associated constant of a generic type no number is known.
                    if !item.generics.params.is_empty() {
                        continue;
                    }
                    let of = value::path_name(&of.path);
                    for part in &item.items {
                        if let ImplItem::Const(part) = part
                            && value::is_numeric(&part.ty)
                        {
                            self.constant(format!("{prefix}{of}::{}", part.ident), &part.expr);
                        }
                    }
                }
                Item::Mod(item) if !is_test(&item.attrs) => {
                    if let Some((_, items)) = &item.content {
                        self.items(&format!("{prefix}{}::", item.ident), items)?;
                    }
                }
                Item::Macro(item) if item.ident.is_none() => {
                    let name = value::path_name(&item.mac.path);
                    let name = name.rsplit("::").next().unwrap_or_default();
                    self.tokens(&format!("{prefix}{name}::"), item.mac.tokens.clone())?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn constant(&mut self, name: String, expr: &Expr) {
        self.constants.push(Found { name, line: expr.span().start().line, expr: expr.clone() });
    }

    /// `NAME = number` in what a macro takes, as in `bitflags!`. Names of a `struct` in it take the place of
    /// the macro's.
    fn tokens(&mut self, prefix: &str, tokens: TokenStream) -> Result<()> {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut prefix = prefix.to_owned();
        for (at, token) in tokens.iter().enumerate() {
            match token {
                TokenTree::Ident(word) if word == "struct" => {
                    if let Some(TokenTree::Ident(name)) = tokens.get(at + 1) {
                        prefix = format!("{name}::");
                    }
                }
                TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                    self.tokens(&prefix, group.stream())?;
                }
                TokenTree::Ident(name) if name != "_" && is_punct(tokens.get(at + 1), '=') => {
                    let ends =
                        |token: &&TokenTree| !is_punct(Some(token), ',') && !is_punct(Some(token), ';');
                    let expr: TokenStream = tokens[at + 2..].iter().take_while(ends).cloned().collect();
                    let expr: Expr = syn::parse2(expr)?;
                    self.constant(format!("{prefix}{name}"), &expr);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// `assert!(size_of::<T>() == N)`
    fn assertion(&mut self, expr: &Expr) {
        let Expr::Macro(call) = expr else { return };
        if !call.mac.path.is_ident("assert") {
            return;
        }
        if let Ok(Expr::Binary(binary)) = syn::parse2::<Expr>(call.mac.tokens.clone())
            && matches!(binary.op, syn::BinOp::Eq(_))
            && let Some(name) = value::size_of_argument(&binary.left)
        {
            self.asserted.push((name, *binary.right));
        }
    }
}

fn is_punct(token: Option<&TokenTree>, wanted: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == wanted)
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_one(text: &str) -> Result<Source> {
        read(text, Wanted::All, &mut Known::default())
    }

    #[test]
    fn numbers_of_every_form_are_found() {
        let source = read_one(
            "pub const A: u32 = 1 << 3;
             mod op { pub const B: u64 = 0x10 + super::A as u64; }
             pub struct Id(pub u16);
             impl Id { pub const C: Self = Self(0x7ff0); fn f() { const HIDDEN: u8 = 1; } }
             #[repr(u64)] pub enum Call { One = 1, Two = op::B }
             const L: Layout = Layout { a: 2, b: Word::at(4), c: Window::at(1, 2), d: None };
             const TEXT: &str = \"no number\";
             bitflags::bitflags! { struct Flags: u16 { #[doc = \"x\"] const D = 1 << 0 | 4; const _ = !0; } }
             names! { E = 5, \"five\"; F = 6, \"six\"; }
             #[cfg(test)] mod tests { const G: u32 = 1; }",
        )
        .unwrap();
        let found: Vec<(&str, i128)> =
            source.numbers.iter().map(|(name, number)| (name.as_str(), *number)).collect();
        assert_eq!(
            found,
            [
                ("A", 8),
                ("Call::One", 1),
                ("Call::Two", 24),
                ("Flags::D", 5),
                ("Id::C", 0x7ff0),
                ("L.a", 2),
                ("L.b", 4),
                ("L.c.0", 1),
                ("L.c.1", 2),
                ("names::E", 5),
                ("names::F", 6),
                ("op::B", 24),
            ]
        );
    }

    #[test]
    fn what_cannot_be_evaluated_is_an_error_with_its_line() {
        let error = read_one("\nconst A: u32 = f();\n").unwrap_err().to_string();
        assert!(error.contains("line 2: `A`"), "{error}");
        let error = read_one("#[repr(C)] struct S { a: usize }").unwrap_err().to_string();
        assert!(error.contains("`S`: field `a`"), "{error}");
        assert!(read_one("#[repr(C, packed)] struct S { a: u8 }").is_err());
    }

    #[test]
    fn structures_are_laid_out_as_c_does() {
        let source = read_one(
            "const N: usize = 3;
             #[repr(C, align(8))] struct Outer { a: u8, inner: [Inner; N], c: AtomicU32, d: u8 }
             #[repr(C)] struct Inner { a: u8, b: u16 }
             struct Free { a: u8 }",
        )
        .unwrap();
        let outer = &source.structures["Outer"];
        let offsets: Vec<(u64, u64)> = outer.fields.iter().map(|field| (field.offset, field.size)).collect();
        assert_eq!(offsets, [(0, 1), (2, 12), (16, 4), (20, 1)]);
        assert_eq!(outer.extent, layout::Extent { size: 24, align: 8 });
        assert!(!source.structures.contains_key("Free"));
    }

    #[test]
    fn a_layout_that_the_rust_compiler_contradicts_is_an_error() {
        let text = "#[repr(C)] struct S { a: u32 } const _: () = assert!(size_of::<S>() == ";
        assert!(read_one(&format!("{text} 4);")).is_ok());
        let error = read_one(&format!("{text} 8);")).unwrap_err().to_string();
        assert!(error.contains("4 bytes") && error.contains("says 8"), "{error}");
    }
}
