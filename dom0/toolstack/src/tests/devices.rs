//! Functions: finding them, looking at them, holding them.

use std::vec::Vec;

use board_support_hyp::Domctl;
use proto_xen::{
    Errno, Sbdf,
    domctl::{CreateDomain, create_flags, emulation},
};

use super::{hold, nic, pci};
use crate::{
    fake::{Call, Fault, Ground, pci::TABLE_BAR},
    pci::{Bar, DeviceStep, Function, Msix, PciError, find},
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
    assert_eq!(function.msix, Some(Msix { control: 0xa2, entries: 5, table_bar: 3, table_offset: 0 }));
    assert_eq!(function.express, Some(0xe0));
    assert_eq!(ground.config(), before);
}

#[test]
fn the_page_of_the_msix_table_is_left_out() {
    let ground = Ground::new();
    let mut function = Function::probe(&ground.world, AT);
    let parts = |function: &Function, bar| {
        function.open_parts(bar).map(|part| (part.start, part.end)).collect::<Vec<_>>()
    };
    assert_eq!(parts(&function, 0), [(0, 0x2_0000)]);
    assert_eq!(parts(&function, 3), [(0x1000, 0x4000)]);
    function.msix = Some(Msix { table_offset: 0x1ff0, ..function.msix.unwrap() });
    assert_eq!(parts(&function, 3), [(0, 0x1000), (0x3000, 0x4000)], "a table across two pages");
    function.msix = Some(Msix { table_offset: 0x3000, ..function.msix.unwrap() });
    assert_eq!(parts(&function, 3), [(0, 0x3000)]);
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

#[test]
fn a_function_that_can_be_reset_alone_is_and_finds_its_addresses_again() {
    let ground = Ground::new();
    ground.give_flr();
    let held = hold(&ground, nic()).unwrap();
    let before = ground.config();
    ground.restart(None);
    // The rest of the domain does not matter here.
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
    let id = ground.dom0.create_domain(&description).unwrap();
    let passthrough = held.assign(id).unwrap();
    assert_eq!(ground.calls()[1], "flr");
    assert!(!ground.calls().iter().any(|call| call == "reset"), "one reset is enough");
    assert_eq!(ground.config()[0x10..0x28], before[0x10..0x28], "BARs");
    drop(passthrough);
    ground.dom0.destroy_domain(id).unwrap();
    assert_eq!(ground.config()[4..6], before[4..6], "command");
    ground.assert_clean("ended");
}
