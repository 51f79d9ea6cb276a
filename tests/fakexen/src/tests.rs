//! What the fake answers, and what it does not let pass.

use board_support_hyp::{
    Access, Clock, CopyOut, Domctl, EventChannels, Foreign, ForeignPages, GrantError, Grants, HvmParams,
    Instant, Interfaces, Pages, Piece, Populate, Runtime, Sched, Shared, Sysctl, Timer, Wait, runtime::Item,
    wait,
};
use core::{
    cell::{Cell, RefCell},
    future::poll_fn,
    sync::atomic::Ordering::Relaxed,
    task::{Context, Waker},
    time::Duration,
};
use proto_xen::{
    DomId, Errno, Gfn, Gref, Port, VcpuId, Virq,
    domctl::{CreateDomain, create_flags, emulation},
    grant_table::GrantStatus,
    sched::ShutdownReason,
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
};

use crate::{
    Call, Domain, Executor, Fault, World,
    executor::{self, Outcome},
    grant, seeds,
    world::word,
};

const ALICE: DomId = DomId(1);
const BOB: DomId = DomId(2);

fn two() -> (World, Domain, Domain) {
    let world = World::with_domains(&[ALICE, BOB]);
    let (alice, bob) = (world.domain(ALICE), world.domain(BOB));
    (world, alice, bob)
}

fn description() -> CreateDomain {
    CreateDomain {
        flags: create_flags::HVM | create_flags::HAP,
        max_vcpus: 1,
        max_evtchn_port: 255,
        max_grant_frames: 4,
        max_maptrack_frames: 4,
        grant_opts: 1,
        arch: [emulation::LAPIC, 0, 0, 0],
        ..CreateDomain::default()
    }
}

/// Panics unless `wrong` does, with these words.
fn must_panic(words: &str, wrong: impl FnOnce()) {
    let cause = catch_unwind(AssertUnwindSafe(wrong)).expect_err(words);
    let said = cause.downcast_ref::<String>().map(String::as_str);
    let said = said.or_else(|| cause.downcast_ref::<&str>().copied()).unwrap_or_default();
    assert!(said.contains(words), "`{said}` does not say `{words}`");
}

fn is_raised(domain: &Domain, port: Port) -> bool {
    domain.poll_event(port, &mut Context::from_waker(Waker::noop())).is_ready()
}

#[test]
fn only_dom0_may_build() {
    let (world, alice, _) = two();
    assert_eq!(alice.create_domain(&description()), Err(Errno::EPERM));
    assert_eq!(alice.pause(BOB), Err(Errno::EPERM));
    assert_eq!(alice.destroy_domain(BOB), Err(Errno::EPERM));
    assert_eq!(alice.populate(BOB, &[Gfn(0)], 0), Err(Errno::EPERM));
    assert_eq!(Foreign::map(&alice, BOB, Gfn(0), 1).map(drop), Err(Errno::EPERM));
    assert_eq!(alice.alloc_unbound(BOB, ALICE), Err(Errno::EPERM));
    assert_eq!(alice.physinfo().map(drop), Err(Errno::EPERM));
    assert_eq!(alice.set_param(BOB, 17, 1), Err(Errno::EPERM));
    assert_eq!(alice.speaks_domctl(0x17), Err(Errno::EPERM));
    let dom0 = world.dom0();
    assert_eq!(dom0.pause(DomId::DOM0), Err(Errno::EINVAL));
    assert_eq!(dom0.pause(DomId(9)), Err(Errno::ESRCH));
    assert_eq!((dom0.speaks_domctl(0x16), dom0.speaks_domctl(0x17)), (Ok(false), Ok(true)));
}

#[test]
fn a_domain_costs_what_it_costs_and_gives_it_back() {
    let world = World::new();
    let dom0 = world.dom0();
    let before = world.census();
    let id = dom0.create_domain(&description()).unwrap();
    assert_eq!(id, DomId(1));
    assert_eq!(dom0.set_max_vcpus(id, 2), Err(Errno::EINVAL), "it was made with one");
    dom0.set_max_vcpus(id, 1).unwrap();
    assert_eq!(dom0.set_vcpu_affinity(id, VcpuId(1), 1), Err(Errno::ESRCH));
    assert_eq!(dom0.set_vcpu_affinity(id, VcpuId(0), 4), Err(Errno::EINVAL), "there are two CPUs");
    dom0.set_vcpu_affinity(id, VcpuId(0), 6).unwrap();
    assert_eq!(world.affinity(id, 0), Some(2));
    dom0.set_paging_mempool_size(id, 2 << 20).unwrap();
    assert_eq!(dom0.populate(id, &[Gfn(0)], 9), Ok(0), "more than it may have");
    dom0.set_max_mem(id, 514 * 4).unwrap();
    assert_eq!(dom0.populate(id, &[Gfn(0), Gfn(512)], 9), Ok(1));
    assert_eq!(dom0.populate(id, &[Gfn(512), Gfn(513), Gfn(514)], 0), Ok(2));
    let spent = before.free_pages - dom0.physinfo().unwrap().free_pages;
    assert_eq!(spent, 8 + 4 + 512 + 514);
    dom0.destroy_domain(id).unwrap();
    assert_eq!(world.census(), before);
    assert_eq!(dom0.create_domain(&description()), Ok(DomId(2)), "numbers are not used again soon");
}

#[test]
fn what_is_mapped_keeps_a_dead_domain() {
    let (world, alice, bob) = two();
    let dom0 = world.dom0();
    let deaths = dom0.bind_virq(Virq::DOM_EXC, VcpuId(0)).unwrap();
    let page = Pages::allocate(&alice).unwrap();
    let gfn = alice.gfn(&page);
    let gref = Grants::allocate(&alice).unwrap();
    alice.offer(gref, BOB, gfn, Access::ReadWrite).unwrap();
    let mapped = Grants::map(&bob, ALICE, gref, Access::ReadWrite).unwrap();
    let foreign = Foreign::map(&dom0, ALICE, gfn, 1).unwrap();
    page.words()[0].store(77, Relaxed);

    assert!(!is_raised(&dom0, deaths));
    dom0.destroy_domain(ALICE).unwrap();
    assert!(is_raised(&dom0, deaths) && !is_raised(&dom0, deaths));
    assert!(dom0.next_domain(ALICE).unwrap().unwrap().dying);
    assert_eq!((word(&mapped, 0), word(&foreign, 0)), (77, 77), "what the dead have written stays");
    page.words()[0].store(78, Relaxed);
    assert_eq!(word(&mapped, 0), 77, "the dead write nothing");
    assert!(Grants::map(&bob, ALICE, gref, Access::ReadOnly).is_err());
    assert_eq!(Foreign::map(&dom0, ALICE, gfn, 1).map(drop), Err(Errno::ESRCH));

    drop(foreign);
    assert!(world.exists(ALICE), "another still maps it");
    drop(mapped);
    assert!(!world.exists(ALICE) && is_raised(&dom0, deaths));
    drop(page);
    assert_eq!(world.census().mapped_foreign, 0);
}

/// A domain of two pages that does not run, and can.
fn unborn(world: &World) -> DomId {
    let dom0 = world.dom0();
    let id = dom0.create_domain(&description()).unwrap();
    dom0.set_max_vcpus(id, 1).unwrap();
    dom0.set_max_mem(id, 8).unwrap();
    assert_eq!(dom0.populate(id, &[Gfn(3), Gfn(4)], 0), Ok(2));
    // A header and an end.
    dom0.set_hvm_context(id, &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap();
    id
}

#[test]
fn dom0_writes_into_a_domain_by_grants_that_it_writes_itself() {
    let world = World::new();
    let (dom0, before) = (world.dom0(), world.census());
    let id = unborn(&world);
    let text: Vec<u8> = (0..5000).map(|byte| byte as u8).collect();
    let pieces = [Piece { at: Gfn(3).base(), bytes: &text, length: 6000 }];
    world.restart(None);
    dom0.load(id, &pieces).unwrap();
    assert_eq!(world.calls(), ["acquire the grants of d1", "copy to d1", "unmap of d1"]);
    assert_eq!(world.read(id, 3 << 12, 5000), text);
    assert_eq!(world.read(id, (3 << 12) + 5000, 1001), [vec![0; 1000], vec![0xdd]].concat());
    let nothing = [Piece { at: Gfn(5).base(), bytes: &text[..1], length: 1 }];
    assert_eq!(dom0.load(id, &nothing), Err(Errno::EFAULT), "there is no memory");
    assert_eq!(dom0.load(DomId(9), &pieces), Err(Errno::ESRCH));
    let mut copy =
        [CopyOut { bytes: &text[..1], reference: proto_xen::Gref(8), offset: 0, status: GrantStatus::OKAY }];
    dom0.copy_out(id, &mut copy).unwrap();
    assert_eq!(copy[0].status, GrantStatus::GENERAL_ERROR, "the grants are taken back");
    dom0.unpause(id).unwrap();
    must_panic("while it runs", || drop(dom0.map_grant_table(id)));
    dom0.destroy_domain(id).unwrap();
    assert_eq!(world.census(), before);
}

#[test]
fn grants_that_dom0_leaves_in_a_table_are_seen() {
    let world = World::new();
    let id = unborn(&world);
    let dom0 = world.dom0();
    let table = dom0.map_grant_table(id).unwrap();
    // Reference 8, for dom0, for reading and writing.
    table.page(0)[16].store(1, Relaxed);
    drop(table);
    must_panic("with grants in its table", || dom0.unpause(id).unwrap());
}

#[test]
fn what_cannot_be_unmapped_is_kept_and_tried_again() {
    let (world, alice, bob) = two();
    let (dom0, before) = (world.dom0(), world.census());
    let page = Pages::allocate(&alice).unwrap();
    let gref = Grants::allocate(&alice).unwrap();
    alice.offer(gref, BOB, alice.gfn(&page), Access::ReadWrite).unwrap();
    let mapped = Grants::map(&bob, ALICE, gref, Access::ReadWrite).unwrap();
    world.restart(Some(Fault::nth(0).of(Call::UnmapGrant)));
    drop(mapped);
    assert_eq!((world.left_mapped(BOB), alice.end(gref)), (1, Err(GrantError::StillMapped)));
    // The next mapping tries again first.
    assert!(Grants::map(&bob, ALICE, Gref(9), Access::ReadOnly).is_err());
    assert_eq!((world.left_mapped(BOB), alice.end(gref)), (0, Ok(())));
    drop(page);

    let foreign = Foreign::map(&dom0, ALICE, Gfn(0), 3).unwrap();
    world.restart(Some(Fault::nth(1).of(Call::UnmapForeign)));
    drop(foreign);
    assert_eq!((world.left_mapped(DomId::DOM0), world.census().mapped_foreign), (1, 1));
    world.retry_unmapping();
    assert_eq!((world.left_mapped(DomId::DOM0), world.census()), (0, before));
}

#[test]
fn grants_are_for_whom_and_what_they_say() {
    let (world, alice, bob) = two();
    let page = Pages::allocate(&alice).unwrap();
    let gref = Grants::allocate(&alice).unwrap();
    let general = |result: Result<grant::MappedGrant, _>| {
        assert_eq!(result.map(drop), Err(GrantError::Status(GrantStatus::GENERAL_ERROR)));
    };
    general(Grants::map(&bob, ALICE, gref, Access::ReadOnly));
    alice.offer(gref, BOB, alice.gfn(&page), Access::ReadOnly).unwrap();
    general(Grants::map(&bob, ALICE, gref, Access::ReadWrite));
    general(Grants::map(&world.dom0(), ALICE, gref, Access::ReadOnly));
    assert_eq!(
        Grants::map(&bob, DomId(9), gref, Access::ReadOnly).map(drop),
        Err(GrantError::Status(GrantStatus::BAD_DOMAIN))
    );
    assert_eq!(
        Grants::map(&bob, ALICE, Gref(9999), Access::ReadOnly).map(drop),
        Err(GrantError::Status(GrantStatus::BAD_GREF))
    );
    assert_eq!(alice.offer(Gref(7), BOB, Gfn(0), Access::ReadOnly), Err(GrantError::OutOfRange));

    let mapped = Grants::map(&bob, ALICE, gref, Access::ReadOnly).unwrap();
    assert_eq!(alice.end(gref), Err(GrantError::StillMapped));
    must_panic("while it is granted", || drop(page));
    drop(mapped);
    assert_eq!(alice.end(gref), Ok(()));
    general(Grants::map(&bob, ALICE, gref, Access::ReadOnly));
    let mut bytes = [1; 4];
    assert!(bob.copy_from(ALICE, gref, 0, &mut bytes).is_err());
    assert_eq!(bytes, [1; 4]);
}

#[test]
fn a_mapping_is_of_no_use_once_it_is_undone() {
    let (_world, alice, bob) = two();
    let page = Pages::allocate(&alice).unwrap();
    let gref = Grants::allocate(&alice).unwrap();
    alice.offer(gref, BOB, alice.gfn(&page), Access::ReadWrite).unwrap();
    let mapped = Grants::map(&bob, ALICE, gref, Access::ReadWrite).unwrap();
    bob.unmap_behind(mapped.handle()).unwrap();
    assert_eq!(bob.unmap_behind(mapped.handle()), Err(grant::BAD_HANDLE));
    must_panic("after unmapping it", || assert_eq!(word(&mapped, 0), 0));
    must_panic("twice", || drop(mapped));
    alice.end(gref).unwrap();
}

#[test]
fn a_page_that_went_back_must_not_be_written() {
    let (world, alice, _) = two();
    world.limit_pages(ALICE, 1);
    let page = Pages::allocate(&alice).unwrap();
    assert!(Pages::allocate(&alice).is_none());
    assert_eq!(word(&page, 5), 0);
    let gref = Grants::allocate(&alice).unwrap();
    alice.offer(gref, BOB, alice.gfn(&page), Access::ReadWrite).unwrap();
    let hostile = world.page_of(ALICE, gref);
    alice.end(gref).unwrap();
    drop(page);
    assert_eq!(word(&hostile, 5), 0xdede_dede, "poisoned");
    hostile.words()[5].store(1, Relaxed);
    must_panic("was written after it went back", || drop(Pages::allocate(&alice)));
}

#[test]
fn memory_of_a_destroyed_domain_must_not_be_written() {
    let (world, alice, _) = two();
    let page = Pages::allocate(&alice).unwrap();
    let gref = Grants::allocate(&alice).unwrap();
    alice.offer(gref, BOB, alice.gfn(&page), Access::ReadWrite).unwrap();
    let hostile = world.page_of(ALICE, gref);
    world.dom0().destroy_domain(ALICE).unwrap();
    assert_eq!(word(&hostile, 5), 0xdede_dede, "poisoned");
    drop(world.census());
    hostile.words()[5].store(1, Relaxed);
    must_panic("written after it was freed", || drop(world.census()));
}

#[test]
fn ports_say_look_and_nothing_else() {
    let (world, alice, bob) = two();
    let near = alice.alloc_unbound(DomId::SELF, BOB).unwrap();
    assert_eq!(near, Port(1), "the lowest free one");
    assert_eq!(world.dom0().bind_interdomain(ALICE, near), Err(Errno::EINVAL), "it is for another");
    assert_eq!(alice.send(near), Ok(()), "nobody is there to be told");
    let far = bob.bind_interdomain(ALICE, near).unwrap();
    assert_eq!(bob.bind_interdomain(ALICE, near), Err(Errno::EINVAL), "it is bound already");
    assert!(!is_raised(&bob, far) && is_raised(&bob, far), "raised once, seen once somebody waited");
    assert!(!is_raised(&alice, near));
    bob.send(far).unwrap();
    bob.send(far).unwrap();
    assert!(is_raised(&alice, near) && !is_raised(&alice, near), "two are as one");
    world.raise(ALICE, near);
    assert!(is_raised(&alice, near), "for no reason");

    bob.close(far).unwrap();
    assert_eq!(alice.send(near), Ok(()));
    assert_eq!(bob.bind_interdomain(ALICE, near), Ok(Port(1)), "it is free for the same domain");
    alice.close(near).unwrap();
    assert_eq!(alice.send(near), Err(Errno::EINVAL));
    must_panic("which is not its own", || assert!(alice.close(near).is_ok()));
}

#[test]
fn a_port_that_is_masked_keeps_what_came() {
    let (world, alice, bob) = two();
    let (near, far) = world.connect(ALICE, BOB);
    bob.send(far).unwrap();
    // Nobody has waited for it before: it is masked. The first wait opens it, and it is raised then.
    assert!(!is_raised(&alice, near));
    assert!(is_raised(&alice, near));
}

#[test]
fn a_domain_has_as_many_ports_as_it_may() {
    let world = World::new();
    let dom0 = world.dom0();
    let small = CreateDomain { max_evtchn_port: 2, ..description() };
    let id = dom0.create_domain(&small).unwrap();
    assert_eq!(dom0.alloc_unbound(id, DomId::DOM0), Ok(Port(1)));
    assert_eq!(dom0.alloc_unbound(id, DomId::DOM0), Ok(Port(2)));
    assert_eq!(dom0.alloc_unbound(id, DomId::DOM0), Err(Errno::ENOSPC));
    let port = dom0.bind_interdomain(id, Port(1)).unwrap();
    dom0.destroy_domain(id).unwrap();
    assert_eq!(dom0.send(port), Ok(()), "the other end is gone");
    dom0.close(port).unwrap();
}

#[test]
fn a_domain_that_stands_still_does_nothing() {
    let (world, alice, bob) = two();
    let (near, far) = world.connect(ALICE, BOB);
    world.dom0().pause(ALICE).unwrap();
    assert_eq!(alice.send(near), Err(Errno::ESRCH));
    assert!(!is_raised(&bob, far) && is_raised(&bob, far) && !is_raised(&bob, far), "from the binding only");
    world.dom0().unpause(ALICE).unwrap();
    alice.send(near).unwrap();
    assert!(is_raised(&bob, far));
    assert_eq!(world.dom0().unpause(ALICE), Err(Errno::EINVAL));
    world.crash(ALICE, ShutdownReason::CRASH);
    assert_eq!(alice.send(near), Err(Errno::ESRCH));
    let info = world.dom0().next_domain(ALICE).unwrap().unwrap();
    assert_eq!((info.domain, info.dying, info.shutdown), (ALICE, false, Some(ShutdownReason::CRASH)));
}

#[test]
fn the_chosen_call_fails_and_no_other() {
    let (world, alice, bob) = two();
    world.restart(Some(Fault::nth(1).of(Call::Send).by(BOB).with(Errno::ENOMEM)));
    let (near, far) = world.connect(ALICE, BOB);
    assert_eq!((alice.send(near), bob.send(far), bob.send(far)), (Ok(()), Ok(()), Err(Errno::ENOMEM)));
    assert_eq!(bob.send(far), Ok(()));
    assert_eq!(world.failed_call().as_deref(), Some("d2: send 1"));
    assert_eq!(world.calls()[..2], ["d1: alloc_unbound d32752 for d2", "d2: bind_interdomain d1"]);
    world.fail(Fault::nth(1).of(Call::Send).times(2));
    let sent = [(); 4].map(|()| alice.send(near).is_ok());
    assert_eq!(sent, [true, false, false, true]);
}

#[test]
fn a_seed_gives_the_same_order_again() {
    let order = |seed| {
        let (world, alice, bob) = two();
        let (near, far) = world.connect(ALICE, BOB);
        let said = core::cell::RefCell::new(Vec::new());
        let mut executor = Executor::new(&world, seed);
        executor.spawn(ALICE, async {
            for number in 0..20 {
                said.borrow_mut().push(number);
                alice.send(near).unwrap();
                let until = alice.now_ns() + 1000 * number;
                poll_fn(|context| alice.poll_until(until, context)).await;
            }
        });
        executor.spawn(BOB, async {
            loop {
                wait::event(&bob, far).await;
                said.borrow_mut().push(100);
            }
        });
        assert_eq!(executor.run_until(10_000, || said.borrow().contains(&19)), Outcome::Done);
        drop(executor);
        said.into_inner()
    };
    assert_eq!(order(1), order(1));
    assert!((2..10).any(|seed| order(seed) != order(1)));
}

#[test]
fn the_environment_chooses_seeds_of_a_story() {
    let chosen = |set: &[(&str, &str)]| {
        let get = |name: &str| set.iter().find(|(of, _)| *of == name).map(|(_, text)| (*text).to_owned());
        executor::chosen(30, get)
    };
    assert_eq!(chosen(&[]), 0..30);
    assert_eq!(chosen(&[("FAKEXEN_TIMES", "20")]), 0..600, "its own count, so many times");
    assert_eq!(chosen(&[("FAKEXEN_SEED", "700")]), 700..701);
    assert_eq!(chosen(&[("FAKEXEN_SEED", "7"), ("FAKEXEN_TIMES", "20")]), 7..8);
    for (name, text) in [("FAKEXEN_TIMES", "many"), ("FAKEXEN_SEED", ""), ("FAKEXEN_TIMES", "-1")] {
        let chosen = catch_unwind(AssertUnwindSafe(|| chosen(&[(name, text)])));
        assert!(chosen.is_err(), "{name}={text} is no number, and not the same as nothing");
    }
}

#[test]
fn a_seed_that_does_not_decide_all_is_not_said_to_replay() {
    assert_eq!(executor::advice(7, None), "the story fails with seed 7; FAKEXEN_SEED=7 replays it");
    let advice = executor::advice(7, Some("a chip"));
    assert!(
        advice.contains("a chip") && advice.contains("another way") && !advice.contains("replays"),
        "{advice}"
    );
}

#[test]
fn events_come_late_or_twice_but_they_come() {
    seeds(50, |seed| {
        let (world, alice, bob) = two();
        let (near, far) = world.connect(ALICE, BOB);
        let (asked, answered) = (Cell::new(0), Cell::new(0));
        let mut executor = Executor::new(&world, seed);
        executor.spawn(ALICE, async {
            for number in 1..=30 {
                asked.set(number);
                alice.send(near).unwrap();
                while answered.get() < number {
                    wait::event(&alice, near).await;
                }
            }
        });
        executor.spawn(BOB, async {
            loop {
                answered.set(asked.get());
                bob.send(far).unwrap();
                wait::event(&bob, far).await;
            }
        });
        assert_eq!(executor.run_until(20_000, || answered.get() == 30), Outcome::Done);
    });
}

#[test]
fn tasks_of_a_dead_domain_leave_no_trace() {
    let (world, alice, bob) = two();
    let (near, far) = world.connect(ALICE, BOB);
    let page = Pages::allocate(&alice).unwrap();
    let gref = Grants::allocate(&alice).unwrap();
    alice.offer(gref, BOB, alice.gfn(&page), Access::ReadWrite).unwrap();
    let mut executor = Executor::new(&world, 7);
    executor.spawn(BOB, async move {
        let mapped = Grants::map(&bob, ALICE, gref, Access::ReadWrite).unwrap();
        loop {
            wait::event(&bob, far).await;
            mapped.words()[0].fetch_add(1, Relaxed);
        }
    });
    executor.run_until(100, || word(&page, 0) > 0);
    assert_eq!(alice.end(gref), Err(GrantError::StillMapped));
    world.dom0().destroy_domain(BOB).unwrap();
    executor.drop_dead();
    assert_eq!(executor.tasks(), 0);
    assert_eq!(alice.end(gref), Ok(()), "Xen has unmapped what the dead had mapped");
    assert_eq!(alice.send(near), Ok(()));
}

/// A task that sleeps on two clocks at once is woken by the earlier one, and a sleep that was dropped by neither.
#[test]
fn a_task_may_wait_for_several_moments() {
    let world = World::with_domains(&[DomId(1)]);
    let domain = world.domain(DomId(1));
    let (soon, late) = (Instant::from_nanos(1_000_000), Instant::from_nanos(2_000_000));
    let mut executor = Executor::new(&world, 1);
    let seen = Rc::new(RefCell::new(Vec::new()));
    let told = seen.clone();
    executor.spawn(DomId(1), async move {
        let sleeps = domain.with_deadline(soon, domain.sleep_until(late)).await;
        told.borrow_mut().push((sleeps.is_err(), domain.now_ns() / 1_000_000));
        poll_fn(|context| domain.poll_until(late.as_nanos(), context)).await;
        told.borrow_mut().push((true, domain.now_ns() / 1_000_000));
    });
    assert_eq!(executor.run_until(1000, || false), Outcome::Asleep);
    assert_eq!(*seen.borrow(), [(true, 1), (true, 2)]);
    assert_eq!(world.next_deadline(), None, "nobody waits any more");
}

#[test]
fn a_domain_has_the_lines_that_its_tasks_write() {
    let (one, other) = (DomId(1), DomId(2));
    let world = World::with_domains(&[one, other]);
    let mut executor = Executor::new(&world, 3);
    let read = Rc::new(RefCell::new(Vec::new()));
    for id in [one, other] {
        let (domain, read) = (world.domain(id), read.clone());
        executor.spawn(id, async move {
            log::info!("first of {id}");
            log::debug!("not to be told");
            log::warn!("second of {id}");
        });
        executor.spawn(id, async move {
            for _ in 0..2 {
                let Item::Record(line) = domain.next_line().await else { panic!("none is lost") };
                read.borrow_mut().push(line.text.as_str().to_owned());
            }
        });
    }
    assert_eq!(executor.run_until(1000, || false), Outcome::Asleep);
    let mut read = read.borrow().clone();
    read.sort();
    let target = module_path!();
    let line = |id: u16, number: u64, text: &str| format!("d{id} {number} {target}: {text} of d{id}");
    let all = [(1, 0, "first"), (1, 1, "second"), (2, 0, "first"), (2, 1, "second")];
    assert_eq!(read, all.map(|(id, number, text)| line(id, number, text)));
    assert_eq!((world.lines_of(one), world.lines_of(DomId::DOM0)), (2, 0));
}

#[test]
fn a_domain_that_spins_does_nothing_and_uses_the_cpu() {
    let (one, other) = (DomId(1), DomId(2));
    let world = World::with_domains(&[one, other]);
    let mut executor = Executor::new(&world, 5);
    for id in [one, other] {
        let domain = world.domain(id);
        executor.spawn(id, async move {
            loop {
                domain.sleep(Duration::from_millis(1)).await;
            }
        });
    }
    let until = |executor: &mut Executor<'_>, ms: u64| {
        let end = world.now_ns() + ms * 1_000_000;
        assert_eq!(executor.run_until(100_000, || world.now_ns() >= end), Outcome::Done);
    };
    let info = |id| world.dom0().next_domain(id).unwrap().unwrap();
    until(&mut executor, 10);
    assert!(world.domain(one).rounds() > 5);
    world.hang(one);
    assert!(world.hangs(one) && !world.hangs(other));
    let (rounds, cpu) = (world.domain(one).rounds(), info(one).cpu_ns);
    until(&mut executor, 100);
    assert_eq!(world.domain(one).rounds(), rounds);
    assert!(info(one).cpu_ns >= cpu + 90_000_000 && !info(one).blocked);
    assert!(info(other).cpu_ns < 10_000_000);
}

#[test]
fn a_program_begins_when_its_domain_is_let_run() {
    let world = World::new();
    let begun = RefCell::new(Vec::new());
    let dom0 = world.dom0();
    let id = dom0.create_domain(&description()).unwrap();
    let mut executor = Executor::new(&world, 1);
    executor.on_start(|domain| begun.borrow_mut().push(domain.id()));
    assert_eq!(executor.run_until(10, || false), Outcome::Asleep);
    assert!(begun.borrow().is_empty());
    dom0.set_max_vcpus(id, 1).unwrap();
    dom0.set_hvm_context(id, &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap();
    for _ in 0..2 {
        dom0.unpause(id).unwrap();
        assert_eq!(executor.run_until(10, || false), Outcome::Asleep);
        dom0.pause(id).unwrap();
    }
    drop(executor);
    assert_eq!(begun.into_inner(), [id], "once");
}

/// A task that waits without leaving its turn: others run when it yields and time passes, its own domain's do not run.
#[test]
fn who_yields_in_the_midst_of_a_turn_has_others_run() {
    seeds(20, |seed| {
        let world = World::with_domains(&[ALICE, BOB]);
        let (alice, bob) = (world.domain(ALICE), world.domain(BOB));
        let (near, far) = world.connect(ALICE, BOB);
        let mut executor = Executor::new(&world, seed);
        executor.let_yield();
        let [asked, answered, beside]: [Rc<Cell<u32>>; 3] = Default::default();
        let (question, answer, own) = (asked.clone(), answered.clone(), beside.clone());
        let (speaker, over) = (alice.clone(), asked.clone());
        executor.spawn(ALICE, async move {
            for number in 1..=5 {
                question.set(number);
                speaker.send(near).unwrap();
                let own_before = own.get();
                while answer.get() < number {
                    speaker.yield_now();
                }
                let start = speaker.now_ns();
                while speaker.now_ns() < start + 3_000_000 {
                    speaker.yield_now();
                }
                assert!(speaker.now_ns() < start + 4_000_000, "whoever yields is soon there again");
                assert_eq!(own.get(), own_before, "a domain has one vCPU");
                speaker.sleep(Duration::from_millis(1)).await;
            }
            question.set(100);
        });
        executor.spawn(ALICE, async move {
            loop {
                beside.set(beside.get() + 1);
                alice.sleep(Duration::from_millis(1)).await;
            }
        });
        executor.spawn(BOB, async move {
            loop {
                answered.set(asked.get());
                bob.sleep(Duration::from_millis(1)).await;
                wait::event(&bob, far).await;
            }
        });
        assert_eq!(executor.run_until(20_000, || over.get() == 100), Outcome::Done);
    });
}
