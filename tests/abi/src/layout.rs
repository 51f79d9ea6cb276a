//! The layout of a `repr(C)` structure: fields in order, each at the next multiple of its alignment, the
//! whole rounded up to the largest alignment.
//!
//! The rule is the same for Rust and C, and for both of our architectures: no type that occurs is aligned
//! otherwise than to its size.

use std::collections::BTreeMap;

use syn::{Fields, ItemStruct, Type};

use crate::value::{self, Known, Value};

/// Size and alignment in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Bytes.
    pub size: u64,
    /// The address is a multiple of this.
    pub align: u64,
}

/// One field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its name with us.
    pub name: String,
    /// Bytes from the start.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
}

/// A structure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Fields in order.
    pub fields: Vec<Field>,
    /// Of the whole.
    pub extent: Extent,
}

/// Lays out a structure.
///
/// # Errors
/// A field whose type is not known here, or an attribute that changes the layout in another way.
pub fn lay_out(item: &ItemStruct, known: &Known, types: &BTreeMap<String, Extent>) -> Result<Layout, String> {
    let Fields::Named(named) = &item.fields else {
        return Err("only structures with named fields are laid out".to_owned());
    };
    let mut extent = Extent { size: 0, align: requested_alignment(item)? };
    let mut fields = Vec::new();
    for field in &named.named {
        let name = field.ident.as_ref().map(ToString::to_string).unwrap_or_default();
        let of = extent_of(&field.ty, known, types).map_err(|error| format!("field `{name}`: {error}"))?;
        let offset = extent.size.next_multiple_of(of.align);
        fields.push(Field { name, offset, size: of.size });
        extent = Extent { size: offset + of.size, align: extent.align.max(of.align) };
    }
    extent.size = extent.size.next_multiple_of(extent.align);
    Ok(Layout { fields, extent })
}

/// Whether a structure says `repr(C)`.
pub fn is_repr_c(item: &ItemStruct) -> bool {
    let mut found = false;
    for attribute in item.attrs.iter().filter(|attribute| attribute.path().is_ident("repr")) {
        let _ = attribute.parse_nested_meta(|meta| {
            found |= meta.path.is_ident("C");
            skip_argument(&meta)
        });
    }
    found
}

fn skip_argument(meta: &syn::meta::ParseNestedMeta<'_>) -> syn::Result<()> {
    if meta.input.peek(syn::token::Paren) {
        let content;
        syn::parenthesized!(content in meta.input);
        content.parse::<proc_macro2::TokenStream>()?;
    }
    Ok(())
}

/// `align(N)` of `repr(C, align(N))`, else 1.
fn requested_alignment(item: &ItemStruct) -> Result<u64, String> {
    let mut align = 1;
    for attribute in item.attrs.iter().filter(|attribute| attribute.path().is_ident("repr")) {
        let parsed = attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("align") {
                let content;
                syn::parenthesized!(content in meta.input);
                align = content.parse::<syn::LitInt>()?.base10_parse()?;
                return Ok(());
            }
            if meta.path.is_ident("C") {
                Ok(())
            } else {
                Err(meta.error("this form of repr is not known here"))
            }
        });
        parsed.map_err(|error| error.to_string())?;
    }
    Ok(align)
}

fn extent_of(ty: &Type, known: &Known, types: &BTreeMap<String, Extent>) -> Result<Extent, String> {
    match ty {
        Type::Array(array) => {
            let of = extent_of(&array.elem, known, types)?;
            match value::evaluate(&array.len, known)? {
                Value::Number(count) => {
                    let count = u64::try_from(count).map_err(|error| error.to_string())?;
                    Ok(Extent { size: of.size * count, align: of.align })
                }
                _ => Err("the length of the array is no number".to_owned()),
            }
        }
        Type::Path(path) => {
            let name = value::path_name(&path.path);
            let last = name.rsplit("::").next().unwrap_or_default();
            let size = match last {
                "u8" | "i8" | "AtomicU8" => 1,
                "u16" | "i16" | "AtomicU16" => 2,
                "u32" | "i32" | "AtomicU32" => 4,
                "u64" | "i64" | "AtomicU64" => 8,
                other => {
                    return types
                        .get(other)
                        .copied()
                        .ok_or_else(|| format!("the layout of type `{name}` is not known"));
                }
            };
            Ok(Extent { size, align: size })
        }
        _ => Err("a type that no interface has".to_owned()),
    }
}
