//! What is tried against every other domain, and the answers that are right.

use board_support_hyp::{
    Access, Console, CopyError, Domctl, EventChannels, Foreign, GrantError, Grants, HvmParams, Physdev,
    Populate, Sysctl, Xen,
};
use proto_xen::{
    DomId, Errno, Gfn, Gref, Mfn, Pirq, Port, Sbdf, VcpuId,
    domctl::CreateDomain,
    grant_table::{ENTRIES_PER_FRAME, GrantStatus},
    hvm::param,
};

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Got {
    /// It worked, in so many instances: a hole.
    Done(u64),
    /// Xen refused the call.
    Refused(Errno),
    /// Xen refused this grant.
    Status(GrantStatus),
}

/// One row.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) attempt: fn(DomId) -> Got,
    pub(crate) right: &'static [Got],
}

const EPERM: Got = Got::Refused(Errno::EPERM);
const EINVAL: Got = Got::Refused(Errno::EINVAL);
const ESRCH: Got = Got::Refused(Errno::ESRCH);
const ENOSYS: Got = Got::Refused(Errno::ENOSYS);
const NOTHING: Got = Got::Done(0);
const BAD_GREF: Got = Got::Status(GrantStatus::BAD_GREF);
const GENERAL: Got = Got::Status(GrantStatus(-1));

/// Of an MSI for another domain.
#[cfg(target_arch = "x86_64")]
const MSI: &[Got] = &[EPERM];
/// Xen on Arm looks at the kind of interrupt ahead of who asks, and knows one kind only.
#[cfg(target_arch = "aarch64")]
const MSI: &[Got] = &[Got::Refused(Errno::EOPNOTSUPP)];

fn got<T>(result: Result<T, Errno>) -> Got {
    result.map_or_else(Got::Refused, |_| Got::Done(1))
}

/// Ports of another domain that are tried.
const PORTS: u32 = 64;

/// Against each other domain, dom0 too.
pub(crate) const AGAINST_EACH: &[Row] = &[
    Row { name: "pause", attempt: |victim| got(Xen.pause(victim)), right: &[EPERM] },
    Row { name: "unpause", attempt: |victim| got(Xen.unpause(victim)), right: &[EPERM] },
    Row { name: "destroy", attempt: |victim| got(Xen.destroy_domain(victim)), right: &[EPERM] },
    Row { name: "set_max_mem", attempt: |victim| got(Xen.set_max_mem(victim, 1)), right: &[EPERM] },
    Row { name: "set_max_vcpus", attempt: |victim| got(Xen.set_max_vcpus(victim, 1)), right: &[EPERM] },
    Row {
        name: "set_vcpu_affinity",
        attempt: |victim| got(Xen.set_vcpu_affinity(victim, VcpuId(0), 1)),
        right: &[EPERM],
    },
    Row {
        name: "set_paging_mempool_size",
        attempt: |victim| got(Xen.set_paging_mempool_size(victim, 0)),
        right: &[EPERM],
    },
    Row {
        name: "set_counter_native",
        attempt: |victim| got(Xen.set_counter_native(victim)),
        right: &[EPERM],
    },
    Row {
        name: "set_hvm_context",
        attempt: |victim| got(Xen.set_hvm_context(victim, &[0; 16])),
        right: &[EPERM],
    },
    Row {
        name: "give_away_iomem",
        attempt: |victim| got(Xen.iomem_permission(victim, Mfn(0xfed40), 1, true)),
        right: &[EPERM],
    },
    Row {
        name: "map_iomem_into",
        attempt: |victim| got(Xen.memory_mapping(victim, Gfn(0x10_0000), Mfn(0xfed40), 1, true)),
        right: &[EPERM],
    },
    Row {
        name: "assign_device",
        attempt: |victim| got(Xen.assign_device(victim, Sbdf::new(0, 2, 0))),
        right: &[EPERM],
    },
    Row {
        name: "deassign_device",
        attempt: |victim| got(Xen.deassign_device(victim, Sbdf::new(0, 2, 0))),
        right: &[EPERM],
    },
    Row { name: "bind_interrupt", attempt: |victim| got(Xen.bind_msi(victim, Pirq(16), 0x40)), right: MSI },
    Row {
        name: "unbind_interrupt",
        attempt: |victim| got(Xen.unbind_msi(victim, Pirq(16), 0x40)),
        right: MSI,
    },
    Row {
        name: "map_pirq",
        attempt: |victim| got(Xen.map_msix(victim, Sbdf::new(0, 2, 0), 0, 0)),
        right: &[EPERM, ENOSYS],
    },
    Row {
        name: "unmap_pirq",
        attempt: |victim| got(Xen.unmap_pirq(victim, Pirq(16))),
        right: &[EPERM, ENOSYS],
    },
    Row {
        name: "foreign_map",
        attempt: |victim| {
            let frames = [0, 1, 0x100, 0x200, 0x800, 0xfff, 0x1000, 0x17ff];
            worst(frames.into_iter().map(|frame| got(Foreign::map(&Xen, victim, Gfn(frame), 1))))
        },
        right: &[EPERM],
    },
    Row {
        name: "load_into",
        attempt: |victim| {
            let piece = board_support_hyp::Piece { at: Gfn(0x100).base(), bytes: &[0xcc; 16], length: 16 };
            got(Xen.load(victim, &[piece]))
        },
        right: &[EPERM],
    },
    Row {
        name: "populate",
        attempt: |victim| match Xen.populate(victim, &[Gfn(0x10_0000)], 0) {
            Ok(count) => Got::Done(count as u64),
            Err(errno) => Got::Refused(errno),
        },
        right: &[NOTHING, EPERM],
    },
    Row {
        name: "map_every_grant",
        attempt: |victim| {
            worst((0..ENTRIES_PER_FRAME).map(|gref| {
                match Grants::map(&Xen, victim, Gref(gref), Access::ReadOnly) {
                    Ok(_) => Got::Done(1),
                    Err(GrantError::Status(status)) => Got::Status(status),
                    Err(GrantError::Call(errno)) => Got::Refused(errno),
                    Err(_) => EINVAL,
                }
            }))
        },
        right: &[BAD_GREF, GENERAL, EPERM],
    },
    Row {
        name: "read_every_grant",
        attempt: |victim| {
            worst(
                (0..ENTRIES_PER_FRAME).map(|gref| copied(Xen.copy_from(victim, Gref(gref), 0, &mut [0; 16]))),
            )
        },
        right: &[BAD_GREF, GENERAL, EPERM],
    },
    Row {
        name: "write_every_grant",
        attempt: |victim| {
            worst((0..ENTRIES_PER_FRAME).map(|gref| copied(Xen.copy_to(victim, Gref(gref), 0, &[0xff; 16]))))
        },
        right: &[BAD_GREF, GENERAL, EPERM],
    },
    Row {
        name: "bind_every_port",
        attempt: |victim| worst((0..PORTS).map(|port| got(Xen.bind_interdomain(victim, Port(port))))),
        right: &[EINVAL, EPERM],
    },
    Row {
        name: "allocate_port_of",
        attempt: |victim| got(Xen.alloc_unbound(victim, DomId::SELF)),
        right: &[EPERM],
    },
    Row {
        name: "read_parameter",
        attempt: |victim| got(Xen.param(victim, param::CONSOLE_PFN)),
        right: &[EPERM],
    },
    Row {
        name: "write_parameter",
        attempt: |victim| got(Xen.set_param(victim, param::CONSOLE_PFN, 0)),
        right: &[EPERM],
    },
];

/// For ourselves, whose number is given, or against the machine as a whole.
pub(crate) const FOR_OURSELVES: &[Row] = &[
    Row {
        name: "create_domain",
        attempt: |_| got(Xen.create_domain(&CreateDomain::default())),
        right: &[EPERM],
    },
    Row { name: "list_domains", attempt: |_| got(Xen.next_domain(DomId(0))), right: &[EPERM] },
    Row { name: "physinfo", attempt: |_| got(Xen.physinfo()), right: &[EPERM] },
    Row { name: "read_the_serial_line", attempt: |_| got(Xen.read(&mut [0; 16])), right: &[EPERM] },
    Row { name: "more_memory_by_domctl", attempt: |us| got(Xen.set_max_mem(us, 1 << 30)), right: &[EPERM] },
    // Of ourselves Xen speaks by our number alone.
    Row {
        name: "more_memory_by_domctl_on_self",
        attempt: |_| got(Xen.set_max_mem(DomId::SELF, 1 << 30)),
        right: &[ESRCH],
    },
    Row {
        name: "iomem_by_domctl",
        attempt: |us| got(Xen.memory_mapping(us, Gfn(0x10_0000), Mfn(0xfee00), 1, true)),
        right: &[EPERM],
    },
    Row {
        name: "right_to_iomem_by_domctl",
        attempt: |us| got(Xen.iomem_permission(us, Mfn(0), 1 << 20, true)),
        right: &[EPERM],
    },
    Row {
        name: "device_by_domctl",
        attempt: |us| got(Xen.assign_device(us, Sbdf::new(0, 2, 0))),
        right: &[EPERM],
    },
    Row {
        name: "close_ports_that_are_not_there",
        attempt: |_| worst((64..4096).map(|port| got(Xen.close(Port(port))))),
        right: &[EINVAL],
    },
    Row {
        name: "send_on_ports_that_are_not_there",
        attempt: |_| worst((64..4096).map(|port| got(Xen.send(Port(port))))),
        right: &[EINVAL],
    },
];

fn copied(result: Result<(), CopyError>) -> Got {
    match result {
        Ok(()) => Got::Done(1),
        Err(CopyError::Status(status)) => Got::Status(status),
        Err(CopyError::Call(errno)) => Got::Refused(errno),
        Err(CopyError::OutOfPage) => EINVAL,
    }
}

/// What worked, if anything did; else the last answer.
fn worst(answers: impl Iterator<Item = Got>) -> Got {
    let mut done = 0;
    let mut last = NOTHING;
    for answer in answers {
        match answer {
            Got::Done(count) => done += count,
            refused => last = refused,
        }
    }
    if done > 0 { Got::Done(done) } else { last }
}
