#!/usr/bin/env python3
"""Prints golden.rs: packets before and after translation, made with nothing but `struct`.

guest 100.64.0.2 behind 10.0.2.15 talks to 192.0.2.7; the flow's port on the wire is 40000.
Run: python3 golden.py > golden.rs
"""
import struct
from ipaddress import IPv4Address as A

GUEST, OURS, REMOTE, ROUTER = (A(a).packed for a in ("100.64.0.2", "10.0.2.15", "192.0.2.7", "10.0.2.2"))
PORT = 40000


def csum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def ip(proto, src, dst, ttl, payload, ident=0x1234, flags=0x4000):
    def head(check):
        return struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), ident, flags, ttl, proto, check, src, dst)
    return head(csum(head(0))) + payload


def pseudo(src, dst, proto, length):
    return src + dst + struct.pack(">BBH", 0, proto, length)


def tcp(src, dst, sport, dport, seq, ack, flags, data=b"", options=b""):
    def seg(check):
        return struct.pack(">HHIIBBHHH", sport, dport, seq, ack, (5 + len(options) // 4) << 4, flags, 64240, check, 0) + options + data
    raw = seg(0)
    return seg(csum(pseudo(src, dst, 6, len(raw)) + raw))


def udp(src, dst, sport, dport, data, none=False):
    def seg(check):
        return struct.pack(">HHHH", sport, dport, 8 + len(data), check) + data
    raw = seg(0)
    check = csum(pseudo(src, dst, 17, len(raw)) + raw) or 0xFFFF
    return seg(0 if none else check)


def icmp(kind, code, rest, data):
    def msg(check):
        return struct.pack(">BBH", kind, code, check) + rest + data
    return msg(csum(msg(0)))


def echo(kind, ident, seq, data):
    return icmp(kind, 0, struct.pack(">HH", ident, seq), data)


MSS = bytes([2, 4, 5, 0xB4])
G, O, R = GUEST, OURS, REMOTE
query = bytes.fromhex("abcd01000001000000000000") + b"\x07example\x03org\0" + b"\0\1\0\1"

# Packets as they are on either side, for what is quoted in errors: name -> (inside, outside).
sent_tcp = (ip(6, G, R, 63, tcp(G, R, 1025, 443, 7, 9, 0x18, b"hello")), ip(6, O, R, 63, tcp(O, R, PORT, 443, 7, 9, 0x18, b"hello")))
sent_udp = (ip(17, G, R, 63, udp(G, R, 1025, 443, query)), ip(17, O, R, 63, udp(O, R, PORT, 443, query)))
came_udp = (ip(17, R, G, 57, udp(R, G, 443, 1025, query)), ip(17, R, O, 57, udp(R, O, 443, PORT, query)))
sent_echo = (ip(1, G, R, 63, echo(8, 1025, 3, b"abcdefgh")), ip(1, O, R, 63, echo(8, PORT, 3, b"abcdefgh")))


def error(src, dst, ttl, kind, code, rest, quoted):
    return ip(1, src, dst, ttl, icmp(kind, code, rest, quoted), ident=0x4321, flags=0)


nothing = bytes(4)
OUT = {
    "TCP_SYN": [ip(6, s, R, t, tcp(s, R, p, 443, 0x01020304, 0, 2, options=MSS)) for s, t, p in ((G, 64, 1025), (O, 63, PORT))],
    "TCP_ODD_DATA": [ip(6, s, R, t, tcp(s, R, p, 443, 5, 6, 0x18, b"odd")) for s, t, p in ((G, 64, 1025), (O, 63, PORT))],
    "UDP": [ip(17, s, R, t, udp(s, R, p, 443, query)) for s, t, p in ((G, 64, 1025), (O, 63, PORT))],
    "UDP_WITHOUT_CHECKSUM": [ip(17, s, R, t, udp(s, R, p, 443, query, none=True)) for s, t, p in ((G, 64, 1025), (O, 63, PORT))],
    "ECHO": [ip(1, s, R, t, echo(8, p, 3, b"abcdefgh")) for s, t, p in ((G, 64, 1025), (O, 63, PORT))],
    # The guest tells that its port is closed; what it quotes is what reached it, hop count and all.
    "PORT_UNREACHABLE": [error(s, R, t, 3, 3, nothing, q) for s, t, q in ((G, 64, came_udp[0]), (O, 63, came_udp[1]))],
}
IN = {
    "TCP_SYN_ACK": [ip(6, R, d, t, tcp(R, d, 443, p, 99, 0x01020305, 0x12, options=MSS)) for d, t, p in ((O, 58, PORT), (G, 57, 1025))],
    "UDP": [ip(17, R, d, t, udp(R, d, 443, p, query)) for d, t, p in ((O, 58, PORT), (G, 57, 1025))],
    "ECHO": [ip(1, R, d, t, echo(0, p, 3, b"abcdefgh")) for d, t, p in ((O, 58, PORT), (G, 57, 1025))],
    # 8 bytes quoted, as RFC 792 asks: no TCP checksum among them.
    "TTL_EXCEEDED_SHORT": [error(ROUTER, d, t, 11, 0, nothing, q[:28]) for d, t, q in ((O, 64, sent_tcp[1]), (G, 63, sent_tcp[0]))],
    # All of it quoted, with the next hop's MTU 1400.
    "FRAGMENTATION_NEEDED": [error(ROUTER, d, t, 3, 4, struct.pack(">HH", 0, 1400), q) for d, t, q in ((O, 64, sent_tcp[1]), (G, 63, sent_tcp[0]))],
    "PORT_UNREACHABLE": [error(R, d, t, 3, 3, nothing, q) for d, t, q in ((O, 64, sent_udp[1]), (G, 63, sent_udp[0]))],
    "ECHO_UNREACHABLE": [error(ROUTER, d, t, 3, 1, nothing, q) for d, t, q in ((O, 64, sent_echo[1]), (G, 63, sent_echo[0]))],
}

print("//! Made by golden.py beside this file; do not edit.")
for group, table in (("OUT", OUT), ("IN", IN)):
    print(f"\n/// Name, packet before, packet after.\n#[rustfmt::skip]\npub(super) const {group}: &[(&str, &[u8], &[u8])] = &[")
    for name, (before, after) in table.items():
        show = lambda b: "&[" + ", ".join(f"0x{x:02x}" for x in b) + "]"
        print(f'    ("{name}",\n        {show(before)},\n        {show(after)}),')
    print("];")
