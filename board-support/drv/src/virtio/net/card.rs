//! The card behind the traits of all cards.

use alloc::boxed::Box;
use core::time::Duration;

use super::{Bus, Card, RESET_TIME, Stopped};
use crate::{
    dma::DevicePages,
    nic::{self, Causes, Link, MAX_FRAME, Nic, NotSent, Statistics},
};

impl<B: Bus + 'static, P: DevicePages + 'static> nic::Stopped for Stopped<B, P> {
    fn reset_time(&self) -> Duration {
        RESET_TIME
    }

    fn start(self: Box<Self>) -> Result<Box<dyn Nic>, (nic::StartError, Box<dyn nic::Stopped>)> {
        match Stopped::start(*self) {
            Ok(card) => Ok(Box::new(card)),
            Err((error, stopped)) => Err((nic::StartError::Virtio(error), Box::new(stopped))),
        }
    }

    fn again(self: Box<Self>) -> Box<dyn nic::Stopped> {
        Box::new(Stopped::again(*self))
    }
}

impl<B: Bus + 'static, P: DevicePages + 'static> Nic for Card<B, P> {
    fn mac(&self) -> [u8; 6] {
        Card::mac(self)
    }

    /// There is one interrupt.
    fn acknowledge(&mut self, _interrupt: usize) -> Result<Causes, nic::Fault> {
        Card::acknowledge(self).map_err(nic::Fault::Virtio)
    }

    fn read_link(&mut self) -> Result<Option<Link>, nic::Fault> {
        Card::read_link(self).map_err(nic::Fault::Virtio)
    }

    fn read_statistics(&mut self) -> Statistics {
        Card::read_statistics(self)
    }

    fn receive(&mut self, frame: &mut [u8; MAX_FRAME]) -> Result<Option<usize>, nic::Fault> {
        Card::receive(self, frame).map_err(nic::Fault::Virtio)
    }

    fn has_room(&mut self, frames: u16) -> bool {
        Card::has_room(self, frames)
    }

    fn transmit(&mut self, frame: &[u8]) -> Result<(), NotSent> {
        Card::transmit(self, frame)
    }

    fn flush(&mut self) {
        Card::flush(self);
    }

    fn want_room(&mut self) {
        Card::want_room(self);
    }

    fn unsent(&mut self) -> u16 {
        Card::unsent(self)
    }

    fn fault(&self) -> Option<nic::Fault> {
        Card::fault(self).map(nic::Fault::Virtio)
    }

    fn stop(self: Box<Self>) -> Box<dyn nic::Stopped> {
        Box::new(Card::stop(*self))
    }
}
