//! Channels between domains of ours.

area! {
    chan: "A channel between two domains of ours has ended.";
    CLOSED = "E-CHAN-001",
        cause: "The domain at the other end has closed the channel, for it has ended.",
        next: "See the line that tells why that domain ended.";
    NO_ROOM = "E-CHAN-002",
        cause: "A message does not fit into the channel now.",
        next: "Report it: the sender has to wait for room.";
    TOO_LONG = "E-CHAN-003",
        cause: "A message is longer than a channel carries.",
        next: "Report it: the sender has to send it in parts.";
    PEER_FAULT = "E-CHAN-004",
        cause: "The domain at the other end broke the rules of the shared page.",
        next: "That domain is broken or taken over: look at its last lines.";
    BAD_MESSAGE = "E-CHAN-005",
        cause: "The domain at the other end sent what is no message.",
        next: "That domain is broken or taken over: look at its last lines.";
    VERSION = "E-CHAN-006",
        cause: "The two domains speak different versions of their protocol.",
        next: "Take all domains from the same build.";
    EVENT = "E-CHAN-007",
        cause: "Xen refuses to work with the channel's port or page.",
        next: "Look for Xen's own line before this one.";
}
