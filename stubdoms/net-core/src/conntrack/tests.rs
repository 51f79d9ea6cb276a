use super::*;

const REMOTE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);

fn flow(vif: u8, protocol: Protocol, port: u16, outside_port: u16) -> Flow {
    Flow {
        inside: Inside {
            vif: VifId::new(vif).unwrap(),
            protocol,
            address: Ipv4Addr::new(100, 64, 0, 2),
            port,
            remote: REMOTE,
            remote_port: if protocol == Protocol::Echo { 0 } else { 443 },
        },
        outside_port,
    }
}

fn table(flows: u16, flows_per_vif: u16) -> Table {
    Table::new(Limits { flows, flows_per_vif })
}

fn at(seconds: i64) -> Instant {
    Instant::from_secs(seconds)
}

const NONE: TcpFlags = TcpFlags::empty();

#[test]
fn a_flow_is_found_under_both_keys_until_its_time_runs_out() {
    let mut table = table(8, 8);
    let flow = flow(0, Protocol::Echo, 77, 20000);
    table.open(at(0), flow).unwrap();
    assert_eq!(table.peek_inside(at(59), &flow.inside), Some(flow));
    assert_eq!(table.peek_outside(at(59), &flow.outside()), Some(flow));
    assert_eq!(table.pass_in(at(60), &flow.outside(), NONE), None);
    assert!(table.is_empty());
}

#[test]
fn a_tcp_connection_lives_long_only_once_answered() {
    let mut table = table(8, 8);
    let flow = flow(0, Protocol::Tcp, 1000, 20000);
    table.open(at(0), flow).unwrap();
    assert_eq!(table.peek_inside(at(241), &flow.inside), None);
    assert!(table.pass_in(at(1), &flow.outside(), TcpFlags::SYN | TcpFlags::ACK).is_some());
    assert!(table.peek_inside(at(7000), &flow.inside).is_some());
    assert!(table.pass_out(at(7000), &flow.inside, TcpFlags::FIN | TcpFlags::ACK).is_some());
    assert!(table.peek_inside(at(14000), &flow.inside).is_some());
    assert!(table.pass_in(at(7001), &flow.outside(), TcpFlags::FIN | TcpFlags::ACK).is_some());
    assert!(table.pass_out(at(7002), &flow.inside, TcpFlags::ACK).is_some());
    assert!(table.peek_inside(at(7200), &flow.inside).is_some());
    assert_eq!(table.peek_inside(at(7300), &flow.inside), None);
}

#[test]
fn a_reset_from_the_wire_is_undone_by_the_guest_and_not_by_the_wire() {
    let mut table = table(8, 8);
    let flow = flow(0, Protocol::Tcp, 1000, 20000);
    table.open(at(0), flow).unwrap();
    table.pass_in(at(1), &flow.outside(), TcpFlags::SYN | TcpFlags::ACK).unwrap();
    table.pass_in(at(2), &flow.outside(), TcpFlags::RST).unwrap();
    table.pass_in(at(3), &flow.outside(), TcpFlags::ACK).unwrap();
    assert_eq!(table.peek_inside(at(300), &flow.inside), None);
    table.pass_out(at(4), &flow.inside, TcpFlags::ACK).unwrap();
    assert!(table.peek_inside(at(300), &flow.inside).is_some());
    // Its own reset ends the connection for good.
    table.pass_out(at(5), &flow.inside, TcpFlags::RST).unwrap();
    table.pass_out(at(6), &flow.inside, TcpFlags::ACK).unwrap();
    assert_eq!(table.peek_inside(at(300), &flow.inside), None);
}

#[test]
fn one_guest_cannot_take_the_share_of_another() {
    let mut table = table(8, 5);
    for port in 0..5 {
        table.open(at(0), flow(0, Protocol::Udp, port, 20000 + port)).unwrap();
    }
    assert_eq!(table.open(at(0), flow(0, Protocol::Udp, 5, 20005)), Err(Refused::Full));
    for port in 0..3 {
        table.open(at(0), flow(1, Protocol::Udp, port, 20100 + port)).unwrap();
    }
    assert_eq!(table.open(at(0), flow(1, Protocol::Udp, 3, 20103)), Err(Refused::Full));
    // Everything has run out by then, and there is room again.
    table.open(at(500), flow(0, Protocol::Udp, 5, 20005)).unwrap();
    assert_eq!(table.len(), 1);
}

#[test]
fn a_closing_connection_makes_room_for_a_new_one_of_the_same_guest() {
    let mut table = table(4, 2);
    let first = flow(0, Protocol::Tcp, 1, 20001);
    let second = flow(0, Protocol::Tcp, 2, 20002);
    table.open(at(0), first).unwrap();
    table.open(at(0), second).unwrap();
    table.pass_out(at(1), &second.inside, TcpFlags::RST).unwrap();
    table.open(at(2), flow(0, Protocol::Tcp, 3, 20003)).unwrap();
    assert_eq!(table.peek_inside(at(2), &second.inside), None);
    assert!(table.peek_inside(at(2), &first.inside).is_some());
}

#[test]
fn an_outside_key_belongs_to_one_flow() {
    let mut table = table(8, 8);
    let first = flow(0, Protocol::Udp, 1, 20001);
    table.open(at(0), first).unwrap();
    assert_eq!(table.open(at(0), flow(1, Protocol::Udp, 1, 20001)), Err(Refused::PortTaken));
    // The same number under another protocol is another key.
    table.open(at(0), flow(1, Protocol::Echo, 1, 20001)).unwrap();
    table.clear_vif(VifId::new(0).unwrap());
    table.open(at(0), flow(1, Protocol::Udp, 1, 20001)).unwrap();
    table.clear();
    assert!(table.is_empty());
    assert_eq!(table.free.len(), 8);
    assert_eq!(table.used, [0; MAX_VIFS]);
}

/// Long random life against a plain list: the sorted indices, the quotas and the free list agree.
#[test]
fn a_long_random_life_keeps_the_indices_in_step() {
    use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
    use rand_core::Rng;

    let mut random = ChaCha8Rng::seed_from_u64(7);
    let mut table = table(64, 40);
    let mut now = at(0);
    for _ in 0..20_000 {
        now += Duration::from_millis(u64::from(random.next_u32() % 4000));
        let number = random.next_u32();
        let protocol = [Protocol::Tcp, Protocol::Udp, Protocol::Echo][number as usize % 3];
        let chosen = flow(
            (number >> 8) as u8 % 3,
            protocol,
            (number >> 16) as u16 % 60,
            20000 + (number >> 4) as u16 % 90,
        );
        let flags = TcpFlags::from_bits_truncate((number >> 24) as u8);
        match random.next_u32() % 4 {
            0 | 1 => drop(table.open(now, chosen)),
            2 => drop(table.pass_out(now, &chosen.inside, flags)),
            _ => drop(table.pass_in(now, &chosen.outside(), flags)),
        }
        let taken = table.slots.iter().flatten().count();
        assert_eq!((table.by_inside.len(), table.by_outside.len()), (taken, taken));
        assert_eq!(table.free.len() + taken, 64);
        assert_eq!(table.used.iter().sum::<u16>() as usize, taken);
        assert!(table.used.iter().all(|used| *used <= 40));
        let keys = |list: &[u16], outside: bool| -> std::vec::Vec<_> {
            let flow = |index: &u16| table.slots[*index as usize].unwrap().flow;
            list.iter()
                .map(|i| {
                    if outside {
                        std::format!("{:?}", flow(i).outside())
                    } else {
                        std::format!("{:?}", flow(i).inside)
                    }
                })
                .collect()
        };
        if now.secs() % 50 == 0 {
            for (list, outside) in [(&table.by_inside, false), (&table.by_outside, true)] {
                let mut all = keys(list, outside);
                let count = all.len();
                all.sort();
                all.dedup();
                assert_eq!(all.len(), count);
            }
        }
    }
}
