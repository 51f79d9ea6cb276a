//! TCP and UDP over any [`smoltcp::phy::Device`], with one static IPv4 address.
//!
//! One task calls [`Stack::run`], which sleeps until a frame came, a timer of TCP is due or a socket has work. All
//! other tasks use [`Stack::connect`] and [`Stack::udp`]. Everything happens on one vCPU: there are no locks, and no
//! borrow is held across an `.await`.

mod notice;
mod stack;
mod tcp;
mod udp;

pub use stack::{Address, AddressError, Entropy, Stack};
pub use tcp::{Buffers, DialError, Got, Reset, TcpStream};
pub use udp::UdpSocket;
