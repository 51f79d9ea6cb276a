//! Functions: finding them, looking at them, holding them.

use std::{cell::RefCell, vec::Vec};

use board_support_hyp::Domctl;
use proto_manifest::table::PciSelect;
use proto_xen::{
    DomId, Errno, Maddr, Sbdf,
    domctl::{CreateDomain, create_flags, emulation},
};

use super::{hold, nic, pci};
use crate::{
    fake::{
        Call, Fault, Ground,
        pci::{END_OF_MEMORY, TABLE_BAR},
    },
    pci::{Bar, ConfigSpace, DeviceStep, Function, Msix, PciError, Places, find},
};

const AT: Sbdf = Sbdf::new(0, 3, 0);

#[test]
fn a_function_is_looked_at_and_left_as_it_was() {
    let ground = Ground::new();
    let before = ground.config();
    let function = Function::probe(&ground.world, AT);
    assert_eq!(function.bars[0], Some(Bar { address: 0xfeb8_0000, size: 0x2_0000 }));
    assert_eq!(function.bars[2], None, "ports");
    assert_eq!(function.bars[3], Some(Bar { address: TABLE_BAR, size: 0x4000 }));
    assert_eq!(function.bars[4], None, "nothing");
    assert_eq!(
        function.msix,
        Some(Msix {
            control: 0xa2,
            entries: 5,
            table_bar: 3,
            table_offset: 0,
            pending_bar: 3,
            pending_offset: 0x2000,
        })
    );
    assert_eq!(function.express, Some(0xe0));
    assert_eq!(ground.config(), before);
}

#[test]
fn the_pages_of_the_msix_table_and_its_pending_bits_are_left_out() {
    let ground = Ground::new();
    let mut function = Function::probe(&ground.world, AT);
    let parts = |function: &Function, bar| {
        function.open_parts(bar).map(|part| (part.start, part.end)).collect::<Vec<_>>()
    };
    assert_eq!(parts(&function, 0), [(0, 0x2_0000)]);
    assert_eq!(parts(&function, 3), [(0x1000, 0x2000), (0x3000, 0x4000)]);
    let mut with = |table_offset, pending_bar, pending_offset| {
        let msix = function.msix.unwrap();
        function.msix = Some(Msix { table_offset, pending_bar, pending_offset, ..msix });
        parts(&function, 3)
    };
    assert_eq!(with(0x1ff0, 3, 0), [(0x3000, 0x4000)], "a table across two pages, the bits ahead of it");
    assert_eq!(with(0x1000, 3, 0x1800), [(0, 0x1000), (0x2000, 0x4000)], "both in a page");
    assert_eq!(with(0x1ff0, 3, 0x2ff8), [(0, 0x1000), (0x3000, 0x4000)], "a page of the one in the other's");
    assert_eq!(with(0x1000, 2, 0x3000), [(0, 0x1000), (0x2000, 0x4000)], "the bits in another BAR");
    assert_eq!(with(0x3000, 3, 0x2000), [(0, 0x2000)], "as QEMU's NVMe has it, the other way round");
    assert_eq!(with(0x2000, 3, 0xffff_fff8), [(0, 0x2000), (0x3000, 0x4000)], "bits that are nowhere");
    function.bars[3] = Some(Bar { address: TABLE_BAR, size: 0x800 });
    function.msix = Some(Msix { table_offset: 0, ..function.msix.unwrap() });
    assert_eq!(parts(&function, 3), [], "a BAR smaller than a page");
}

#[test]
fn a_list_of_capabilities_that_runs_in_a_circle_ends() {
    let ground = Ground::new();
    ground.set_config(0xe1, 0xc8);
    let function = Function::probe(&ground.world, AT);
    assert_eq!((function.msix, function.express), (None, Some(0xe0)));
    let error = hold(&ground, nic()).map(drop).unwrap_err();
    assert_eq!(error, PciError::TooFewVectors { function: AT, want: 2, have: 0 });
}

#[test]
fn what_the_table_wants_must_be_there() {
    let ground = Ground::new();
    let take = |change: fn(&mut proto_manifest::table::Pci)| {
        let mut device = nic();
        change(pci(&mut device));
        hold(&ground, device).map(drop)
    };
    assert_eq!(take(|pci| pci.vectors = 5), Ok(()));
    let few = PciError::TooFewVectors { function: AT, want: 6, have: 5 };
    assert_eq!(take(|pci| pci.vectors = 6), Err(few));
    assert_eq!(take(|pci| pci.bars[0] = 2), Err(PciError::NoSuchBar { function: AT, bar: 2 }));
    let missing = PciError::NotFound { vendor: 0x8086, device: 0x10d3 };
    assert_eq!(take(|pci| pci.select.skip = 1), Err(missing));
    assert_eq!(take(|pci| pci.select.class = Some(0x01_0802)), Err(missing));
    assert_eq!(find(&ground.world, &pci(&mut nic()).select), Some(AT));
}

#[test]
fn a_device_in_quarantine_is_released_for_the_hold() {
    let ground = Ground::new();
    ground.quarantine();
    ground.restart(None);
    let held = hold(&ground, nic()).unwrap();
    assert_eq!(held.function().at, AT);
    let calls: Vec<_> = ground.calls().into_iter().filter(|call| !call.starts_with("command")).collect();
    assert_eq!(
        calls,
        [
            "map_msix d32752 00:03.0 entry 4 table 0xfebe0000",
            "release 00:03.0",
            "map_msix d32752 00:03.0 entry 4 table 0xfebe0000",
        ]
    );
}

#[test]
fn a_hold_that_xen_refuses_is_told() {
    let ground = Ground::new();
    ground.restart(Some(Fault::nth(0).of(Call::MapPirq)));
    let error = hold(&ground, nic()).map(drop).unwrap_err();
    assert_eq!(error, PciError::Xen { function: AT, step: DeviceStep::Hold, errno: Errno::EIO });
}

/// A reset has cost the function nothing that it had when it was taken.
fn is_as_before(ground: &Ground, before: &[u8]) {
    assert_eq!(ground.config()[0x10..0x28], before[0x10..0x28], "BARs");
    assert_eq!(ground.config()[0xe8..0xea], before[0xe8..0xea], "device control");
}

/// A domain that may have devices. The rest of it does not matter here.
fn domain_with_devices(ground: &Ground) -> DomId {
    let description = CreateDomain {
        flags: create_flags::HVM | create_flags::HAP | create_flags::IOMMU,
        max_vcpus: 1,
        max_evtchn_port: 1,
        max_grant_frames: 1,
        max_maptrack_frames: 1,
        grant_opts: 1,
        arch: [emulation::LAPIC, 0, 0, 0],
        ..CreateDomain::default()
    };
    ground.dom0.create_domain(&description).unwrap()
}

#[test]
fn a_function_that_can_be_reset_alone_is_and_finds_its_addresses_again() {
    let ground = Ground::new();
    ground.give_flr();
    let held = hold(&ground, nic()).unwrap();
    let before = ground.config();
    ground.restart(None);
    let id = domain_with_devices(&ground);
    let passthrough = held.assign(id, &mut Places::default()).unwrap();
    assert!(ground.calls().iter().any(|call| call == "flr"));
    assert!(!ground.calls().iter().any(|call| call == "reset"), "one reset is enough");
    is_as_before(&ground, &before);
    drop(passthrough);
    ground.dom0.destroy_domain(id).unwrap();
    assert_eq!(ground.config()[4..6], before[4..6], "command");
    ground.assert_clean("ended");
}

#[test]
fn a_reset_that_takes_too_long_costs_this_owner_and_not_the_next() {
    let ground = Ground::new();
    ground.give_flr();
    let held = hold(&ground, nic()).unwrap();
    let before = ground.config();
    ground.slow_flr(300_000);
    ground.restart(None);
    let id = domain_with_devices(&ground);
    let late = PciError::Reset { function: AT };
    assert_eq!(held.assign(id, &mut Places::default()).map(drop), Err(late));
    assert_ne!(ground.config()[0x10..0x28], before[0x10..0x28], "it has forgotten where it is");
    ground.slow_flr(3);
    let passthrough = held.assign(id, &mut Places::default()).unwrap();
    is_as_before(&ground, &before);
    drop(passthrough);
    ground.dom0.destroy_domain(id).unwrap();
    assert_eq!(ground.config()[4..6], before[4..6], "command");
    ground.assert_clean("ended");
}

#[test]
fn devices_of_one_domain_share_neither_addresses_nor_vectors() {
    let ground = Ground::new();
    let held = hold(&ground, nic()).unwrap();
    let id = domain_with_devices(&ground);
    let mut places = Places::default();
    // There is one card, so it is given and taken back; the domain's places are what counts.
    let told: Vec<_> = (0..3).map(|_| held.assign(id, &mut places).unwrap().grant().clone()).collect();
    ground.dom0.destroy_domain(id).unwrap();
    let vectors: Vec<_> = told.iter().flat_map(|grant| grant.vectors.iter().copied()).collect();
    assert_eq!(vectors, [0x50, 0x51, 0x52, 0x53, 0x54, 0x55]);
    let windows: Vec<_> = told.iter().flat_map(|grant| grant.mmio.iter().map(|w| (w.gaddr, w.len))).collect();
    assert_eq!(windows, [(0xe000_0000, 0x2_0000), (0xe002_0000, 0x2_0000), (0xe004_0000, 0x2_0000)]);
    // All that a domain can have, and no more.
    while let Some(vector) = places.take_vector() {
        assert!(vector < 0x90);
    }
    let none = PciError::TooFewVectors { function: AT, want: 2, have: 8 };
    let id = domain_with_devices(&ground);
    assert_eq!(held.assign(id, &mut places).map(drop), Err(none));
    ground.dom0.destroy_domain(id).unwrap();
}

/// A card that says of itself what a test wants: configuration space, and what its BARs answer to all ones.
struct Liar {
    words: RefCell<[u32; 64]>,
    masks: [u32; 6],
}

impl Liar {
    /// One whose BARs 0 and 1 hold and answer this.
    fn with(bars: [u32; 2], masks: [u32; 2]) -> Self {
        let mut words = [0; 64];
        (words[4], words[5]) = (bars[0], bars[1]);
        Self { words: RefCell::new(words), masks: [masks[0], masks[1], 0, 0, 0, 0] }
    }

    fn bar(self) -> Option<Bar> {
        Function::probe(&self, AT).bars[0]
    }
}

impl ConfigSpace for Liar {
    fn read32(&self, _: Sbdf, offset: u16) -> u32 {
        self.words.borrow()[usize::from(offset / 4)]
    }

    fn write16(&self, _: Sbdf, _: u16, _: u16) {}

    fn write32(&self, _: Sbdf, offset: u16, value: u32) {
        let at = usize::from(offset / 4);
        let answer = if value == u32::MAX { self.masks[at - 4] } else { value };
        self.words.borrow_mut()[at] = answer;
    }

    fn can_be_registers(&self, at: Maddr, _: u64) -> bool {
        at.0 >= END_OF_MEMORY
    }

    fn read_register(&self, _: Maddr) -> u32 {
        u32::MAX
    }

    fn write_register(&self, _: Maddr, _: u32) {}
}

#[test]
fn a_bar_that_cannot_be_is_none() {
    let wide = |address: u64, mask: u64| {
        let halves = |value: u64| [value as u32, (value >> 32) as u32];
        Liar::with(halves(address | 4), halves(mask)).bar()
    };
    let narrow = |address: u32, mask: u32| Liar::with([address, 0], [mask, 0]).bar();
    let at = |address, size| Some(Bar { address, size });
    assert_eq!(narrow(0xfe00_0000, 0xfff0_0000), at(0xfe00_0000, 0x10_0000));
    assert_eq!(narrow(0xfe00_0000, 0xffff_fff0), at(0xfe00_0000, 16), "the smallest");
    assert_eq!(wide(0x10_0000_0000, !0u64 << 32), at(0x10_0000_0000, 1 << 32));
    // All ones but a few: rounded up to pages that is zero.
    assert_eq!(wide(0xfe00_0000, 0x10), None);
    assert_eq!(wide(0xfe00_0000, 0), None);
    assert_eq!(narrow(0xfe00_0000, 0), None, "no bit of it is an address");
    assert_eq!(narrow(0xfe00_0000, 0xfff5_0000), None, "no power of two");
    assert_eq!(narrow(0xfe01_0000, 0xfff0_0000), None, "not on a multiple of its size");
    assert_eq!(narrow(0xbff0_0000, 0xfff0_0000), None, "there is memory");
    assert_eq!(wide(1 << 52, !0xf_ffff), None, "there is no such address");
    assert_eq!(wide(0x8000_0000_0000_0000, 1 << 63), None, "it ends past the last one");
}

#[test]
fn registers_that_no_domain_can_have_are_refused() {
    let ground = Ground::new();
    let mut function = Function::probe(&ground.world, AT);
    let bad = Err(PciError::BadBar { function: AT, bar: 0 });
    let mut windows = |size| {
        function.bars[0] = Some(Bar { address: 0x10_0000_0000, size });
        function.windows(&[0], &mut Places::default()).map(|windows| windows[0].gaddr.0)
    };
    assert_eq!(windows(4096), Ok(0xe000_0000));
    assert_eq!(windows(2048), bad, "others' registers may be in the same page");
    assert_eq!(windows(256 << 20), Ok(0xe000_0000));
    assert_eq!(windows(512 << 20), bad, "the domain's interrupt controller is there");
    assert_eq!(windows(1 << 51), bad);
    // They lie as aligned as in the machine, one behind the other.
    function.bars = [Some(Bar { address: 0x10_0000_0000, size: 4096 }); 6];
    function.bars[1] = Some(Bar { address: 0x20_0000_0000, size: 1 << 20 });
    let windows = |bars: &[u8]| {
        let windows = function.windows(bars, &mut Places::default());
        windows.map(|all| all.iter().map(|window| window.gaddr.0).collect::<Vec<_>>())
    };
    assert_eq!(windows(&[0, 1, 2]), Ok([0xe000_0000, 0xe010_0000, 0xe020_0000].to_vec()));
    assert_eq!(windows(&[0, 1, 2, 4, 5]), Err(PciError::TooManyWindows { function: AT }));
    assert_eq!(windows(&[6]), Err(PciError::NoSuchBar { function: AT, bar: 6 }));
}

#[test]
fn a_table_outside_of_its_bar_opens_nothing_outside() {
    let ground = Ground::new();
    let spoil = |offset: u32| {
        for (at, byte) in (0xa4..).zip((offset | 3).to_le_bytes()) {
            ground.set_config(at, byte);
        }
        let function = Function::probe(&ground.world, AT);
        let parts: Vec<_> = function.open_parts(3).map(|part| (part.start, part.end)).collect();
        (parts, hold(&ground, nic()).map(drop))
    };
    let bad = Err(PciError::BadBar { function: AT, bar: 3 });
    // The pending bits are at 0x2000.
    assert_eq!(spoil(0x3fb0), ([(0, 0x2000)].to_vec(), Ok(())), "the last that fits");
    assert_eq!(spoil(0x3fb8), ([(0, 0x2000)].to_vec(), bad));
    let all = [(0, 0x2000), (0x3000, 0x4000)].to_vec();
    assert_eq!(spoil(0x10_0000), (all.clone(), bad), "what is behind the BAR is not its");
    assert_eq!(spoil(0xffff_fff8), (all, bad));
}

#[test]
fn a_capability_that_does_not_fit_is_none() {
    let ground = Ground::new();
    ground.set_config(0xc9, 0xf8);
    ground.set_config(0xf8, 0x11);
    assert_eq!(Function::probe(&ground.world, AT).msix, None);
}

/// A bridge on every bus, to the next one, and the last one to itself.
struct Chain;

impl ConfigSpace for Chain {
    fn read32(&self, function: Sbdf, offset: u16) -> u32 {
        match (function.0 as u8, offset) {
            (0, 0x00) => 0x1234_8086,
            (0, 0x0c) => 1 << 16,
            (0, 0x18) => u32::from(function.bus().saturating_add(1)) << 8,
            (0, _) => 0,
            _ => u32::MAX,
        }
    }

    fn write16(&self, _: Sbdf, _: u16, _: u16) {}

    fn write32(&self, _: Sbdf, _: u16, _: u32) {}

    fn can_be_registers(&self, _: Maddr, _: u64) -> bool {
        false
    }

    fn read_register(&self, _: Maddr) -> u32 {
        u32::MAX
    }

    fn write_register(&self, _: Maddr, _: u32) {}
}

#[test]
fn bridges_lead_to_every_bus_once() {
    let nth = |skip| find(&Chain, &PciSelect { vendor: 0x8086, device: 0x1234, class: None, skip });
    assert_eq!(nth(0), Some(Sbdf::new(0, 0, 0)));
    assert_eq!(nth(255), Some(Sbdf::new(255, 0, 0)));
    assert_eq!(find(&Chain, &PciSelect { vendor: 0x8086, device: 1, class: None, skip: 0 }), None);
}
