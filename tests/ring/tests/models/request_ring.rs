//! Request rings: requests one way, responses the other.

use loom::thread;
use proto_ring::Index;
use proto_ring::back::Back;
use proto_ring::front::Front;

use crate::page;

const REQUEST: [u8; 8] = [9; 8];
const RESPONSE: [u8; 8] = [2; 8];

mod backend_is_told_of_a_request {
    proved!(super::request,
        fails_without_the_fence_of_the_front: Published => "the wake-up was lost",
        fails_without_the_fence_of_the_back: Armed => "the wake-up was lost",
        fails_without_release: Publish => "the request is not there",
        fails_without_acquire: Observe => "the request is not there",
    );
}

mod frontend_is_told_of_a_response {
    proved!(super::response,
        fails_without_the_fence_of_the_back: Published => "the wake-up was lost",
        fails_without_the_fence_of_the_front: Armed => "the wake-up was lost",
        fails_without_release: Publish => "the response is not there",
        fails_without_acquire: Observe => "the response is not there",
    );
}

mod both_directions_at_once {
    proved!(super::both,
        fails_without_the_fences_after_publishing: Published => "the wake-up was lost",
        fails_without_the_fences_after_arming: Armed => "the wake-up was lost",
    );
}

/// The frontend asks while the backend goes to sleep.
fn request() {
    let page = page();
    let other = page.clone();
    let asking = thread::spawn(move || {
        let mut front = Front::<8>::starting_at(Index::new(0));
        front.put(&other, &REQUEST).unwrap();
        front.push(&other).wanted()
    });
    let mut back = Back::<8>::new();
    let found = back.await_request(&page).unwrap();
    if found {
        let mut slot = [0; 8];
        assert_eq!(back.take(&page, &mut slot), Ok(true));
        assert_eq!(slot, REQUEST, "the request is not there");
    }
    let told = asking.join().unwrap();
    assert!(found || told, "the wake-up was lost");
}

/// The backend answers while the frontend goes to sleep.
fn response() {
    let page = page();
    let mut front = Front::<8>::starting_at(Index::new(0));
    front.put(&page, &REQUEST).unwrap();
    let _ = front.push(&page);
    let other = page.clone();
    let answering = thread::spawn(move || {
        let mut back = Back::<8>::new();
        let mut slot = [0; 8];
        assert_eq!(back.take(&other, &mut slot), Ok(true));
        back.put(&other, &RESPONSE);
        back.push(&other).wanted()
    });
    let found = front.await_response(&page).unwrap();
    if found {
        let mut slot = [0; 8];
        assert!(front.take(&page, &mut slot).unwrap().is_some());
        assert_eq!(slot, RESPONSE, "the response is not there");
    }
    let told = answering.join().unwrap();
    assert!(found || told, "the wake-up was lost");
}

/// The backend answers one request and goes to sleep, while the frontend asks once more and goes to sleep.
/// If both sleep, one of them was told.
fn both() {
    let page = page();
    let mut front = Front::<8>::starting_at(Index::new(0));
    front.put(&page, &REQUEST).unwrap();
    let _ = front.push(&page);
    let other = page.clone();
    let serving = thread::spawn(move || {
        let mut back = Back::<8>::new();
        assert_eq!(back.take(&other, &mut [0; 8]), Ok(true));
        back.put(&other, &RESPONSE);
        let tells = back.push(&other).wanted();
        let found = back.await_request(&other).unwrap();
        (tells, found)
    });
    front.put(&page, &REQUEST).unwrap();
    let tells_back = front.push(&page).wanted();
    let front_found = front.await_response(&page).unwrap();
    let (tells_front, back_found) = serving.join().unwrap();
    assert!(front_found || tells_front, "the wake-up was lost");
    assert!(back_found || tells_back, "the wake-up was lost");
}
