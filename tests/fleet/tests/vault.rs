//! Stories with the whole control, a storage and a vault: the device is who its keys make it, with a TPM and without one,
//! whatever happens to vault meanwhile.

use tests_fakexen::seeds;
use tests_fleet::{
    stage::{More, Stage},
    works::{eve, works},
};

#[test]
fn control_is_who_the_tpm_makes_it_and_is_attested() {
    seeds(3, |seed| {
        let mut stage = Stage::with(seed, More::Tpm);
        works(&mut stage);
        stage.until("the key of the storage is escrowed", |fleet| eve(fleet, |eve| eve.escrowed > 0));
        assert_eq!(*stage.fleet.seen.lives.borrow(), 4, "nobody is ended without a reason");
        eve(&stage.fleet, |eve| assert_eq!((eve.attested, eve.configured, eve.again), (1, 1, 0)));
        stage.end();
    });
}

#[test]
fn control_is_who_software_makes_it() {
    seeds(10, |seed| {
        let mut stage = Stage::with(seed, More::Software);
        works(&mut stage);
        assert_eq!(*stage.fleet.seen.lives.borrow(), 4, "nobody is ended without a reason");
        eve(&stage.fleet, |eve| assert_eq!((eve.attested, eve.configured, eve.again), (1, 1, 0)));
        stage.end();
    });
}
