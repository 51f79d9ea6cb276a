//! A queue, and where the device finds it.

use super::{
    Readable, Transport, Writable,
    greet::GreetError,
    queue::{self, Queue},
};
use crate::dma::{BusAddress, DevicePages};

/// A queue in a page.
pub(super) struct Ring<P: DevicePages> {
    pub(super) queue: Queue<P::Page>,
    at: BusAddress,
}

impl<P: DevicePages> Ring<P> {
    pub(super) fn allocate(pages: &P) -> Option<Self> {
        let page = pages.allocate()?;
        let at = BusAddress::of(pages.dfn(&page));
        Some(Self { queue: Queue::new(page), at })
    }

    /// Empties the queue and tells the device where it is, as queue `number`.
    pub(super) fn set_up(&mut self, bus: &mut impl Transport, number: u32) -> Result<(), GreetError> {
        bus.write(Writable::QueueSel, number);
        if bus.read(Readable::QueueReady) != 0 {
            return Err(GreetError::Queue(number));
        }
        let most = bus.read(Readable::QueueSizeMax);
        let size = self.queue.reset(u16::try_from(most).unwrap_or(u16::MAX));
        if size == 0 {
            return Err(GreetError::Queue(number));
        }
        bus.write(Writable::QueueSize, size.into());
        let areas = [
            (Writable::QueueDescLow, Writable::QueueDescHigh, 0),
            (Writable::QueueDriverLow, Writable::QueueDriverHigh, queue::AVAILABLE),
            (Writable::QueueDeviceLow, Writable::QueueDeviceHigh, queue::USED),
        ];
        for (low, high, offset) in areas {
            let at = self.at.plus(offset).0;
            bus.write(low, at as u32);
            bus.write(high, (at >> 32) as u32);
        }
        bus.write(Writable::QueueReady, 1);
        Ok(())
    }

    /// Shows the device what was lent since the last time.
    pub(super) fn publish(&mut self, bus: &mut impl Transport, number: u32) {
        self.queue.publish();
        if self.queue.must_notify() {
            bus.write(Writable::QueueNotify, number);
        }
    }
}
