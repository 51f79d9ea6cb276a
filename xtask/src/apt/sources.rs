//! Reads apt's source lists, in both of apt's forms. Pure: text in, entries out.
//!
//! Source: sources.list(5), "ONE-LINE-STYLE FORMAT" and "DEB822-STYLE FORMAT".

/// One enabled binary-package entry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Source {
    /// Where the archive is, e.g. `http://mirror.example/debian`.
    pub uris: Vec<String>,
    /// Suites, e.g. `bookworm`, `bookworm-updates`.
    pub suites: Vec<String>,
    /// Components, e.g. `main`.
    pub components: Vec<String>,
    /// What signs it: a keyring's path, or the key itself.
    pub signed_by: Option<SignedBy>,
}

/// The key that an entry is checked with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignedBy {
    /// Path of a keyring file.
    Path(String),
    /// An ASCII-armoured key, written inside the entry.
    Key(String),
}

/// Parses a file in one-line style (`deb [options] uri suite components…`). Lines that are not
/// understood are left out, as apt would have complained about them itself.
pub fn parse_one_line(text: &str) -> Vec<Source> {
    text.lines().filter_map(one_line).collect()
}

fn one_line(line: &str) -> Option<Source> {
    let line = line.split('#').next().unwrap_or("").trim();
    let rest = line.strip_prefix("deb").filter(|rest| rest.starts_with([' ', '\t', '[']))?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_whitespace().map(str::to_owned);
    let uri = words.next()?;
    let suite = words.next()?;
    let signed_by = options
        .split_whitespace()
        .find_map(|option| option.strip_prefix("signed-by="))
        .map(|path| SignedBy::Path(path.to_owned()));
    Some(Source { uris: vec![uri], suites: vec![suite], components: words.collect(), signed_by })
}

/// Parses a file in deb822 style: paragraphs of `Field: value` with continuation lines.
pub fn parse_deb822(text: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    let mut paragraph: Vec<(String, String)> = Vec::new();
    for line in text.lines().chain([""]) {
        if line.starts_with('#') {
            continue;
        }
        if line.trim().is_empty() {
            sources.extend(source_of(&paragraph));
            paragraph.clear();
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = paragraph.last_mut() {
                // A line that holds only a dot stands for an empty one.
                let more = line.trim();
                value.push('\n');
                value.push_str(if more == "." { "" } else { more });
            }
        } else if let Some((field, value)) = line.split_once(':') {
            paragraph.push((field.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    sources
}

fn source_of(paragraph: &[(String, String)]) -> Option<Source> {
    let field =
        |name: &str| paragraph.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str());
    let words = |name: &str| -> Vec<String> {
        field(name).unwrap_or("").split_whitespace().map(str::to_owned).collect()
    };
    let off = field("enabled").is_some_and(|value| matches!(value, "no" | "false" | "off" | "0"));
    if off || !words("types").iter().any(|kind| kind == "deb") {
        return None;
    }
    let signed_by = field("signed-by").filter(|value| !value.is_empty()).map(|value| {
        if value.contains("BEGIN PGP") {
            SignedBy::Key(value.trim_start().to_owned() + "\n")
        } else {
            SignedBy::Path(value.split_whitespace().next().unwrap_or("").to_owned())
        }
    });
    let source =
        Source { uris: words("uris"), suites: words("suites"), components: words("components"), signed_by };
    (!source.uris.is_empty() && !source.suites.is_empty()).then_some(source)
}

/// The entry from which the host takes its own release: same suite, component `main`, not a medium.
pub fn of_release<'a>(sources: &'a [Source], codename: &str) -> Option<&'a Source> {
    let aliases = [codename, "stable", "oldstable", "testing", "unstable", "sid"];
    aliases.iter().find_map(|alias| {
        sources.iter().find(|source| {
            source.suites.iter().any(|suite| suite == alias)
                && source.components.iter().any(|component| component == "main")
                && source.uris.iter().any(|uri| !uri.starts_with("cdrom:"))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_entries_with_and_without_options() {
        let text = "# a comment\n\
            deb http://mirror.example/debian bookworm main contrib # tail\n\
            deb-src http://mirror.example/debian bookworm main\n\
            deb [arch=amd64 signed-by=/usr/share/keyrings/k.gpg] https://m.example/d bookworm-updates main\n\
            debris\n";
        let sources = parse_one_line(text);
        assert_eq!(sources.len(), 2);
        assert_eq!(sources[0].components, ["main", "contrib"]);
        assert_eq!(sources[0].signed_by, None);
        assert_eq!(sources[1].signed_by, Some(SignedBy::Path("/usr/share/keyrings/k.gpg".into())));
        assert_eq!(sources[1].suites, ["bookworm-updates"]);
    }

    #[test]
    fn deb822_paragraphs_with_comments_between_fields() {
        let text = "Types: deb deb-src\n# snapshot of yesterday\nURIs: http://mirror.example/debian\n\
            Suites: bookworm bookworm-updates\nComponents: main\nSigned-By: /k.gpg\n\n\
            Types: deb\nURIs: http://mirror.example/security\nSuites: bookworm-security\nComponents: main\nEnabled: no\n";
        let sources = parse_deb822(text);
        assert_eq!(sources.len(), 1);
        assert_eq!(sources[0].suites, ["bookworm", "bookworm-updates"]);
        assert_eq!(sources[0].signed_by, Some(SignedBy::Path("/k.gpg".into())));
    }

    #[test]
    fn deb822_key_inside_the_entry() {
        let text = "Types: deb\nURIs: http://m.example/d\nSuites: trixie\nComponents: main\nSigned-By:\n \
            -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mDME\n -----END PGP PUBLIC KEY BLOCK-----\n";
        let sources = parse_deb822(text);
        let Some(SignedBy::Key(key)) = &sources[0].signed_by else { panic!("no key in {sources:?}") };
        assert_eq!(key, "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmDME\n-----END PGP PUBLIC KEY BLOCK-----\n");
    }

    #[test]
    fn release_entry_is_found_beside_others() {
        let text = "deb cdrom:[disc]/ bookworm main\ndeb http://a.example/s bookworm-security main\n\
            deb http://a.example/tool stable stable\ndeb http://a.example/debian bookworm main\n";
        let sources = parse_one_line(text);
        assert_eq!(of_release(&sources, "bookworm").unwrap().uris, ["http://a.example/debian"]);
        assert_eq!(of_release(&sources, "trixie"), None);
    }
}
