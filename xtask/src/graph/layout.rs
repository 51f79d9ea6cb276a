//! Where everything is in the picture.
//!
//! ```text
//!      +------ network ------+            lanes: channels between domains
//!      v                     |
//!  +-- net ---+       +-- control --+     +- applications -+
//!  | [uplink] |       |             |     |                |
//!  +--+-------+       +--+------+---+     +--+-------------+
//!     | dom0             | dom0 | device     | console
//!  +--v------------------v------v------------v-------------+
//!  | dom0                                                  |
//!  +-------------------------------------------------------+
//!  | Xen                                                   |
//!  +-------------------------------------------------------+
//! ```
//!
//! All lengths are whole pixels. Text is set in a font of fixed width, so its size is known here.

use proto_manifest::table::Party;

use super::{View, driver, place};

/// Width of a character of the body's font.
const CHAR: u32 = 8;
/// Height of a line of text.
const LINE: u32 = 20;
/// Space around and between boxes.
const GAP: u32 = 24;
/// Space within a box.
const PAD: u32 = 12;
/// Height of a lane.
const LANE: u32 = 32;
/// Between the domains and dom0, with room for the channels' names.
const FALL: u32 = 56;
/// Height of the title.
const TITLE: u32 = 40;
/// Distance of ports at the top of a box.
const PORT: u32 = 20;

/// A rectangle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rect {
    pub(super) x: u32,
    pub(super) y: u32,
    pub(super) width: u32,
    pub(super) height: u32,
}

/// What a box stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Domain,
    Device,
    Applications,
    Dom0,
    Xen,
}

/// A box with lines of text; the first is its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) rect: Rect,
    pub(super) lines: Vec<String>,
}

/// A line from corner to corner, with an arrow at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wire {
    pub(super) points: Vec<(u32, u32)>,
    pub(super) name: String,
    /// Where the name stands.
    pub(super) label: Rect,
    /// The console of applications is no channel.
    pub(super) dashed: bool,
}

/// The whole picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Picture {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) title: String,
    pub(super) nodes: Vec<Node>,
    pub(super) wires: Vec<Wire>,
}

/// How many pixels a text takes.
pub(super) fn text_width(text: &str) -> u32 {
    // Texts of a board are short, and ASCII.
    CHAR * u32::try_from(text.len()).unwrap_or(u32::MAX / CHAR)
}

/// Lays the board out.
pub(super) fn lay_out(view: &View<'_>) -> Picture {
    let table = view.table;
    let lanes = lanes(view);
    let lane_count = lanes.iter().map(|lane| lane.level + 1).max().unwrap_or(0);
    let top = TITLE + LANE * lane_count + GAP;

    let mut nodes = Vec::new();
    let mut wires = Vec::new();
    let mut columns = columns(view, &lanes);
    let height = columns.iter().map(Column::height).max().unwrap_or(0);
    let bus = top + height + FALL;
    let mut x = GAP;
    for column in &mut columns {
        column.x = x;
        x += column.width + GAP;
        column.draw(top, height, bus, &mut nodes, &mut wires);
    }
    let title = format!("board {}: {}, {} MiB", table.board, view.machine.arch, view.machine.memory_mib);
    let width = x.max(GAP * 2 + text_width(&title));
    let falls: Vec<u32> = lanes.iter().map(|lane| lane.ends(&columns)).flat_map(|(a, b)| [a, b]).collect();
    for lane in &lanes {
        let y = TITLE + LANE * (lane_count - lane.level);
        wires.push(lane.wire(&columns, &falls, y, top));
    }

    let (_, left) = view.memory();
    let ground = [
        (Kind::Dom0, format!("dom0, {} MiB: builds and watches the domains", view.machine.dom0_memory_mib)),
        (Kind::Xen, format!("Xen, {} MiB; {left} MiB are left", view.machine.xen_memory_mib)),
    ];
    let mut y = bus;
    for (kind, text) in ground {
        let rect = Rect { x: GAP, y, width: width - 2 * GAP, height: LINE + PAD };
        nodes.push(Node { kind, rect, lines: vec![text] });
        y += LINE + PAD + 4;
    }
    Picture { width, height: y + GAP, title, nodes, wires }
}

/// A channel between two domains, by their indices.
struct Lane<'a> {
    name: &'a str,
    offers: usize,
    accepts: usize,
    /// Number of the lane, from the domains upwards.
    level: u32,
    /// Which of its ends' top ports it takes.
    ports: (u32, u32),
}

/// Short channels get low lanes, so that few lines cross.
fn lanes<'a>(view: &View<'a>) -> Vec<Lane<'a>> {
    let mut lanes: Vec<Lane<'a>> = Vec::new();
    for channel in &view.table.channels {
        if let Party::Domain(accepts) = channel.accepts {
            let (offers, accepts) = (usize::from(channel.offers), usize::from(accepts));
            lanes.push(Lane { name: channel.name.as_str(), offers, accepts, level: 0, ports: (0, 0) });
        }
    }
    lanes.sort_by_key(|lane| (lane.offers.abs_diff(lane.accepts), lane.offers.min(lane.accepts), lane.name));
    let mut used = vec![0; view.table.domains.len()];
    for index in 0..lanes.len() {
        let (before, rest) = lanes.split_at_mut(index);
        let Some(lane) = rest.first_mut() else { break };
        let overlap = |other: &&Lane<'_>| {
            other.offers.min(other.accepts) <= lane.offers.max(lane.accepts)
                && lane.offers.min(lane.accepts) <= other.offers.max(other.accepts)
        };
        lane.level = before.iter().filter(overlap).map(|other| other.level + 1).max().unwrap_or(0);
        let mut port =
            |domain: usize| used.get_mut(domain).map_or(0, |count| std::mem::replace(count, *count + 1));
        lane.ports = (port(lane.offers), port(lane.accepts));
    }
    lanes
}

impl Lane<'_> {
    /// Where it meets its domains.
    fn ends(&self, columns: &[Column]) -> (u32, u32) {
        let port = |domain: usize, port: u32| {
            columns.get(domain).map_or(0, |column| column.x + PAD + PORT * port + PORT / 2)
        };
        (port(self.offers, self.ports.0), port(self.accepts, self.ports.1))
    }

    /// `falls` are the places at which lines of other lanes may cross this one.
    fn wire(&self, columns: &[Column], falls: &[u32], y: u32, top: u32) -> Wire {
        let (from, to) = self.ends(columns);
        let width = text_width(self.name) + CHAR;
        let label = |x: u32| Rect { x, y: y - LINE / 2, width, height: LINE };
        let clear = |x: &u32| !falls.iter().any(|fall| (*x..=*x + width).contains(fall));
        let middle = from.midpoint(to).saturating_sub(width / 2);
        let (first, last) = (from.min(to) + CHAR, from.max(to).saturating_sub(width + CHAR));
        let nearest = (first..=last).filter(clear).min_by_key(|x| x.abs_diff(middle));
        let points = vec![(from, top), (from, y), (to, y), (to, top)];
        let label = label(nearest.unwrap_or(middle));
        Wire { points, name: self.name.to_owned(), label, dashed: false }
    }
}

/// A domain, with what is in it and what leads down to dom0.
struct Column {
    x: u32,
    width: u32,
    kind: Kind,
    lines: Vec<String>,
    devices: Vec<Vec<String>>,
    /// Channels to dom0.
    down: Vec<String>,
}

fn columns(view: &View<'_>, lanes: &[Lane<'_>]) -> Vec<Column> {
    let table = view.table;
    let mut columns = Vec::new();
    for (index, domain) in table.domains.iter().enumerate() {
        let mut lines =
            vec![domain.name.to_string(), format!("{} MiB, heap {} KiB", domain.memory_mib, domain.heap_kib)];
        if domain.image != domain.name {
            lines.push(format!("image {}", domain.image));
        }
        if domain.vital {
            lines.push("vital".to_owned());
        }
        if domain.provisioning {
            lines.push("provisioning files".to_owned());
        }
        let device = |device| vec![driver_line(device), place(device)];
        let devices = table.devices_of(domain).map(device).collect();
        let down = view.below(index).into_iter().map(str::to_owned).collect();
        let ports = lanes.iter().filter(|lane| lane.offers == index || lane.accepts == index).count();
        let ports = PORT * u32::try_from(ports).unwrap_or(0);
        columns.push(Column::new(Kind::Domain, lines, devices, down, ports));
    }
    let apps = &table.applications;
    let lines = vec![
        "applications".to_owned(),
        format!("at most {}", apps.count),
        format!("{} MiB together", apps.memory_mib),
    ];
    columns.push(Column::new(Kind::Applications, lines, Vec::new(), vec!["console".to_owned()], 0));
    columns
}

fn driver_line(device: &proto_manifest::table::Device) -> String {
    format!("{}: {}", device.name, driver(device))
}

impl Column {
    fn new(kind: Kind, lines: Vec<String>, devices: Vec<Vec<String>>, down: Vec<String>, ports: u32) -> Self {
        let widest = |lines: &[String]| lines.iter().map(|line| text_width(line)).max().unwrap_or(0);
        let chips = devices.iter().map(|lines| widest(lines) + 2 * PAD).max().unwrap_or(0);
        let falls: u32 = down.iter().map(|name| fall_width(name)).sum();
        let width = widest(&lines).max(chips).max(ports).max(falls) + 2 * PAD;
        Self { x: 0, width, kind, lines, devices, down }
    }

    fn height(&self) -> u32 {
        let chips: u32 = self.devices.iter().map(|lines| chip_height(lines) + PAD).sum();
        text_height(&self.lines) + PAD + chips
    }

    fn draw(&self, top: u32, height: u32, bus: u32, nodes: &mut Vec<Node>, wires: &mut Vec<Wire>) {
        let rect = Rect { x: self.x, y: top, width: self.width, height };
        nodes.push(Node { kind: self.kind, rect, lines: self.lines.clone() });
        let mut y = top + text_height(&self.lines) + PAD;
        for lines in &self.devices {
            let rect = Rect { x: self.x + PAD, y, width: self.width - 2 * PAD, height: chip_height(lines) };
            nodes.push(Node { kind: Kind::Device, rect, lines: lines.clone() });
            y += chip_height(lines) + PAD;
        }
        let mut x = self.x + PAD + CHAR;
        for name in &self.down {
            let label = Rect {
                x: x + CHAR / 2,
                y: top + height + (FALL - LINE) / 2,
                width: text_width(name) + CHAR,
                height: LINE,
            };
            let points = vec![(x, top + height), (x, bus)];
            let dashed = self.kind == Kind::Applications;
            wires.push(Wire { points, name: name.clone(), label, dashed });
            x += fall_width(name);
        }
    }
}

fn fall_width(name: &str) -> u32 {
    text_width(name) + 3 * CHAR
}

fn text_height(lines: &[String]) -> u32 {
    LINE * u32::try_from(lines.len()).unwrap_or(0) + PAD
}

fn chip_height(lines: &[String]) -> u32 {
    text_height(lines)
}
