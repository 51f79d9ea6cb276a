use std::path::Path;

use super::layout::{Kind, Node, Picture, Rect, lay_out};
use super::*;

fn example() -> Board {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/graph/example/board.toml");
    Board::load(&file).unwrap_or_else(|errors| panic!("{errors}"))
}

fn picture() -> Picture {
    lay_out(&View::of(&example()))
}

impl Rect {
    fn right(&self) -> u32 {
        self.x + self.width
    }

    fn bottom(&self) -> u32 {
        self.y + self.height
    }
}

fn apart(one: &Rect, other: &Rect) -> bool {
    one.right() <= other.x || other.right() <= one.x || one.bottom() <= other.y || other.bottom() <= one.y
}

fn holds(outer: &Rect, inner: &Rect) -> bool {
    outer.x <= inner.x
        && outer.y <= inner.y
        && inner.right() <= outer.right()
        && inner.bottom() <= outer.bottom()
}

#[test]
fn the_text_says_all_of_the_board() {
    assert_eq!(text::draw(&View::of(&example())), include_str!("example/board.txt"));
}

#[test]
fn boxes_and_names_do_not_overlap() {
    let picture = picture();
    let all = Rect { x: 0, y: 0, width: picture.width, height: picture.height };
    let boxes: Vec<&Node> = picture.nodes.iter().filter(|node| node.kind != Kind::Device).collect();
    for (index, node) in boxes.iter().enumerate() {
        assert!(holds(&all, &node.rect), "{node:?}");
        for other in &boxes[index + 1..] {
            assert!(apart(&node.rect, &other.rect), "{node:?} {other:?}");
        }
        for wire in &picture.wires {
            assert!(apart(&node.rect, &wire.label), "{node:?} {wire:?}");
        }
    }
    for (index, wire) in picture.wires.iter().enumerate() {
        assert!(holds(&all, &wire.label), "{wire:?}");
        for other in &picture.wires[index + 1..] {
            assert!(apart(&wire.label, &other.label), "{wire:?} {other:?}");
        }
    }
}

#[test]
fn no_line_crosses_a_name() {
    let picture = picture();
    for (index, wire) in picture.wires.iter().enumerate() {
        for (_, other) in picture.wires.iter().enumerate().filter(|(other, _)| *other != index) {
            for ends in other.points.windows(2) {
                let ((x0, y0), (x1, y1)) = (ends[0], ends[1]);
                let line =
                    Rect { x: x0.min(x1), y: y0.min(y1), width: x0.abs_diff(x1), height: y0.abs_diff(y1) };
                assert!(apart(&wire.label, &line), "{} crosses the name of {wire:?}", other.name);
            }
        }
    }
}

#[test]
fn devices_lie_within_their_domains() {
    let picture = picture();
    let net = picture.nodes.iter().find(|node| node.lines[0] == "net").unwrap();
    let devices: Vec<&Node> = picture.nodes.iter().filter(|node| node.kind == Kind::Device).collect();
    assert_eq!(devices.len(), 2);
    for device in &devices {
        assert!(holds(&net.rect, &device.rect), "{device:?}");
    }
    assert!(apart(&devices[0].rect, &devices[1].rect));
}

#[test]
fn channels_end_at_their_domains() {
    let picture = picture();
    let node = |name: &str| &picture.nodes.iter().find(|node| node.lines[0].starts_with(name)).unwrap().rect;
    let at = |rect: &Rect, (x, y): (u32, u32)| {
        (rect.x..=rect.right()).contains(&x) && (rect.y == y || rect.bottom() == y)
    };
    let ends = |name: &'static str| picture.wires.iter().filter(move |wire| wire.name == name);
    let between: Vec<_> =
        ends("network").map(|wire| (*wire.points.first().unwrap(), *wire.points.last().unwrap())).collect();
    assert_eq!(between.len(), 2);
    // From the one that offers to the one that accepts, as the arrow points.
    assert!(between.iter().any(|&(from, to)| at(node("control"), from) && at(node("net"), to)));
    assert!(between.iter().any(|&(from, to)| at(node("watcher"), from) && at(node("net-guests"), to)));
    let down: Vec<_> = ends("dom0").chain(ends("device")).chain(ends("console")).collect();
    assert_eq!(down.len(), 4 + 1 + 1);
    assert!(down.iter().all(|wire| at(node("dom0,"), *wire.points.last().unwrap())));
}

#[test]
fn every_text_fits_its_box() {
    for node in picture().nodes {
        for line in &node.lines {
            assert!(layout::text_width(line) + 24 <= node.rect.width, "{line}: {node:?}");
        }
    }
}

/// Every element is closed, in order, and every attribute is quoted.
#[test]
fn the_picture_is_well_formed() {
    let svg = svg::draw(&View::of(&example()));
    let mut open: Vec<&str> = Vec::new();
    for tag in svg.split('<').skip(1) {
        let (tag, text) = tag.split_once('>').unwrap();
        assert!(!text.contains('>'), "{text}");
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        match tag.strip_prefix('/') {
            Some(closed) => assert_eq!(open.pop(), Some(closed)),
            None if tag.ends_with('/') => {}
            None => open.push(tag.split_whitespace().next().unwrap()),
        }
    }
    assert!(open.is_empty(), "{open:?}");
    assert_eq!(svg.matches("class=\"domain\"").count(), 4);
    assert_eq!(svg.matches("class=\"device\"").count(), 2);
    assert_eq!(svg.matches("marker-end").count(), 4 + 1 + 1 + 2);
    for name in ["net-guests", "watcher", "uplink: e1000e", "PCI 8086:10d3, skip 1", "left"] {
        assert!(svg.contains(name), "{name}");
    }
}

#[test]
fn equal_boards_give_equal_pictures() {
    let (one, other) = (example(), example());
    assert_eq!(svg::draw(&View::of(&one)), svg::draw(&View::of(&other)));
}

#[test]
fn every_board_of_the_repository_is_drawn_without_overlaps() {
    let boards = Path::new(env!("CARGO_MANIFEST_DIR")).join("../board-support/boards");
    for folder in std::fs::read_dir(boards).unwrap() {
        let file = folder.unwrap().path().join("board.toml");
        if !file.is_file() {
            continue;
        }
        let board = Board::load(&file).unwrap_or_else(|errors| panic!("{errors}"));
        let picture = lay_out(&View::of(&board));
        for (index, wire) in picture.wires.iter().enumerate() {
            assert!(
                picture.wires[index + 1..].iter().all(|other| apart(&wire.label, &other.label)),
                "{wire:?}"
            );
        }
        assert!(text::draw(&View::of(&board)).contains("-> net\n"));
    }
}
