//! Applications that fail, and what of it is reported for how long.

use super::*;

/// As an operator does who gives an application another image: new content, and a purge command.
fn other_image(world: &mut World, image: &[u8]) {
    use sha2::Digest;
    let sha256 = hex::encode(sha2::Sha256::digest(image));
    world.store = Ok(image.to_vec());
    world.controller.edit(|config| {
        config.content_info[0].sha256 = sha256;
        config.apps[0].purge.as_mut().unwrap().counter += 1;
    });
}

#[test]
fn a_broken_image_after_a_good_one_is_an_error() {
    let mut world = World::onboarded();
    assert!(running(&world));
    world.dom0.failures.push_back(AppFailure::ImageFormat);
    other_image(&mut world, b"no image at all");
    world.run(60);
    let app = world.app_info();
    assert_eq!(app.state, ERROR, "that it has run before does not make it halted");
    assert!(app.app_err[0].description.contains("the image cannot be started"), "{:?}", app.app_err);
    // Without activation there is nothing wrong with it any more.
    world.controller.edit(|config| config.apps[0].activate = false);
    world.run(60);
    assert_eq!((world.app_state(), world.app_info().app_err.len()), (HALTED, 0));
    other_image(&mut world, IMAGE);
    world.controller.edit(|config| config.apps[0].activate = true);
    world.run(60);
    assert!(running(&world) && world.app_info().app_err.is_empty());
}

#[test]
fn only_a_guest_that_powered_off_is_halted_while_it_is_to_run() {
    for (reason, state) in [
        (StopReason::PowerOff, HALTED),
        (StopReason::Crash, ERROR),
        (StopReason::Watchdog, ERROR),
        (StopReason::Code(9), ERROR),
    ] {
        let mut world = World::onboarded();
        world.app_event(AppEvent::Stopped(reason));
        world.run(30);
        assert_eq!(world.app_state(), state, "{reason:?}");
        // It is started again, and then there is no failure any more.
        world.run(600);
        assert!(running(&world) && world.app_info().app_err.is_empty(), "{reason:?}");
    }
}

#[test]
fn an_application_that_is_not_to_run_has_no_error_that_kept_it_from_running() {
    type Change = fn(&mut proto_eve::wire::config::VmConfig);
    let cases: [(&str, Change); 2] =
        [("KiB of memory", |vm| vm.memory = 4_194_304), ("needs 2 vCPUs", |vm| vm.vcpus = 2)];
    for (error, change) in cases {
        // Both of one that has never run, and of one that has.
        for ran in [false, true] {
            let mut world = World::new();
            let mut wanted = config();
            wanted.apps[0].activate = ran;
            world.controller.set_config(wanted);
            world.run(60);
            assert_eq!(running(&world), ran);
            world.controller.edit(|config| {
                change(config.apps[0].fixedresources.as_mut().unwrap());
                config.apps[0].restart.as_mut().unwrap().counter += 1;
                config.apps[0].activate = true;
            });
            world.run(60);
            assert_eq!(world.app_state(), ERROR, "{error}, ran {ran}");
            let app = world.app_info();
            assert!(app.app_err[0].description.contains(error), "{error}: {:?}", app.app_err);
            world.controller.edit(|config| config.apps[0].activate = false);
            world.run(60);
            let state = if ran { HALTED } else { ZSwState::Installed as i32 };
            assert_eq!((world.app_state(), world.app_info().app_err.len()), (state, 0), "{error}, ran {ran}");
        }
    }
}
