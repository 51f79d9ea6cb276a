//! Turns the schema into Rust: reads `schema/*.proto`, writes one file a package, and the shapes of
//! the messages that come from the controller (see `src/bounds.rs`).

use std::{collections::BTreeMap, error::Error, fmt::Write, path::PathBuf};

use prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorSet,
    field_descriptor_proto::{Label, Type},
};

/// What the controller sends, and the constant that names its shape.
const ROOTS: [(&str, &str); 3] = [
    ("CONFIG_RESPONSE", ".org.lfedge.eve.config.ConfigResponse"),
    ("ATTEST_RESPONSE", ".org.lfedge.eve.attest.ZAttestResponse"),
    ("CONTROLLER_CERT", ".org.lfedge.eve.certs.ZControllerCert"),
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=schema");
    let mut files: Vec<PathBuf> = std::fs::read_dir("schema")?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.retain(|path| path.extension().is_some_and(|ext| ext == "proto"));
    // Equal inputs give equal images: the order of a folder is not an input.
    files.sort();
    let descriptors = protox::compile(&files, ["schema"])?;
    let shapes = Shapes::of(&descriptors)?;
    std::fs::write(PathBuf::from(std::env::var("OUT_DIR")?).join("shapes.rs"), shapes)?;
    prost_build::Config::new()
        // Hash maps would want `std`.
        .btree_map(["."])
        .disable_comments(["."])
        .compile_fds(descriptors)?;
    Ok(())
}

/// The messages of the schema by full name, and the numbers of those that a root reaches.
struct Shapes<'a> {
    messages: BTreeMap<String, &'a DescriptorProto>,
    numbered: Vec<String>,
}

impl<'a> Shapes<'a> {
    /// The generated source.
    fn of(descriptors: &'a FileDescriptorSet) -> Result<String, Box<dyn Error>> {
        let mut shapes = Self { messages: BTreeMap::new(), numbered: Vec::new() };
        for file in &descriptors.file {
            shapes.collect(&format!(".{}", file.package()), &file.message_type);
        }
        let mut source = String::new();
        for (constant, name) in ROOTS {
            let number = shapes.number(name);
            writeln!(source, "/// `{name}`.\npub const {constant}: Shape = Shape({number});")?;
        }
        let mut table = String::new();
        let mut at = 0;
        while let Some(name) = shapes.numbered.get(at).cloned() {
            writeln!(table, "    // {name}\n    &[")?;
            let message = *shapes.messages.get(&name).ok_or("a field's message is not in the schema")?;
            for field in &message.field {
                let kind = match field.r#type() {
                    Type::Message => format!("Kind::Message({})", shapes.number(field.type_name())),
                    Type::Group => return Err("groups are not expected in the schema".into()),
                    Type::String | Type::Bytes => "Kind::Bytes".into(),
                    _ => "Kind::Scalar".into(),
                };
                let element = if field.label() == Label::Repeated { shapes.element(field)? } else { 0 };
                let tag = field.number();
                writeln!(table, "        Field {{ tag: {tag}, kind: {kind}, element: {element} }},")?;
            }
            writeln!(table, "    ],")?;
            at += 1;
        }
        writeln!(source, "static SHAPES: [&[Field]; {at}] = [\n{table}];")?;
        Ok(source)
    }

    fn collect(&mut self, scope: &str, messages: &'a [DescriptorProto]) {
        for message in messages {
            let name = format!("{scope}.{}", message.name());
            self.collect(&name, &message.nested_type);
            self.messages.insert(name, message);
        }
    }

    fn number(&mut self, name: &str) -> usize {
        self.numbered.iter().position(|known| known == name).unwrap_or_else(|| {
            self.numbered.push(name.into());
            self.numbered.len() - 1
        })
    }

    /// Bytes that one element of a list takes in the list, at most.
    fn element(&self, field: &FieldDescriptorProto) -> Result<usize, Box<dyn Error>> {
        match field.r#type() {
            Type::Message => {
                let message = self.message(field)?;
                // A first entry makes a node of the map, with room for eleven.
                let is_map = message.options.as_ref().is_some_and(|options| options.map_entry());
                Ok(self.size(message, 0)? * if is_map { 4 } else { 1 })
            }
            Type::String | Type::Bytes => Ok(24),
            _ => Ok(8),
        }
    }

    /// Bytes of the generated struct, at most: every field aligned to 8, every one an `Option`, and the
    /// variants of an enum one behind the other.
    fn size(&self, message: &DescriptorProto, depth: usize) -> Result<usize, Box<dyn Error>> {
        if depth > 32 {
            return Err(
                "a message holds itself: prost boxes it, and the shapes would not count the box".into()
            );
        }
        let mut size = 8;
        for field in &message.field {
            size += match field.r#type() {
                _ if field.label() == Label::Repeated => 24,
                Type::Message => 8 + self.size(self.message(field)?, depth + 1)?,
                Type::String | Type::Bytes => 32,
                _ => 16,
            };
        }
        Ok(size)
    }

    fn message(&self, field: &FieldDescriptorProto) -> Result<&'a DescriptorProto, Box<dyn Error>> {
        let name = field.type_name();
        self.messages.get(name).copied().ok_or_else(|| format!("{name} is not in the schema").into())
    }
}
