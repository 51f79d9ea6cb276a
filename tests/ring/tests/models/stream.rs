//! Byte streams: bytes one way, room the other.

use loom::thread;
use proto_ring::channel::{DOWN, UP};
use proto_ring::stream::{Direction, Reader, Writer};

use crate::page;

mod reader_is_told_of_data_up {
    proved!(super::data_up,
        fails_without_the_fence_of_the_writer: Published => "the wake-up was lost",
        fails_without_the_fence_of_the_reader: Armed => "the wake-up was lost",
        fails_without_release: Publish => "the byte is not there",
        fails_without_acquire: Observe => "the byte is not there",
    );
}

mod reader_is_told_of_data_down {
    proved!(super::data_down,
        fails_without_the_fence_of_the_writer: Published => "the wake-up was lost",
        fails_without_the_fence_of_the_reader: Armed => "the wake-up was lost",
        fails_without_release: Publish => "the byte is not there",
        fails_without_acquire: Observe => "the byte is not there",
    );
}

mod writer_is_told_of_room_up {
    proved!(super::room_up,
        fails_without_the_fence_of_the_reader: Published => "the wake-up was lost",
        fails_without_the_fence_of_the_writer: Armed => "the wake-up was lost",
    );
}

mod writer_is_told_of_room_down {
    proved!(super::room_down,
        fails_without_the_fence_of_the_reader: Published => "the wake-up was lost",
        fails_without_the_fence_of_the_writer: Armed => "the wake-up was lost",
    );
}

fn data_up() {
    data(UP);
}

fn data_down() {
    data(DOWN);
}

fn room_up() {
    room(UP);
}

fn room_down() {
    room(DOWN);
}

/// The writer publishes while the reader goes to sleep.
fn data(at: Direction) {
    let page = page();
    let other = page.clone();
    let writing = thread::spawn(move || {
        let mut writer = Writer::new(at);
        writer.stage(&other, b"x").unwrap();
        writer.publish(&other).wanted()
    });
    let mut reader = Reader::new(at);
    let found = reader.await_data(&page, 1).unwrap();
    if found {
        let mut byte = [0];
        assert_eq!(reader.take(&page, &mut byte), Ok(1));
        assert_eq!(&byte, b"x", "the byte is not there");
    }
    let told = writing.join().unwrap();
    assert!(found || told, "the wake-up was lost");
}

/// The window is full. The reader releases bytes while the writer goes to sleep.
fn room(at: Direction) {
    let page = page();
    let mut writer = Writer::new(at);
    let size = at.window.size();
    assert_eq!(writer.stage(&page, &vec![7; size as usize]), Ok(size as usize));
    let _ = writer.publish(&page);
    let other = page.clone();
    let reading = thread::spawn(move || {
        let mut reader = Reader::new(at);
        assert_eq!(reader.take(&other, &mut [0; 4]), Ok(4));
        reader.release(&other).wanted()
    });
    let found = writer.await_room(&page, 4).unwrap();
    let told = reading.join().unwrap();
    assert!(found || told, "the wake-up was lost");
}
