//! The picture as SVG.

use std::fmt::Write;

use super::View;
use super::layout::{Kind, Node, Picture, Wire, lay_out, text_width};

const STYLE: &str = "\
text{font:13px ui-monospace,Menlo,Consolas,'DejaVu Sans Mono','Liberation Mono',monospace;fill:#1f2933}
.title{font-weight:bold;font-size:15px}.name{font-weight:bold}
rect{stroke-width:1.5;rx:4px}
.domain{fill:#e8f0fb;stroke:#33608f}.device{fill:#fdf1d8;stroke:#a2701a}
.applications{fill:#fff;stroke:#7b8794;stroke-dasharray:6 4}
.dom0{fill:#e2f3e6;stroke:#3b7a4b}.xen{fill:#eceff2;stroke:#7b8794}
path{fill:none;stroke:#52606d;stroke-width:1.5}.dashed{stroke-dasharray:6 4}
.label{fill:#fff;stroke:none}.channel{font-style:italic}";

/// Draws the board. Every text of it is set to the width that the layout counts on.
pub(super) fn draw(view: &View<'_>) -> String {
    let picture = lay_out(view);
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = write(&picture, &mut out);
    out
}

fn write(picture: &Picture, out: &mut String) -> std::fmt::Result {
    let Picture { width, height, title, .. } = picture;
    writeln!(
        out,
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">"#
    )?;
    writeln!(out, "<title>{}</title>", escaped(title))?;
    writeln!(out, "<style>{STYLE}</style>")?;
    writeln!(
        out,
        r#"<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto"><path d="M0 0 8 4 0 8z" style="fill:#52606d;stroke:none"/></marker></defs>"#
    )?;
    writeln!(out, r##"<rect width="{width}" height="{height}" style="fill:#fff;stroke:none"/>"##)?;
    text(out, "title", 24, 28, title)?;
    for wire in &picture.wires {
        line(out, wire)?;
    }
    for node in &picture.nodes {
        boxed(out, node)?;
    }
    // Names stand on their lines, so they come last.
    for wire in &picture.wires {
        let label = wire.label;
        writeln!(
            out,
            r#"<rect class="label" x="{}" y="{}" width="{}" height="{}"/>"#,
            label.x, label.y, label.width, label.height
        )?;
        text(out, "channel", label.x + (label.width - text_width(&wire.name)) / 2, label.y + 15, &wire.name)?;
    }
    writeln!(out, "</svg>")
}

fn line(out: &mut String, wire: &Wire) -> std::fmt::Result {
    let class = if wire.dashed { r#" class="dashed""# } else { "" };
    let points: Vec<String> = wire.points.iter().map(|(x, y)| format!("{x} {y}")).collect();
    writeln!(out, r#"<path{class} d="M{}" marker-end="url(#arrow)"/>"#, points.join("L"))
}

fn boxed(out: &mut String, node: &Node) -> std::fmt::Result {
    let class = match node.kind {
        Kind::Domain => "domain",
        Kind::Device => "device",
        Kind::Applications => "applications",
        Kind::Dom0 => "dom0",
        Kind::Xen => "xen",
    };
    let rect = node.rect;
    writeln!(
        out,
        r#"<rect class="{class}" x="{}" y="{}" width="{}" height="{}"/>"#,
        rect.x, rect.y, rect.width, rect.height
    )?;
    let mut y = rect.y + 21;
    for (index, words) in node.lines.iter().enumerate() {
        let class = if index == 0 { "name" } else { "more" };
        text(out, class, rect.x + 12, y, words)?;
        y += 20;
    }
    Ok(())
}

/// A text as wide as the layout counts, whatever font there is.
fn text(out: &mut String, class: &str, x: u32, y: u32, words: &str) -> std::fmt::Result {
    let width = text_width(words);
    writeln!(
        out,
        r#"<text class="{class}" x="{x}" y="{y}" textLength="{width}" lengthAdjust="spacingAndGlyphs">{}</text>"#,
        escaped(words)
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
