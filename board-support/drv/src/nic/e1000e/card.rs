//! The card behind the traits of all cards.

use alloc::boxed::Box;
use core::time::Duration;

use super::{Bus, E1000e, RESET_TIME, Stopped};
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
            Err((error, stopped)) => Err((nic::StartError::E1000e(error), Box::new(stopped))),
        }
    }

    fn again(self: Box<Self>) -> Box<dyn nic::Stopped> {
        Box::new(Stopped::again(*self))
    }
}

impl<B: Bus + 'static, P: DevicePages + 'static> Nic for E1000e<B, P> {
    fn mac(&self) -> [u8; 6] {
        E1000e::mac(self)
    }

    /// The vectors are receive, transmit, everything else.
    fn acknowledge(&mut self, interrupt: usize) -> Result<Causes, nic::Fault> {
        Ok(match interrupt {
            0 => {
                self.acknowledge_receive();
                Causes::RECEIVED
            }
            1 => {
                self.acknowledge_transmit();
                Causes::SENT
            }
            _ => {
                self.acknowledge_other();
                Causes::LINK
            }
        })
    }

    fn read_link(&mut self) -> Result<Option<Link>, nic::Fault> {
        E1000e::read_link(self).map_err(nic::Fault::E1000e)
    }

    fn read_statistics(&mut self) -> Statistics {
        E1000e::read_statistics(self)
    }

    fn receive(&mut self, frame: &mut [u8; MAX_FRAME]) -> Result<Option<usize>, nic::Fault> {
        E1000e::receive(self, frame).map_err(nic::Fault::E1000e)
    }

    fn has_room(&mut self, frames: u16) -> bool {
        E1000e::has_room(self, frames)
    }

    fn transmit(&mut self, frame: &[u8]) -> Result<(), NotSent> {
        E1000e::transmit(self, frame)
    }

    fn flush(&mut self) {
        E1000e::flush(self);
    }

    fn want_room(&mut self) {
        E1000e::want_room(self);
    }

    fn unsent(&mut self) -> u16 {
        E1000e::unsent(self)
    }

    /// Reports of sent frames are one bit each: nothing in them can lie.
    fn fault(&self) -> Option<nic::Fault> {
        None
    }

    fn stop(self: Box<Self>) -> Box<dyn nic::Stopped> {
        Box::new(E1000e::stop(*self))
    }
}
