//! One broken board for each rule, with the very words that a person reads.

use std::{collections::BTreeSet, fs, string::ToString};

use super::*;

/// In which of the two files, what is replaced by what. An empty text stands for the end of the file.
enum Edit {
    Base(&'static str, &'static str),
    Board(&'static str, &'static str),
}

use Edit::{Base, Board as Own};

/// A rule, how the board breaks it, and what is said, with file, line and key.
type Case = (&'static str, &'static [Edit], &'static str);

const CASES: &[Case] = &[
    (
        "a file that is not there",
        &[Own(r#""base.toml""#, r#""gone.toml""#)],
        "gone.toml:1: cannot be read: No such file or directory (os error 2) [E-TABLE-001]",
    ),
    (
        "a file that is not TOML",
        &[Own(r#"arch = "x86_64""#, r#"arch = = "x86_64""#)],
        r#"board.toml:3: `arch = = "x86_64"`: extra `=`, expected nothing [E-TABLE-002]"#,
    ),
    (
        "two lines that are not TOML",
        &[Own(r#"arch = "x86_64""#, "arch = "), Own("bars = [0]", "bars = [0")],
        concat!(
            "board.toml:3: `arch =`: string values must be quoted, expected literal string [E-TABLE-002]\n",
            "board.toml:9: `vectors = 3`: missing comma between array elements, expected `,` [E-TABLE-002]"
        ),
    ),
    (
        "a domain twice in one file",
        &[Base("[applications]", "[domain.net]\nvcpus = 1\n[applications]")],
        "base.toml:24: `[domain.net]`: `net` is there twice [E-TABLE-002]",
    ),
    (
        "a key twice",
        &[Own("vectors = 3", "vectors = 3\nvectors = 3")],
        "board.toml:10: `vectors = 3`: `vectors` is there twice [E-TABLE-002]",
    ),
    (
        "an unknown key",
        &[Own("vectors = 3", "vectors = 3\nspeed = 7")],
        "board.toml:10: device.uplink.speed: there is no such key; there are `kind`, `id`, `class`, `skip`, `bars`, `vectors`, `transport`, `pool_kib`, `address`, `optional` [E-TABLE-003]",
    ),
    (
        "an unknown key of a domain",
        &[Base("heap_kib = 4096\ndevices", "heap_kbi = 4096\ndevices")],
        "base.toml:11: domain.net.heap_kbi: there is no such key; there are `image`, `memory_mib`, `vcpus`, `cpus`, `heap_kib`, `provisioning`, `vital`, `order`, `offers`, `accepts`, `devices` [E-TABLE-003]",
    ),
    (
        "an unknown table",
        &[Own("[machine]", "[machin]")],
        "board.toml:2: machin: there is no such key; there are `inherits`, `machine`, `xen`, `dom0`, `domain`, `device`, `applications` [E-TABLE-003]",
    ),
    (
        "an unknown key within a list",
        &[Base(r#"{ channel = "device", to = "dom0" }"#, r#"{ channel = "device", for = "dom0" }"#)],
        "base.toml:21: domain.control.offers[0].for: there is no such key; there are `channel`, `to` [E-TABLE-003]",
    ),
    (
        "a text instead of a number",
        &[Base("memory_mib = 16", r#"memory_mib = "16""#)],
        "base.toml:9: domain.net.memory_mib: is a text and must be a whole number [E-TABLE-004]",
    ),
    (
        "a value instead of a table",
        &[Own("[machine]\n", "applications = 4\n[machine]\n")],
        "board.toml:2: applications: is a whole number and must be a table [E-TABLE-004]",
    ),
    (
        "a list of the wrong things",
        &[Own("bars = [0]", "bars = [\n  0,\n  \"one\",\n]")],
        "board.toml:10: device.uplink.bars[1]: is a text and must be a whole number [E-TABLE-004]",
    ),
    (
        "a number that the key cannot hold",
        &[Base("vcpus = 1\nheap_kib = 4096\ndevices", "vcpus = 300\nheap_kib = 4096\ndevices")],
        "base.toml:10: domain.net.vcpus: is 300 and must be from 0 to 255 [E-TABLE-009]",
    ),
    (
        "a CPU that no mask has",
        &[Base("vcpus = 1\nheap_kib = 4096\ndevices", "vcpus = 1\ncpus = [1, 64]\nheap_kib = 4096\ndevices")],
        "base.toml:11: domain.net.cpus[1]: is 64 and must be a CPU from 0 to 63 [E-TABLE-009]",
    ),
    (
        "a CPU twice",
        &[Base("count = 2", "count = 2\ncpus = [1, 0, 1]")],
        "base.toml:27: applications.cpus[2]: names CPU 1 once more [E-TABLE-009]",
    ),
    (
        "a missing key",
        &[Base("memory_mib = 16\n", "")],
        "base.toml:7: domain.net.memory_mib: is set by no file of the board [E-TABLE-005]",
    ),
    (
        "a missing table",
        &[Base("[xen]\nmemory_mib = 128\n", "")],
        "board.toml:1: xen.memory_mib: is set by no file of the board [E-TABLE-005]",
    ),
    (
        "a missing side of a channel",
        &[Base(r#"{ channel = "device", to = "dom0" }"#, r#"{ channel = "device" }"#)],
        concat!(
            "base.toml:6: dom0.accepts[0].channel: `dom0` accepts channel `device` from `control`, which does not offer it [E-TABLE-016]\n",
            "base.toml:21: domain.control.offers[0].to: is set by no file of the board [E-TABLE-005]"
        ),
    ),
    (
        "inheritance over two steps",
        &[Base("\n[xen]", "inherits = [\"other.toml\"]\n[xen]")],
        "base.toml:1: inherits: only a board inherits; list these files in the board's own `inherits` [E-TABLE-006]",
    ),
    (
        "a name that is too long",
        &[Base("[domain.net]", "[domain.seventeen-letters]")],
        concat!(
            "base.toml:7: domain.seventeen-letters: the name `seventeen-letters` has 17 bytes, and 16 are the most [E-TABLE-007]\n",
            "base.toml:22: domain.control.offers[1].to: there is no domain `net` [E-TABLE-010]"
        ),
    ),
    (
        "a name with letters that names do not have",
        &[Base("[domain.net]", "[domain.Net]")],
        concat!(
            "base.toml:7: domain.Net: `Net` is no name: a lower-case letter, then lower-case letters, digits and `-` [E-TABLE-007]\n",
            "base.toml:22: domain.control.offers[1].to: there is no domain `net` [E-TABLE-010]"
        ),
    ),
    (
        "a domain called dom0",
        &[Base("[domain.net]", "[domain.dom0]")],
        concat!(
            "base.toml:7: domain.dom0: the name `dom0` is reserved for the system itself [E-TABLE-008]\n",
            "base.toml:13: domain.dom0.accepts[0].channel: dom0 does not serve the protocol `network`, but `device`, `measure` [E-TABLE-011]\n",
            "base.toml:22: domain.control.offers[1].to: there is no domain `net` [E-TABLE-010]"
        ),
    ),
    (
        "an image with a reserved name",
        &[Base("[domain.net]", "[domain.net]\nimage = \"xen\"")],
        "base.toml:8: domain.net.image: the name `xen` is reserved for the system itself [E-TABLE-008]",
    ),
    (
        "a channel called dom0",
        &[Base(r#"{ channel = "device", to = "dom0" }"#, r#"{ channel = "dom0", to = "dom0" }"#)],
        "base.toml:21: domain.control.offers[0].channel: the name `dom0` is reserved for the system itself [E-TABLE-008]",
    ),
    (
        "an architecture that is none",
        &[Own(r#""x86_64""#, r#""riscv64""#)],
        "board.toml:3: machine.arch: is `riscv64` and must be `x86_64` or `aarch64` [E-TABLE-009]",
    ),
    (
        "a domain without memory",
        &[Base("memory_mib = 16", "memory_mib = 1")],
        "base.toml:9: domain.net.memory_mib: is 1 and must be from 2 to 2048 [E-TABLE-009]",
    ),
    (
        "a service with two vCPUs",
        &[Base("vcpus = 1\nheap_kib = 4096\ndevices", "vcpus = 2\nheap_kib = 4096\ndevices")],
        "base.toml:10: domain.net.vcpus: is 2 and must be 1: services have one vCPU [E-TABLE-009]",
    ),
    (
        "a heap that is larger than the domain",
        &[Base("heap_kib = 4096\ndevices", "heap_kib = 16384\ndevices")],
        "base.toml:11: domain.net.heap_kib: is 16384 and must be less than the domain's memory of 16 MiB [E-TABLE-009]",
    ),
    (
        "images that dom0 cannot hold",
        &[Base("image_kib = 4096", "image_kib = 24576")],
        "base.toml:28: applications.image_kib: is 24576 and must be less than dom0's memory of 24 MiB, in which an image is received [E-TABLE-009]",
    ),
    (
        "a PCI id without a device",
        &[Own(r#""8086:10d3""#, r#""8086""#)],
        "board.toml:7: device.uplink.id: is `8086` and must be VENDOR:DEVICE, four hexadecimal digits each [E-TABLE-009]",
    ),
    (
        "a class that is none",
        &[Own("vectors = 3", "vectors = 3\nclass = \"+20000\"")],
        "board.toml:10: device.uplink.class: is `+20000` and must be six hexadecimal digits [E-TABLE-009]",
    ),
    (
        "a BAR that PCI does not have",
        &[Own("bars = [0]", "bars = [0, 6]")],
        "board.toml:8: device.uplink.bars: must list at most 4 of the BARs 0 to 5, each once [E-TABLE-009]",
    ),
    (
        "a BAR twice",
        &[Own("bars = [0]", "bars = [1, 1]")],
        "board.toml:8: device.uplink.bars: must list at most 4 of the BARs 0 to 5, each once [E-TABLE-009]",
    ),
    (
        "no vectors",
        &[Own("vectors = 3", "vectors = 0")],
        "board.toml:9: device.uplink.vectors: is 0 and must be from 1 to 8 [E-TABLE-009]",
    ),
    (
        "a key of another bus",
        &[Own("vectors = 3", "vectors = 3\npool_kib = 64")],
        "board.toml:10: device.uplink.pool_kib: is a key of virtio devices, and this one is on PCI [E-TABLE-009]",
    ),
    (
        "a transport with keys of PCI",
        &[Own(r#"kind = "e1000e""#, "kind = \"virtio-net\"\ntransport = 32\npool_kib = 2")],
        concat!(
            "board.toml:7: device.uplink.transport: is 32 and must be from 0 to 31 [E-TABLE-009]\n",
            "board.toml:8: device.uplink.pool_kib: is 2 and must be from 4 to 4096 [E-TABLE-009]\n",
            "board.toml:9: device.uplink.id: is a key of PCI devices, and this one is a virtio transport [E-TABLE-009]\n",
            "board.toml:10: device.uplink.bars: is a key of PCI devices, and this one is a virtio transport [E-TABLE-009]\n",
            "board.toml:11: device.uplink.vectors: is a key of PCI devices, and this one is a virtio transport [E-TABLE-009]"
        ),
    ),
    (
        "a page of registers that is none, with keys of others",
        &[Own(r#"kind = "e1000e""#, "kind = \"tpm-crb\"\naddress = 0xfed40800\npool_kib = 4")],
        concat!(
            "board.toml:7: device.uplink.address: is 0xfed40800 and must be a multiple of 0x1000, above 0 [E-TABLE-009]\n",
            "board.toml:8: device.uplink.pool_kib: is a key of virtio devices, and this one is a page of registers [E-TABLE-009]\n",
            "board.toml:9: device.uplink.id: is a key of PCI devices, and this one is a page of registers [E-TABLE-009]\n",
            "board.toml:10: device.uplink.bars: is a key of PCI devices, and this one is a page of registers [E-TABLE-009]\n",
            "board.toml:11: device.uplink.vectors: is a key of PCI devices, and this one is a page of registers [E-TABLE-009]"
        ),
    ),
    (
        "a PCI device with keys of a page of registers",
        &[Own("vectors = 3", "vectors = 3\naddress = 0xfed40000\noptional = true")],
        concat!(
            "board.toml:10: device.uplink.address: is a key of pages of registers, and this one is on PCI [E-TABLE-009]\n",
            "board.toml:11: device.uplink.optional: is a key of pages of registers, and this one is on PCI [E-TABLE-009]"
        ),
    ),
    (
        "a page of registers without an address",
        &[Own("kind = \"e1000e\"\nid = \"8086:10d3\"\nbars = [0]\nvectors = 3", "kind = \"tpm-tis\"")],
        "board.toml:5: device.uplink.address: is set by no file of the board [E-TABLE-005]",
    ),
    (
        "a channel to a domain that is not there",
        &[Base(r#"to = "net""#, r#"to = "nat""#)],
        "base.toml:22: domain.control.offers[1].to: there is no domain `nat` [E-TABLE-010]",
    ),
    (
        "a channel from a domain that is not there",
        &[Base(r#"channel = "network", from = "control""#, r#"channel = "network", from = "ctl""#)],
        "base.toml:13: domain.net.accepts[0].from: there is no domain `ctl` [E-TABLE-010]",
    ),
    (
        "a protocol that is not there",
        &[Base(r#"{ channel = "network", to"#, r#"{ channel = "netwerk", to"#)],
        "base.toml:22: domain.control.offers[1].channel: there is no protocol `netwerk`; there are `device`, `network`, `storage`, `vault`, `sealing`, `measure` [E-TABLE-011]",
    ),
    (
        "a protocol that dom0 does not serve",
        &[
            Base(r#"{ channel = "device", to"#, r#"{ channel = "network", to"#),
            Base(r#"{ channel = "network", to = "net" }"#, r#"{ channel = "device", to = "net" }"#),
        ],
        concat!(
            "base.toml:21: domain.control.offers[0].channel: dom0 does not serve the protocol `network`, but `device`, `measure` [E-TABLE-011]\n",
            "base.toml:22: domain.control.offers[1].channel: `control` offers channel `device` to `net`, which does not accept it [E-TABLE-016]"
        ),
    ),
    (
        "a driver that is not there",
        &[Own(r#""e1000e""#, r#""rtl8139""#)],
        "board.toml:6: device.uplink.kind: there is no driver `rtl8139`; there are `e1000e`, `virtio-net`, `nvme`, `virtio-blk`, `tpm-crb`, `tpm-tis` [E-TABLE-012]",
    ),
    (
        "a device that is not there",
        &[Base(r#"["uplink"]"#, r#"["uplink", "downlink"]"#)],
        "base.toml:12: domain.net.devices[1]: there is no device `downlink` [E-TABLE-013]",
    ),
    (
        "a channel to oneself",
        &[Base(r#"channel = "network", from = "control""#, r#"channel = "network", from = "net""#)],
        "base.toml:13: domain.net.accepts[0].from: channel `network` leads back to its own domain [E-TABLE-015]",
    ),
    (
        "a channel that is offered only",
        &[Base("accepts = [{ channel = \"network\", from = \"control\" }]\n", "")],
        "base.toml:21: domain.control.offers[1].channel: `control` offers channel `network` to `net`, which does not accept it [E-TABLE-016]",
    ),
    (
        "a channel that is accepted only",
        &[Base("  { channel = \"network\", to = \"net\" },\n", "")],
        "base.toml:13: domain.net.accepts[0].channel: `net` accepts channel `network` from `control`, which does not offer it [E-TABLE-016]",
    ),
    (
        "a channel twice",
        &[Base(
            r#"accepts = [{ channel = "network", from = "control" }]"#,
            r#"accepts = [{ channel = "network", from = "control" }, { channel = "network", from = "control" }]"#,
        )],
        "base.toml:13: domain.net.accepts[1].channel: its domain already has a channel `network`, by base.toml:13: domain.net.accepts[0].channel [E-TABLE-017]",
    ),
    (
        "a device of two domains",
        &[Own("", "[domain.control]\ndevices = [\"uplink\"]\n")],
        "board.toml:11: domain.control.devices[0]: device `uplink` is given out already, by base.toml:12: domain.net.devices[0] [E-TABLE-018]",
    ),
    (
        "a device twice in one domain",
        &[Base(r#"["uplink"]"#, r#"["uplink", "uplink"]"#)],
        "base.toml:12: domain.net.devices[1]: device `uplink` is given out already, by base.toml:12: domain.net.devices[0] [E-TABLE-018]",
    ),
    (
        "one PCI function under two names",
        &[Own(
            "",
            "[device.second]\nkind = \"e1000e\"\nid = \"8086:10d3\"\nbars = [0]\nvectors = 3\n[domain.control]\ndevices = [\"second\"]\n",
        )],
        "board.toml:5: device.uplink: is the same part of the machine as device `second`, by board.toml:10: device.second [E-TABLE-018]",
    ),
    (
        "one page of registers under two names",
        &[Own(
            "",
            "[device.chip]\nkind = \"tpm-tis\"\naddress = 0x0a003000\n[device.virtual]\nkind = \"virtio-net\"\ntransport = 24\npool_kib = 4\n[domain.control]\ndevices = [\"chip\", \"virtual\"]\n",
        )],
        "board.toml:13: device.virtual: is the same part of the machine as device `chip`, by board.toml:10: device.chip [E-TABLE-018]",
    ),
    (
        "a device of nobody",
        &[Base("devices = [\"uplink\"]\n", "")],
        "board.toml:5: device.uplink: no domain uses device `uplink` [E-TABLE-019]",
    ),
    (
        "more memory than the machine has",
        &[Own("memory_mib = 1024", "memory_mib = 255")],
        "board.toml:4: machine.memory_mib: the machine has 255 MiB, and 256 are given out: Xen 128, dom0 24, control 24, net 16, applications 64 [E-TABLE-020]",
    ),
    (
        "too many devices of one domain",
        &[
            Base(r#"["uplink"]"#, r#"["uplink", "a", "b", "c", "d"]"#),
            Own(
                "",
                "[device.a]\nkind = \"e1000e\"\nid = \"8086:20d0\"\nbars = [0]\nvectors = 3\n[device.b]\nkind = \"e1000e\"\nid = \"8086:20d1\"\nbars = [0]\nvectors = 3\n[device.c]\nkind = \"e1000e\"\nid = \"8086:20d2\"\nbars = [0]\nvectors = 3\n[device.d]\nkind = \"e1000e\"\nid = \"8086:20d3\"\nbars = [0]\nvectors = 3\n",
            ),
        ],
        "base.toml:12: domain.net.devices[4]: there are more than 4 devices of one domain [E-TABLE-021]",
    ),
    (
        "too many domains",
        &[Own(
            "",
            "[domain.d0]\norder = 9\nmemory_mib = 2\nvcpus = 1\nheap_kib = 64\n[domain.d1]\norder = 9\nmemory_mib = 2\nvcpus = 1\nheap_kib = 64\n[domain.d2]\norder = 9\nmemory_mib = 2\nvcpus = 1\nheap_kib = 64\n[domain.d3]\norder = 9\nmemory_mib = 2\nvcpus = 1\nheap_kib = 64\n[domain.d4]\norder = 9\nmemory_mib = 2\nvcpus = 1\nheap_kib = 64\n[domain.d5]\norder = 9\nmemory_mib = 2\nvcpus = 1\nheap_kib = 64\n[domain.d6]\norder = 9\nmemory_mib = 2\nvcpus = 1\nheap_kib = 64\n",
        )],
        "board.toml:40: domain.d6: there are more than 8 domains [E-TABLE-021]",
    ),
    (
        "too many devices",
        &[
            Base(r#"["uplink"]"#, r#"["a", "b", "c", "d"]"#),
            Base("provisioning = true", "devices = [\"e\", \"f\", \"g\", \"h\"]\nprovisioning = true"),
            Base(
                "[applications]",
                "[domain.third]\nmemory_mib = 2\nvcpus = 1\nheap_kib = 64\ndevices = [\"uplink\"]\n[applications]",
            ),
            Own(
                "",
                "[device.a]\nkind = \"e1000e\"\nid = \"8086:20d0\"\nbars = [0]\nvectors = 3\n[device.b]\nkind = \"e1000e\"\nid = \"8086:20d1\"\nbars = [0]\nvectors = 3\n[device.c]\nkind = \"e1000e\"\nid = \"8086:20d2\"\nbars = [0]\nvectors = 3\n[device.d]\nkind = \"e1000e\"\nid = \"8086:20d3\"\nbars = [0]\nvectors = 3\n[device.e]\nkind = \"e1000e\"\nid = \"8086:20d4\"\nbars = [0]\nvectors = 3\n[device.f]\nkind = \"e1000e\"\nid = \"8086:20d5\"\nbars = [0]\nvectors = 3\n[device.g]\nkind = \"e1000e\"\nid = \"8086:20d6\"\nbars = [0]\nvectors = 3\n[device.h]\nkind = \"e1000e\"\nid = \"8086:20d7\"\nbars = [0]\nvectors = 3\n",
            ),
        ],
        "board.toml:5: device.uplink: there are more than 8 devices [E-TABLE-021]",
    ),
    (
        "several mistakes at once",
        &[
            Own("vectors = 3", "vectors = 9"),
            Base("memory_mib = 16\n", ""),
            Base(r#"to = "net""#, r#"to = "nat""#),
            Own(r#""x86_64""#, r#""riscv64""#),
        ],
        concat!(
            "board.toml:3: machine.arch: is `riscv64` and must be `x86_64` or `aarch64` [E-TABLE-009]\n",
            "board.toml:9: device.uplink.vectors: is 9 and must be from 1 to 8 [E-TABLE-009]\n",
            "base.toml:7: domain.net.memory_mib: is set by no file of the board [E-TABLE-005]\n",
            "base.toml:21: domain.control.offers[1].to: there is no domain `nat` [E-TABLE-010]"
        ),
    ),
    (
        "several unknown keys at once",
        &[Own("vectors = 3", "vectors = 3\nspeed = 7"), Base("memory_mib = 128", "memory = 128")],
        concat!(
            "board.toml:10: device.uplink.speed: there is no such key; there are `kind`, `id`, `class`, `skip`, `bars`, `vectors`, `transport`, `pool_kib`, `address`, `optional` [E-TABLE-003]\n",
            "base.toml:3: xen.memory: there is no such key; there are `options`, `memory_mib` [E-TABLE-003]"
        ),
    ),
];

fn edited(text: &str, from: &str, to: &str) -> String {
    if from.is_empty() {
        return std::format!("{text}{to}");
    }
    assert_eq!(text.matches(from).count(), 1, "{from}");
    text.replace(from, to)
}

fn outcome(edits: &[Edit]) -> String {
    let (mut base, mut board) = (BASE.to_string(), BOARD.to_string());
    for edit in edits {
        match edit {
            Base(from, to) => base = edited(&base, from, to),
            Own(from, to) => board = edited(&board, from, to),
        }
    }
    load(&base, &board).map_or_else(|errors| errors, |_| "no mistake".to_string())
}

#[test]
fn mistakes_are_told_with_file_line_and_key() {
    for (rule, edits, expected) in CASES {
        let told = outcome(edits);
        assert_eq!(&told, expected, "{rule}:\n{told}\n");
    }
}

#[test]
fn there_is_a_case_for_every_code() {
    let told: BTreeSet<_> = CASES
        .iter()
        .flat_map(|(_, _, text)| text.lines())
        .filter_map(|line| line.rsplit_once(" [")?.1.strip_suffix(']'))
        .collect();
    for entry in proto_errors::table::AREA.entries {
        // An image that is not there is found by who builds images.
        let elsewhere = entry.code == proto_errors::table::NO_SUCH_IMAGE;
        assert_ne!(told.contains(entry.code.as_str()), elsewhere, "{}", entry.code);
    }
}

#[test]
fn paths_are_told_without_detours() {
    let folder = tempfile::tempdir().unwrap();
    let common = folder.path().join("common");
    let board = folder.path().join("box");
    fs::create_dir_all(&common).unwrap();
    fs::create_dir_all(&board).unwrap();
    fs::write(common.join("base.toml"), "speed = 1").unwrap();
    fs::write(board.join("board.toml"), "inherits = [\"../common/base.toml\"]").unwrap();
    let text = Board::load(&board.join("board.toml")).unwrap_err().to_string();
    let expected = std::format!(
        "{}:1: speed: there is no such key; there are `inherits`, `machine`,",
        common.join("base.toml").display()
    );
    assert!(text.starts_with(&expected), "{text}");
}

proptest::proptest! {
    /// Whatever stands in the files, there is an answer, and an answer without words is none.
    #[test]
    fn spoilt_files_never_panic(
        from in 0usize..600, length in 0usize..40, put in "[a-z0-9 \\[\\]{}=\".,\n]{0,12}"
    ) {
        let mut text = BASE.to_string();
        let from = from.min(text.len());
        text.replace_range(from..(from + length).min(text.len()), &put);
        if let Err(told) = load(&text, BOARD) {
            assert!(told.lines().all(|line| line.contains(".toml:") && line.ends_with(']')), "{told}");
        }
    }
}
