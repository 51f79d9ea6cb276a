use std::{format, fs, path::Path, string::ToString};

use super::*;
use crate::table::{Bus, DeviceKind, MAX_BYTES, Party, Registers};

mod mistakes;

const BASE: &str = r#"
[xen]
memory_mib = 128
[dom0]
memory_mib = 24
accepts = [{ channel = "device", from = "control" }]
[domain.net]
order = 1
memory_mib = 16
vcpus = 1
heap_kib = 4096
devices = ["uplink"]
accepts = [{ channel = "network", from = "control" }]
[domain.control]
order = 2
memory_mib = 24
vcpus = 1
heap_kib = 4096
provisioning = true
offers = [
  { channel = "device", to = "dom0" },
  { channel = "network", to = "net" },
]
[applications]
memory_mib = 64
count = 2
vcpus = 1
image_kib = 4096
"#;

const BOARD: &str = r#"inherits = ["base.toml"]
[machine]
arch = "x86_64"
memory_mib = 1024
[device.uplink]
kind = "e1000e"
id = "8086:10d3"
bars = [0]
vectors = 3
"#;

/// Loads a board of these two files; the errors name them without their folder.
fn load(base: &str, board: &str) -> Result<Board, String> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("base.toml"), base).unwrap();
    fs::write(folder.path().join("board.toml"), board).unwrap();
    let here = std::format!("{}/", folder.path().display());
    Board::load(&folder.path().join("board.toml")).map_err(|errors| errors.to_string().replace(&here, ""))
}

#[test]
fn the_boards_of_the_repository_compile() {
    let boards = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../board-support/boards");
    let mut seen = 0;
    for folder in fs::read_dir(boards).unwrap() {
        let file = folder.unwrap().path().join("board.toml");
        if !file.is_file() {
            continue;
        }
        let board = Board::load(&file).unwrap_or_else(|errors| panic!("{errors}"));
        // Others may stand beside them: who adds a service adds it here.
        let images = board.images();
        assert!(
            ["net", "control"].iter().all(|name| images.iter().any(|image| image == name)),
            "{}: {images:?}",
            board.name()
        );
        let table = board.compile(|_| Some([1; 32])).unwrap();
        let mut buffer = [0; MAX_BYTES];
        let bytes = table.encode(&mut buffer).unwrap();
        assert_eq!(Table::decode(bytes).unwrap(), table);
        seen += 1;
    }
    assert!(seen > 0);
}

#[test]
fn files_are_merged_and_compiled() {
    let board = load(BASE, &std::format!("{BOARD}[domain.net]\nmemory_mib = 20\nvital = true\n")).unwrap();
    let table = board.compile(|image| Some([image.len() as u8; 32])).unwrap();
    let [net, control] = &table.domains[..] else { panic!("two domains") };
    assert_eq!((net.name.as_str(), net.memory_mib, net.sha256), ("net", 20, [3; 32]));
    assert_eq!((control.name.as_str(), control.memory_mib, control.provisioning), ("control", 24, true));
    assert!(net.vital && !control.vital, "only who says so");
    let ends: std::vec::Vec<_> =
        table.channels.iter().map(|c| (c.name.as_str(), c.offers, c.accepts)).collect();
    assert_eq!(ends, [("device", 1, Party::Dom0), ("network", 1, Party::Domain(0))]);
    let uplink = table.devices_of(net).next().unwrap();
    let Bus::Pci(pci) = &uplink.bus else { panic!("{uplink:?}") };
    assert_eq!((pci.select.vendor, pci.select.device, pci.vectors), (0x8086, 0x10d3, 3));
    assert_eq!((board.machine().xen_memory_mib, board.machine().dom0_memory_mib), (128, 24));
    let names: Vec<_> = board.files().iter().filter_map(|file| file.file_name()?.to_str()).collect();
    assert_eq!(names, ["board.toml", "base.toml"]);
}

#[test]
fn a_virtio_transport_is_compiled() {
    for (text, kind) in [("virtio-net", DeviceKind::VirtioNet), ("virtio-blk", DeviceKind::VirtioBlk)] {
        let board = BOARD.replace(
            "kind = \"e1000e\"\nid = \"8086:10d3\"\nbars = [0]\nvectors = 3",
            &format!("kind = \"{text}\"\ntransport = 24\npool_kib = 1024"),
        );
        let board = load(BASE, &board).unwrap();
        let device = &board.table().devices[0];
        let Bus::VirtioMmio(mmio) = &device.bus else { panic!("{:?}", board.table()) };
        assert_eq!((device.kind, mmio.transport, mmio.pool_pages), (kind, 24, 256));
    }
}

#[test]
fn a_disk_on_pci_is_compiled() {
    let board = BOARD.replace("kind = \"e1000e\"", "kind = \"nvme\"");
    let board = load(BASE, &board).unwrap();
    assert_eq!(board.table().devices[0].kind, DeviceKind::Nvme);
}

#[test]
fn a_page_of_registers_is_compiled() {
    let chip = |rest: &str| {
        let text = std::format!("kind = \"tpm-tis\"\naddress = 0x0c000000\n{rest}");
        let board = BOARD.replace("kind = \"e1000e\"\nid = \"8086:10d3\"\nbars = [0]\nvectors = 3", &text);
        load(BASE, &board).unwrap().table().devices[0].clone()
    };
    let must = Bus::Registers(Registers { address: 0x0c00_0000, optional: false });
    assert_eq!((chip("").kind, chip("").bus), (DeviceKind::TpmTis, must));
    let may = Bus::Registers(Registers { address: 0x0c00_0000, optional: true });
    assert_eq!(chip("optional = true").bus, may);
}

#[test]
fn an_image_without_a_hash_is_named_where_it_is_wanted() {
    let board = load(BASE, BOARD).unwrap();
    let text = board.compile(|image| (image == "net").then_some([0; 32])).unwrap_err().to_string();
    let text = text.split_once("base.toml:").unwrap().1;
    let told = |name| {
        format!("there is no image `{name}`, which would be a package in stubdoms/{name} [E-TABLE-014]")
    };
    assert_eq!(text, format!("14: domain.control: {}", told("control")));

    let base = BASE.replace("[domain.control]", "[domain.control]\nimage = \"other\"");
    let text = load(&base, BOARD).unwrap().check_images(|image| image == "net").unwrap_err().to_string();
    let text = text.split_once("base.toml:").unwrap().1;
    assert_eq!(text, format!("15: domain.control.image: {}", told("other")));
}
