use alloc::vec;
use core::future::poll_fn;
use core::net::{Ipv4Addr, SocketAddrV4};
use core::task::Poll;

use smoltcp::iface::SocketHandle;
use smoltcp::phy::Device;
use smoltcp::socket::udp::{PacketBuffer, PacketMetadata, Socket};
use smoltcp::wire::{IpAddress, IpEndpoint};

use super::Stack;
use super::stack::is_host;

/// Packets and bytes that wait in each direction.
const PACKETS: usize = 4;
const BYTES: usize = 2048;

/// A UDP socket on a random port, which is free again when it is dropped.
pub struct UdpSocket<'a, D: Device> {
    stack: &'a Stack<D>,
    handle: SocketHandle,
}

impl<D: Device> Stack<D> {
    /// Opens a socket.
    pub fn udp(&self) -> UdpSocket<'_, D> {
        let buffer = || PacketBuffer::new(vec![PacketMetadata::EMPTY; PACKETS], vec![0; BYTES]);
        let mut socket = Socket::new(buffer(), buffer());
        // A fresh socket can be bound to any port but 0.
        let _ = socket.bind(self.free_port());
        let handle = self.inner.borrow_mut().sockets.add(socket);
        UdpSocket { stack: self, handle }
    }
}

impl<D: Device> UdpSocket<'_, D> {
    /// Sends a packet, if there is room and `to` is a host's; packets may get lost anyway.
    pub fn send(&self, to: SocketAddrV4, bytes: &[u8]) {
        if !is_host(*to.ip()) {
            return;
        }
        let to = IpEndpoint::new(IpAddress::Ipv4(*to.ip()), to.port());
        let _ = self.socket(|socket| socket.send_slice(bytes, to));
        self.stack.kick();
    }

    /// Waits for a packet: how many of its bytes stand in `into`, and whence it came. What is longer than `into`
    /// is dropped.
    pub async fn receive(&self, into: &mut [u8]) -> (usize, SocketAddrV4) {
        poll_fn(|cx| {
            self.socket(|socket| {
                while socket.can_recv() {
                    if let Ok((length, meta)) = socket.recv_slice(into) {
                        let from: Ipv4Addr = match meta.endpoint.addr {
                            IpAddress::Ipv4(from) => from,
                            #[allow(
                                unreachable_patterns,
                                reason = "the enum has more variants if another package switches them on"
                            )]
                            _ => continue,
                        };
                        return Poll::Ready((length, SocketAddrV4::new(from, meta.endpoint.port)));
                    }
                }
                socket.register_recv_waker(cx.waker());
                Poll::Pending
            })
        })
        .await
    }

    fn socket<R>(&self, look: impl FnOnce(&mut Socket<'static>) -> R) -> R {
        look(self.stack.inner.borrow_mut().sockets.get_mut(self.handle))
    }
}

impl<D: Device> Drop for UdpSocket<'_, D> {
    fn drop(&mut self) {
        self.stack.inner.borrow_mut().sockets.remove(self.handle);
    }
}
