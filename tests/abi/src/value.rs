//! What a constant of our sources is: a number, or a structure of numbers.

use std::collections::BTreeMap;

use syn::{BinOp, Expr, ExprLit, Lit, Type, UnOp, spanned::Spanned};

/// The value of a constant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A number, also one inside a newtype.
    Number(i128),
    /// Fields by name or position.
    Parts(Vec<(String, Value)>),
    /// `None`, or an empty structure.
    Nothing,
}

impl Value {
    /// The numbers in it, each with the name that follows the constant's own: `OUT.window.0`.
    pub fn numbers(&self, name: &str) -> Vec<(String, i128)> {
        match self {
            Self::Number(number) => vec![(name.to_owned(), *number)],
            Self::Parts(parts) => {
                parts.iter().flat_map(|(part, value)| value.numbers(&format!("{name}.{part}"))).collect()
            }
            Self::Nothing => Vec::new(),
        }
    }
}

/// Constants that are known already, by full name (`op::CREATE_DOMAIN`).
#[derive(Debug, Clone, Default)]
pub struct Known {
    values: BTreeMap<String, Value>,
    sizes: BTreeMap<String, u64>,
}

impl Known {
    /// Adds a constant.
    pub fn add(&mut self, name: &str, value: Value) {
        self.values.insert(name.to_owned(), value);
    }

    /// Adds the size of a structure, in bytes.
    pub fn add_size(&mut self, name: &str, bytes: u64) {
        self.sizes.insert(name.to_owned(), bytes);
    }

    /// The constant with this name, or else the only one whose name ends so.
    fn find(&self, name: &str) -> Option<&Value> {
        if let Some(value) = self.values.get(name) {
            return Some(value);
        }
        let end = format!("::{name}");
        let mut found = self.values.iter().filter(|(known, _)| known.ends_with(&end)).map(|(_, value)| value);
        let first = found.next()?;
        // The same name with the same value, as where one module passes on another's, is no doubt.
        found.all(|value| value == first).then_some(first)
    }
}

/// Whether constants of the type hold numbers of an interface: arrays, references and assertions do not.
pub fn is_numeric(ty: &Type) -> bool {
    matches!(ty, Type::Path(_))
}

/// The value of an expression.
///
/// # Errors
/// The expression, where it is of a kind that is not known here.
pub fn evaluate(expr: &Expr, known: &Known) -> Result<Value, String> {
    let number = |expr: &Expr| match evaluate(expr, known)? {
        Value::Number(number) => Ok(number),
        _ => Err(format!("`{}` is no number", print(expr))),
    };
    match expr {
        Expr::Lit(ExprLit { lit: Lit::Int(literal), .. }) => {
            literal.base10_parse().map(Value::Number).map_err(|error| error.to_string())
        }
        Expr::Unary(unary) if matches!(unary.op, UnOp::Neg(_)) => Ok(Value::Number(-number(&unary.expr)?)),
        Expr::Paren(inner) => evaluate(&inner.expr, known),
        Expr::Group(inner) => evaluate(&inner.expr, known),
        Expr::Cast(cast) => evaluate(&cast.expr, known),
        Expr::Binary(binary) => {
            let (left, right) = (number(&binary.left)?, number(&binary.right)?);
            let result = match binary.op {
                BinOp::Add(_) => left.checked_add(right),
                BinOp::Sub(_) => left.checked_sub(right),
                BinOp::Mul(_) => left.checked_mul(right),
                BinOp::Div(_) => left.checked_div(right),
                BinOp::BitOr(_) => Some(left | right),
                BinOp::Shl(_) => u32::try_from(right).ok().and_then(|bits| left.checked_shl(bits)),
                _ => None,
            };
            result.map(Value::Number).ok_or_else(|| format!("cannot evaluate `{}`", print(expr)))
        }
        Expr::Path(path) => {
            let name = path_name(&path.path);
            if name == "None" {
                return Ok(Value::Nothing);
            }
            known
                .find(&name)
                .cloned()
                .ok_or_else(|| format!("`{name}` is not known, or means several things"))
        }
        Expr::Call(call) => {
            if let Some(name) = size_of_argument(expr) {
                let size =
                    known.sizes.get(&name).ok_or_else(|| format!("the size of `{name}` is not known"))?;
                return Ok(Value::Number((*size).into()));
            }
            if !is_constructor(&call.func) {
                return Err(format!("cannot evaluate `{}`", print(expr)));
            }
            let arguments: Result<Vec<Value>, String> =
                call.args.iter().map(|argument| evaluate(argument, known)).collect();
            Ok(match <[Value; 1]>::try_from(arguments?) {
                // A newtype, or the place of a word.
                Ok([only]) => only,
                Err(several) => Value::Parts(
                    several.into_iter().enumerate().map(|(at, value)| (at.to_string(), value)).collect(),
                ),
            })
        }
        Expr::Struct(literal) => {
            let fields = literal.fields.iter().map(|field| {
                let name = match &field.member {
                    syn::Member::Named(name) => name.to_string(),
                    syn::Member::Unnamed(index) => index.index.to_string(),
                };
                Ok((name, evaluate(&field.expr, known)?))
            });
            fields.collect::<Result<_, String>>().map(Value::Parts)
        }
        _ => Err(format!("cannot evaluate `{}`", print(expr))),
    }
}

/// A newtype's or structure's name, or `at` as in `Word::at(4)`: the value is what it is called with.
fn is_constructor(function: &Expr) -> bool {
    let Expr::Path(path) = function else { return false };
    let last = path.path.segments.last().map(|last| last.ident.to_string()).unwrap_or_default();
    last == "at" || last.starts_with(|first: char| first.is_ascii_uppercase())
}

/// `T` of `size_of::<T>()`.
pub fn size_of_argument(expr: &Expr) -> Option<String> {
    let Expr::Call(call) = expr else { return None };
    let Expr::Path(function) = call.func.as_ref() else { return None };
    let last = function.path.segments.last().filter(|last| last.ident == "size_of")?;
    let syn::PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    match arguments.args.first()? {
        syn::GenericArgument::Type(Type::Path(path)) => Some(path_name(&path.path)),
        _ => None,
    }
}

/// A path as it is written, without the words that only say where to start.
pub fn path_name(path: &syn::Path) -> String {
    let words = path.segments.iter().map(|segment| segment.ident.to_string());
    words.filter(|word| !["self", "super", "crate"].contains(&word.as_str())).collect::<Vec<_>>().join("::")
}

/// An expression as it is written, for messages.
fn print(expr: &Expr) -> String {
    expr.span().source_text().unwrap_or_else(|| "an expression".to_owned())
}
