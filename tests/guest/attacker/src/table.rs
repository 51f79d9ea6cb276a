//! What is tried against every other domain, and for each the one answer of Xen that is right, by its source. None of
//! them tells dom0 from a service or an application, nor depends on what the victim does meanwhile.

use core::ops::Range;

use alloc::{format, string::String};
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
    /// Our own side refused, and Xen was not asked: right in no row.
    Unasked,
}

/// What is tried.
enum Attempt {
    /// One call.
    Once(fn(DomId) -> Got),
    /// A call for each of these numbers, with one answer to all of them.
    Each(Range<u32>, fn(DomId, u32) -> Got),
}
use Attempt::{Each, Once};

/// One row.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    attempt: Attempt,
    right: Got,
}

impl Row {
    /// Tries all of it on `victim`, and tells which answer was wrong, if one was; of several the first.
    pub(crate) fn wrong(&self, victim: DomId) -> Option<String> {
        let right = self.right;
        match &self.attempt {
            Once(attempt) => {
                let got = attempt(victim);
                (got != right).then(|| format!("{victim}: {got:?} instead of {right:?}"))
            }
            Each(numbers, attempt) => {
                let answers = numbers.clone().map(|number| (number, attempt(victim, number)));
                let mut wrong = answers.filter(|(_, got)| *got != right);
                let (first, got) = wrong.next()?;
                let more = wrong.count();
                Some(format!("{victim}: {got:?} instead of {right:?} at {first}, and {more} more"))
            }
        }
    }
}

const EPERM: Got = Got::Refused(Errno::EPERM);
const EINVAL: Got = Got::Refused(Errno::EINVAL);
const ESRCH: Got = Got::Refused(Errno::ESRCH);
/// Of memory for another domain: Xen tells how many pages it gave before it refused, and no error.
const NOTHING: Got = Got::Done(0);
/// Of an entry of another's grant table, whether it grants nothing or grants to somebody else.
const NOT_FOR_US: Got = Got::Status(GrantStatus::GENERAL_ERROR);
/// Of one behind the end of that table.
const NO_ENTRY: Got = Got::Status(GrantStatus::BAD_GREF);

/// Of an MSI for another domain.
#[cfg(target_arch = "x86_64")]
const MSI: Got = EPERM;
/// Xen on Arm looks at the kind of interrupt ahead of who asks, and knows one kind only.
#[cfg(target_arch = "aarch64")]
const MSI: Got = Got::Refused(Errno::EOPNOTSUPP);

/// Of a physical interrupt of another domain.
#[cfg(target_arch = "x86_64")]
const PIRQ: Got = EPERM;
/// Xen on Arm as it is built has no such calls, whoever asks.
#[cfg(target_arch = "aarch64")]
const PIRQ: Got = Got::Refused(Errno::ENOSYS);

fn got<T>(result: Result<T, Errno>) -> Got {
    result.map_or_else(Got::Refused, |_| Got::Done(1))
}

/// Frames of another domain that are tried.
const FRAMES: [u64; 8] = [0, 1, 0x100, 0x200, 0x800, 0xfff, 0x1000, 0x17ff];
/// Entries of a grant table. dom0 lets a domain have four frames, and the runtime takes them before anything else.
const GRANTS: Range<u32> = 0..4 * ENTRIES_PER_FRAME;
/// Those that no domain has: dom0's own table has eight frames.
const NO_GRANTS: Range<u32> = 8 * ENTRIES_PER_FRAME..8 * ENTRIES_PER_FRAME + 64;
/// Ports of another domain. Xen says the same of those that are bound, that wait for somebody else or are not there.
const PORTS: Range<u32> = 0..64;
/// Ports that we do not have.
const NO_PORTS: Range<u32> = 64..4096;

/// Against each other domain, dom0 too.
pub(crate) const AGAINST_EACH: &[Row] = &[
    Row { name: "pause", attempt: Once(|victim| got(Xen.pause(victim))), right: EPERM },
    Row { name: "unpause", attempt: Once(|victim| got(Xen.unpause(victim))), right: EPERM },
    Row { name: "destroy", attempt: Once(|victim| got(Xen.destroy_domain(victim))), right: EPERM },
    Row { name: "set_max_mem", attempt: Once(|victim| got(Xen.set_max_mem(victim, 1))), right: EPERM },
    Row { name: "set_max_vcpus", attempt: Once(|victim| got(Xen.set_max_vcpus(victim, 1))), right: EPERM },
    Row {
        name: "set_vcpu_affinity",
        attempt: Once(|victim| got(Xen.set_vcpu_affinity(victim, VcpuId(0), 1))),
        right: EPERM,
    },
    Row {
        name: "set_paging_mempool_size",
        attempt: Once(|victim| got(Xen.set_paging_mempool_size(victim, 0))),
        right: EPERM,
    },
    Row {
        name: "set_counter_native",
        attempt: Once(|victim| got(Xen.set_counter_native(victim))),
        right: EPERM,
    },
    Row {
        name: "set_hvm_context",
        attempt: Once(|victim| got(Xen.set_hvm_context(victim, &[0; 16]))),
        right: EPERM,
    },
    Row {
        name: "give_away_iomem",
        attempt: Once(|victim| got(Xen.iomem_permission(victim, Mfn(0xfed40), 1, true))),
        right: EPERM,
    },
    Row {
        name: "map_iomem_into",
        attempt: Once(|victim| got(Xen.memory_mapping(victim, Gfn(0x10_0000), Mfn(0xfed40), 1, true))),
        right: EPERM,
    },
    Row {
        name: "assign_device",
        attempt: Once(|victim| got(Xen.assign_device(victim, Sbdf::new(0, 2, 0)))),
        right: EPERM,
    },
    Row {
        name: "deassign_device",
        attempt: Once(|victim| got(Xen.deassign_device(victim, Sbdf::new(0, 2, 0)))),
        right: EPERM,
    },
    Row {
        name: "bind_interrupt",
        attempt: Once(|victim| got(Xen.bind_msi(victim, Pirq(16), 0x40))),
        right: MSI,
    },
    Row {
        name: "unbind_interrupt",
        attempt: Once(|victim| got(Xen.unbind_msi(victim, Pirq(16), 0x40))),
        right: MSI,
    },
    Row {
        name: "map_pirq",
        attempt: Once(|victim| got(Xen.map_msix(victim, Sbdf::new(0, 2, 0), 0, 0))),
        right: PIRQ,
    },
    Row { name: "unmap_pirq", attempt: Once(|victim| got(Xen.unmap_pirq(victim, Pirq(16)))), right: PIRQ },
    Row {
        name: "foreign_map",
        attempt: Each(0..FRAMES.len() as u32, |victim, place| {
            got(Foreign::map(&Xen, victim, Gfn(FRAMES[place as usize]), 1))
        }),
        right: EPERM,
    },
    Row {
        name: "load_into",
        attempt: Once(|victim| {
            let piece = board_support_hyp::Piece { at: Gfn(0x100).base(), bytes: &[0xcc; 16], length: 16 };
            got(Xen.load(victim, &[piece]))
        }),
        right: EPERM,
    },
    // Xen says no errno here, whether it is the right that is wanting or the room: of a domain that has all that it may have,
    // as those of dom0 have, this shows that it gets no more, and not why.
    Row {
        name: "populate",
        attempt: Once(|victim| match Xen.populate(victim, &[Gfn(0x10_0000)], 0) {
            Ok(count) => Got::Done(count as u64),
            Err(errno) => Got::Refused(errno),
        }),
        right: NOTHING,
    },
    Row { name: "map_every_grant", attempt: Each(GRANTS, mapped), right: NOT_FOR_US },
    Row {
        name: "read_every_grant",
        attempt: Each(GRANTS, |victim, gref| copied(Xen.copy_from(victim, Gref(gref), 0, &mut [0; 16]))),
        right: NOT_FOR_US,
    },
    Row {
        name: "write_every_grant",
        attempt: Each(GRANTS, |victim, gref| copied(Xen.copy_to(victim, Gref(gref), 0, &[0xff; 16]))),
        right: NOT_FOR_US,
    },
    Row { name: "map_grants_that_are_not_there", attempt: Each(NO_GRANTS, mapped), right: NO_ENTRY },
    Row {
        name: "read_grants_that_are_not_there",
        attempt: Each(NO_GRANTS, |victim, gref| copied(Xen.copy_from(victim, Gref(gref), 0, &mut [0; 16]))),
        right: NO_ENTRY,
    },
    Row {
        name: "bind_every_port",
        attempt: Each(PORTS, |victim, port| got(Xen.bind_interdomain(victim, Port(port)))),
        right: EINVAL,
    },
    Row {
        name: "allocate_port_of",
        attempt: Once(|victim| got(Xen.alloc_unbound(victim, DomId::SELF))),
        right: EPERM,
    },
    Row {
        name: "read_parameter",
        attempt: Once(|victim| got(Xen.param(victim, param::CONSOLE_PFN))),
        right: EPERM,
    },
    Row {
        name: "write_parameter",
        attempt: Once(|victim| got(Xen.set_param(victim, param::CONSOLE_PFN, 0))),
        right: EPERM,
    },
];

/// For ourselves, whose number is given, or against the machine as a whole.
pub(crate) const FOR_OURSELVES: &[Row] = &[
    Row {
        name: "create_domain",
        attempt: Once(|_| got(Xen.create_domain(&CreateDomain::default()))),
        right: EPERM,
    },
    Row { name: "list_domains", attempt: Once(|_| got(Xen.next_domain(DomId(0)))), right: EPERM },
    Row { name: "physinfo", attempt: Once(|_| got(Xen.physinfo())), right: EPERM },
    Row { name: "read_the_serial_line", attempt: Once(|_| got(Xen.read(&mut [0; 16]))), right: EPERM },
    Row {
        name: "more_memory_by_domctl",
        attempt: Once(|us| got(Xen.set_max_mem(us, 1 << 30))),
        right: EPERM,
    },
    // Of ourselves Xen speaks by our number alone.
    Row {
        name: "more_memory_by_domctl_on_self",
        attempt: Once(|_| got(Xen.set_max_mem(DomId::SELF, 1 << 30))),
        right: ESRCH,
    },
    Row {
        name: "iomem_by_domctl",
        attempt: Once(|us| got(Xen.memory_mapping(us, Gfn(0x10_0000), Mfn(0xfee00), 1, true))),
        right: EPERM,
    },
    Row {
        name: "right_to_iomem_by_domctl",
        attempt: Once(|us| got(Xen.iomem_permission(us, Mfn(0), 1 << 20, true))),
        right: EPERM,
    },
    Row {
        name: "device_by_domctl",
        attempt: Once(|us| got(Xen.assign_device(us, Sbdf::new(0, 2, 0)))),
        right: EPERM,
    },
    Row {
        name: "close_ports_that_are_not_there",
        attempt: Each(NO_PORTS, |_, port| got(Xen.close(Port(port)))),
        right: EINVAL,
    },
    Row {
        name: "send_on_ports_that_are_not_there",
        attempt: Each(NO_PORTS, |_, port| got(Xen.send(Port(port)))),
        right: EINVAL,
    },
];

fn mapped(victim: DomId, gref: u32) -> Got {
    match Grants::map(&Xen, victim, Gref(gref), Access::ReadOnly) {
        Ok(_) => Got::Done(1),
        Err(GrantError::Status(status)) => Got::Status(status),
        Err(GrantError::Call(errno)) => Got::Refused(errno),
        Err(_) => Got::Unasked,
    }
}

fn copied(result: Result<(), CopyError>) -> Got {
    match result {
        Ok(()) => Got::Done(1),
        Err(CopyError::Status(status)) => Got::Status(status),
        Err(CopyError::Call(errno)) => Got::Refused(errno),
        Err(CopyError::OutOfPage) => Got::Unasked,
    }
}
