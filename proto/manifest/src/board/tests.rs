use std::{fs, path::Path, string::ToString};

use super::*;
use crate::table::{Bus, MAX_BYTES, Party, VirtioMmio};

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
offers = [{ channel = "device", to = "dom0" }, { channel = "network", to = "net" }]
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

fn load(base: &str, board: &str) -> Result<Board, String> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("base.toml"), base).unwrap();
    fs::write(folder.path().join("board.toml"), board).unwrap();
    Board::load(&folder.path().join("board.toml")).map_err(|error| {
        let text = error.to_string();
        text.replace(&std::format!("{}/", folder.path().display()), "")
    })
}

#[test]
fn the_boards_of_the_repository_compile() {
    let boards = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../board-support/boards");
    let board = Board::load(&boards.join("qemu-x86_64/board.toml")).unwrap();
    assert_eq!(board.name(), "qemu-x86_64");
    assert_eq!(board.images(), ["net", "control"]);
    let table = board.compile(|_| Some([1; 32])).unwrap();
    let mut buffer = [0; MAX_BYTES];
    let bytes = table.encode(&mut buffer).unwrap();
    assert_eq!(Table::decode(bytes).unwrap(), table);
}

#[test]
fn files_are_merged_and_compiled() {
    let board = load(BASE, &std::format!("{BOARD}[domain.net]\nmemory_mib = 20\n")).unwrap();
    let table = board.compile(|image| Some([image.len() as u8; 32])).unwrap();
    let [net, control] = &table.domains[..] else { panic!("two domains") };
    assert_eq!((net.name.as_str(), net.memory_mib, net.sha256), ("net", 20, [3; 32]));
    assert_eq!((control.name.as_str(), control.memory_mib, control.provisioning), ("control", 24, true));
    let ends: std::vec::Vec<_> =
        table.channels.iter().map(|c| (c.name.as_str(), c.offers, c.accepts)).collect();
    assert_eq!(ends, [("device", 1, Party::Dom0), ("network", 1, Party::Domain(0))]);
    let uplink = table.devices_of(net).next().unwrap();
    let Bus::Pci(pci) = &uplink.bus else { panic!("{uplink:?}") };
    assert_eq!((pci.select.vendor, pci.select.device, pci.vectors), (0x8086, 0x10d3, 3));
    assert_eq!(board.machine().unwrap().dom0_memory_mib, 24);
}

const VIRTIO: &str = r#"inherits = ["base.toml"]
[machine]
arch = "aarch64"
memory_mib = 1024
[device.uplink]
kind = "virtio-net"
transport = 24
pool_kib = 1024
"#;

#[test]
fn a_virtio_transport_is_compiled() {
    let table = load(BASE, VIRTIO).unwrap().compile(|_| Some([1; 32])).unwrap();
    assert_eq!(table.devices[0].bus, Bus::VirtioMmio(VirtioMmio { transport: 24, pool_pages: 256 }));
}

#[test]
fn an_image_without_a_hash_is_named() {
    let board = load(BASE, BOARD).unwrap();
    let error = board.compile(|image| (image == "net").then_some([0; 32])).unwrap_err();
    assert_eq!(error.to_string(), "image `control` was not built");
}

#[test]
fn mistakes_are_told_with_file_and_line() {
    let cases = [
        (
            (BASE.into(), BOARD.replace("vectors = 3", "vectors = 3\nspeed = 7")),
            "board.toml:10: `speed = 7`: unknown field `speed`",
        ),
        (
            (BASE.replace("heap_kib = 4096\ndevices", "heap_kbi = 4096\ndevices"), BOARD.into()),
            "base.toml:11: `heap_kbi = 4096`: unknown field `heap_kbi`",
        ),
        (
            (BASE.replace("accepts = [{ channel = \"network\", from = \"control\" }]\n", ""), BOARD.into()),
            "base.toml:19: `offers = [{ channel = \"device\", to = \"dom0\" }, { channel = \"`: `control` offers channel `network` to `net`, which does not accept it",
        ),
        (
            (BASE.replace(", { channel = \"network\", to = \"net\" }", ""), BOARD.into()),
            "base.toml:13: `accepts = [{ channel = \"network\", from = \"control\" }]`: `net` accepts channel `network` from `control`, which does not offer it",
        ),
        (
            (BASE.into(), BOARD.replace("memory_mib = 1024", "memory_mib = 255")),
            "board.toml:4: `memory_mib = 255`: Xen, dom0, the domains and the applications need 256 MiB, the machine has 255",
        ),
        (
            (BASE.into(), std::format!("{BOARD}[domain.control]\ndevices = [\"uplink\"]")),
            "board.toml:11: `devices = [\"uplink\"]`: device `uplink` is used twice; the first is base.toml:12: `devices = [\"uplink\"]`",
        ),
        (
            (BASE.replace("devices = [\"uplink\"]\n", ""), BOARD.into()),
            "board.toml:5: `[device.uplink]`: no domain uses device `uplink`",
        ),
        ((BASE.into(), BOARD.replace("8086:10d3", "8086")), "board.toml:7: `id = \"8086\"`: `id` must be"),
        (
            (BASE.replace("memory_mib = 16\n", ""), BOARD.into()),
            "no file of the board sets `domain.net.memory_mib`",
        ),
        (
            (
                BASE.replace("from = \"control\" }]\n[domain.net]", "from = \"ctl\" }]\n[domain.net]"),
                BOARD.into(),
            ),
            "base.toml:6: `accepts = [{ channel = \"device\", from = \"ctl\" }]`: there is no domain `ctl`",
        ),
        (
            (BASE.into(), VIRTIO.replace("transport = 24", "transport = 32")),
            "board.toml:7: `transport = 32`: `transport` must be from 0 to 31",
        ),
        (
            (BASE.into(), VIRTIO.replace("pool_kib = 1024", "pool_kib = 1024\nbars = [0]")),
            "board.toml:9: `bars = [0]`: `bars` is a key of PCI devices",
        ),
        (
            (BASE.into(), BOARD.replace("vectors = 3", "vectors = 3\npool_kib = 4")),
            "board.toml:10: `pool_kib = 4`: `pool_kib` is a key of virtio devices",
        ),
        (
            (
                BASE.replace("[\"uplink\"]", "[\"uplink\", \"other\"]"),
                std::format!("{VIRTIO}[device.other]\nkind = \"virtio-net\"\ntransport = 30\npool_kib = 4\n"),
            ),
            "board.toml:7: `transport = 24`: `transport` lies in the page of another",
        ),
        ((BASE.into(), BOARD.replace("base.toml", "gone.toml")), "gone.toml: "),
        (
            (BASE.replace("vcpus = 1\nheap", "vcpus = 300\nheap"), BOARD.into()),
            "base.toml:17: `vcpus = 300`: invalid value",
        ),
    ];
    for ((base, board), expected) in cases {
        let error: String = load(&base, &board).map(|_| ()).unwrap_err();
        assert!(error.starts_with(expected), "\n got {error}\nwant {expected}");
    }
}
