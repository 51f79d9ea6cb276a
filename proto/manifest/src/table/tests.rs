use super::*;

fn name(text: &str) -> Name {
    Name::try_from(text).unwrap()
}

fn domain(text: &str, devices: &[u8]) -> Domain {
    Domain {
        name: name(text),
        image: name(text),
        sha256: [7; 32],
        memory_mib: 16,
        vcpus: 1,
        cpus: 0,
        heap_kib: 4096,
        provisioning: false,
        vital: false,
        devices: devices.iter().copied().collect(),
    }
}

fn nic(text: &str) -> Device {
    Device {
        name: name(text),
        kind: DeviceKind::E1000e,
        bus: Bus::Pci(Pci {
            select: PciSelect { vendor: 0x8086, device: 0x10d3, class: Some(0x02_0000), skip: 0 },
            bars: [0].into_iter().collect(),
            vectors: 3,
        }),
    }
}

fn virtio(text: &str, transport: u8) -> Device {
    let bus = Bus::VirtioMmio(VirtioMmio { transport, pool_pages: 256 });
    Device { name: name(text), kind: DeviceKind::VirtioNet, bus }
}

fn tpm(text: &str, address: u64) -> Device {
    let bus = Bus::Registers(Registers { address, optional: true });
    Device { name: name(text), kind: DeviceKind::TpmCrb, bus }
}

fn pci(device: &mut Device) -> &mut Pci {
    match &mut device.bus {
        Bus::Pci(pci) => pci,
        Bus::VirtioMmio(_) | Bus::Registers(_) => panic!("not on PCI"),
    }
}

fn table() -> Table {
    let network = Channel { name: name("network"), offers: 1, accepts: Party::Domain(0) };
    let device = Channel { name: name("device"), offers: 1, accepts: Party::Dom0 };
    Table {
        board: "qemu-x86_64".try_into().unwrap(),
        domains: [domain("net", &[0]), domain("control", &[])].into_iter().collect(),
        channels: [network, device].into_iter().collect(),
        devices: [nic("uplink")].into_iter().collect(),
        applications: Applications { memory_mib: 64, count: 2, vcpus: 1, cpus: 0, image_kib: 4096 },
    }
}

fn second_device() -> Channel {
    Channel { name: name("device"), offers: 0, accepts: Party::Dom0 }
}

fn eight_channels() -> Vec<Channel, MAX_CHANNELS> {
    let named = |letter: char| Name::try_from(std::format!("c{letter}").as_str()).unwrap();
    "abcdefgh".chars().map(|c| Channel { name: named(c), offers: 1, accepts: Party::Domain(0) }).collect()
}

fn verdict(table: &Table) -> Result<(), Contradiction> {
    let mut buffer = [0; MAX_BYTES];
    // The encoder refuses what the decoder would; here the decoder is asked.
    let bytes = STAMP.encode(table, &mut buffer).unwrap();
    match Table::decode(bytes) {
        Ok(back) => {
            assert_eq!(&back, table);
            Ok(())
        }
        Err(RecordError::Inconsistent(why)) => Err(why),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn a_table_comes_back_equal() {
    assert_eq!(verdict(&table()), Ok(()));
}

#[test]
fn devices_in_different_pages_of_registers_are_two() {
    let mut table = table();
    table.devices = [virtio("uplink", 23), virtio("other", 24)].into_iter().collect();
    assert_eq!(verdict(&table), Ok(()));
    table.devices = [tpm("uplink", 0xfed4_0000), tpm("other", 0xfed4_1000)].into_iter().collect();
    assert_eq!(verdict(&table), Ok(()));
    table.devices = [virtio("uplink", 0), tpm("other", 0x0a00_1000)].into_iter().collect();
    assert_eq!(verdict(&table), Ok(()));
}

#[test]
fn an_unknown_version_is_named() {
    let mut buffer = [0; MAX_BYTES];
    let bytes = table().encode(&mut buffer).unwrap();
    bytes[4..8].copy_from_slice(&77u32.to_le_bytes());
    let error = Table::decode(bytes).unwrap_err();
    assert_eq!(
        std::string::ToString::to_string(&error),
        "version 77 is unknown, this program reads version 4"
    );
}

#[test]
fn bytes_left_over_are_refused() {
    let mut buffer = [0; MAX_BYTES];
    let length = table().encode(&mut buffer).unwrap().len();
    assert_eq!(Table::decode(&buffer[..length + 1]), Err(RecordError::Malformed));
}

#[test]
fn contradictions_are_found() {
    use Contradiction::*;
    type Case = (&'static str, fn(&mut Table), Contradiction);
    let cases: [Case; 28] = [
        ("bad name", |t| t.domains[0].name = name("Net"), Name),
        ("domain called dom0", |t| t.domains[0].name = name("dom0"), Name),
        ("image called xen", |t| t.domains[0].image = name("xen"), Name),
        ("board that steers the console", |t| t.board = "\x1b[2J".try_into().unwrap(), Name),
        ("two channels of one name to dom0", |t| t.channels.push(second_device()).unwrap(), Duplicate),
        ("more channels than a wiring record holds", |t| t.channels = eight_channels(), Range),
        ("same name", |t| t.domains[1].name = name("net"), Duplicate),
        ("channel of nobody", |t| t.channels[0].offers = 2, Dangling),
        ("channel to nobody", |t| t.channels[0].accepts = Party::Domain(9), Dangling),
        ("channel to itself", |t| t.channels[0].accepts = Party::Domain(1), Dangling),
        ("channel called dom0", |t| t.channels[0].name = name("dom0"), Duplicate),
        ("device twice", |t| t.domains[1].devices.push(0).unwrap(), DeviceTwice),
        ("device of nobody", |t| t.domains[1].devices.push(1).unwrap(), Dangling),
        ("heap larger than memory", |t| t.domains[0].heap_kib = 16 * 1024, Range),
        ("BAR 6", |t| pci(&mut t.devices[0]).bars.push(6).unwrap(), Range),
        ("a driver on another bus", |t| t.devices[0].kind = DeviceKind::VirtioNet, Range),
        ("a TPM on PCI", |t| t.devices[0].kind = DeviceKind::TpmTis, Range),
        ("a page of nothing", |t| t.devices[0] = tpm("tpm", 0), Range),
        ("a page that is none", |t| t.devices[0] = tpm("tpm", 0xfed4_0800), Range),
        ("a page where no machine has any", |t| t.devices[0] = tpm("tpm", Registers::MAX_ADDRESS), Range),
        (
            "a page twice",
            |t| {
                t.devices[0] = tpm("tpm", 0xfed4_0000);
                t.devices.push(tpm("other", 0xfed4_0000)).unwrap();
            },
            DeviceTwice,
        ),
        (
            "a page of a transport",
            |t| {
                t.devices[0] = virtio("uplink", 31);
                t.devices.push(tpm("other", 0x0a00_3000)).unwrap();
            },
            DeviceTwice,
        ),
        ("a disk on another bus", |t| t.devices[0].kind = DeviceKind::VirtioBlk, Range),
        (
            "another disk on another bus",
            |t| t.devices[0] = Device { kind: DeviceKind::Nvme, ..virtio("disk", 24) },
            Range,
        ),
        ("no such transport", |t| t.devices[0] = virtio("uplink", 32), Range),
        (
            "a pool of nothing",
            |t| t.devices[0].bus = Bus::VirtioMmio(VirtioMmio { transport: 1, pool_pages: 0 }),
            Range,
        ),
        (
            "an endless pool",
            |t| t.devices[0].bus = Bus::VirtioMmio(VirtioMmio { transport: 1, pool_pages: 1025 }),
            Range,
        ),
        (
            "two devices in one page of registers",
            |t| {
                t.devices[0] = virtio("uplink", 24);
                t.devices.push(virtio("other", 31)).unwrap();
            },
            DeviceTwice,
        ),
    ];
    for (what, spoil, why) in cases {
        let mut spoilt = table();
        spoil(&mut spoilt);
        assert_eq!(verdict(&spoilt), Err(why), "{what}");
        assert_eq!(spoilt.encode(&mut [0; MAX_BYTES]), Err(RecordError::Inconsistent(why)), "{what}");
    }
}

#[test]
fn the_largest_table_fits() {
    let mut large = table();
    large.domains.clear();
    large.channels.clear();
    large.devices.clear();
    for letter in "abcdefgh".chars() {
        let mut text = name("domain-number-x");
        text.push(letter).unwrap();
        let mut entry = domain("sixteen-letters-", &[]);
        entry.name = text.clone();
        entry.memory_mib = Domain::MAX_MEMORY_MIB;
        entry.cpus = u64::MAX;
        large.domains.push(entry).unwrap();
        let mut entry = nic("sixteen-letters-");
        entry.name = text;
        pci(&mut entry).bars = [0, 1, 2, 3].into_iter().collect();
        large.devices.push(entry).unwrap();
    }
    for (index, letter) in (0u8..).zip("abcdefghijklmnop".chars()) {
        let mut text = name("channel-number-");
        text.push(letter).unwrap();
        let (offers, accepts) = (index % 8, Party::Domain((index + 1) % 8));
        large.channels.push(Channel { name: text, offers, accepts }).unwrap();
    }
    assert_eq!(verdict(&large), Ok(()));
}

proptest::proptest! {
    #[test]
    fn spoilt_tables_are_refused_or_sound(changes in proptest::collection::vec((8usize..400, proptest::prelude::any::<u8>()), 1..6)) {
        let mut buffer = [0; MAX_BYTES];
        let bytes = table().encode(&mut buffer).unwrap();
        for (at, byte) in changes {
            let length = bytes.len();
            bytes[at % length] = byte;
        }
        if let Ok(spoilt) = Table::decode(bytes) {
            assert_eq!(verdict(&spoilt), Ok(()));
            spoilt.domains.iter().for_each(|domain| assert_eq!(spoilt.devices_of(domain).count(), domain.devices.len()));
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes: std::vec::Vec<u8>) {
        let mut stamped = std::vec::Vec::from(*b"SaTa\x02\0\0\0");
        stamped.extend_from_slice(&bytes);
        let _ = Table::decode(&stamped);
        let _ = Table::decode(&bytes);
    }
}
