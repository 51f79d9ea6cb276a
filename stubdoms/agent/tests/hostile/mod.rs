//! What a controller that was taken over can make of the agent's heap.

use proto_eve::{
    Message,
    config::{ConfigError, MAX_MEMORY, parse_response},
    wire::config::{
        Ace, AppInstanceConfig, ConfigItem, ConfigResponse, ContentTree, DisksConfig, EdgeDevConfig,
        NetworkAdapter, UuiDandVersion, Volume,
    },
};

use crate::world::{memory, *};

/// control's heap is 16 MiB, of which contents may take half. The most that was seen is 2.3 MiB.
const MAY_GROW: usize = 3 * 1024 * 1024;

fn uuid(index: usize) -> String {
    format!("a0a0a0a0-0000-4000-8000-{index:012x}")
}

fn app(index: usize) -> AppInstanceConfig {
    AppInstanceConfig {
        uuidandversion: Some(UuiDandVersion { uuid: uuid(index), version: "1".into() }),
        ..AppInstanceConfig::default()
    }
}

/// Makes a configuration with so many elements.
type Shape = fn(usize) -> EdgeDevConfig;

/// Configurations that are large in one way each, with `count` elements.
fn shapes() -> Vec<(&'static str, Shape)> {
    vec![
        ("apps", |count| EdgeDevConfig { apps: (0..count).map(app).collect(), ..config() }),
        ("items", |count| {
            let item = |index| ConfigItem { key: format!("key{index}"), value: "v".repeat(700) };
            EdgeDevConfig { config_items: (0..count).map(item).collect(), ..config() }
        }),
        ("contents", |count| {
            let content_info = (0..count)
                .map(|index| ContentTree {
                    uuid: uuid(index),
                    ds_id: STORE.into(),
                    url: "u".repeat(2048),
                    sha256: "ab".repeat(32),
                    max_size_bytes: 1,
                    ..ContentTree::default()
                })
                .collect();
            EdgeDevConfig { content_info, ..config() }
        }),
        ("volumes", |count| {
            let volume = |index| Volume { uuid: uuid(index), ..Volume::default() };
            EdgeDevConfig { volumes: (0..count).map(volume).collect(), ..config() }
        }),
        ("rules", |count| {
            let interfaces = vec![NetworkAdapter { acls: vec![Ace::default(); count], ..Default::default() }];
            EdgeDevConfig { apps: vec![AppInstanceConfig { interfaces, ..app(1) }], ..config() }
        }),
        ("disks", |count| {
            let children = vec![DisksConfig::default(); count];
            let disks = Some(DisksConfig { children, ..DisksConfig::default() });
            EdgeDevConfig { disks, ..config() }
        }),
        ("text", |count| {
            let user_data = "text".repeat(count);
            EdgeDevConfig { apps: vec![AppInstanceConfig { user_data, ..app(1) }], ..config() }
        }),
    ]
}

fn encoded(config: EdgeDevConfig) -> Vec<u8> {
    ConfigResponse { config: Some(config), config_hash: "hash".into() }.encode_to_vec()
}

/// The largest number of elements that a configuration can have without being refused.
fn largest(shape: Shape) -> usize {
    let fits = |count| {
        let payload = encoded(shape(count));
        payload.len() < 500 * 1024 && parse_response(&payload).is_ok()
    };
    let (mut fitting, mut refused) = (0, 1);
    while fits(refused) {
        (fitting, refused) = (refused, 2 * refused);
    }
    while refused - fitting > 1 {
        let middle = usize::midpoint(fitting, refused);
        if fits(middle) { fitting = middle } else { refused = middle }
    }
    fitting
}

#[test]
fn decoding_stays_below_the_estimate() {
    for (name, shape) in shapes() {
        let payload = encoded(shape(largest(shape)));
        let (parsed, grown) = memory::peak(|| parse_response(&payload));
        assert!(parsed.is_ok() && grown <= MAX_MEMORY, "{name}: {grown}");
    }
    // What is refused costs nothing.
    let interfaces = vec![NetworkAdapter { acls: vec![Ace::default(); 100_000], ..Default::default() }];
    let apps = vec![AppInstanceConfig { interfaces, ..app(1) }];
    let payload = encoded(EdgeDevConfig { apps, ..config() });
    let (refused, grown) = memory::peak(|| parse_response(&payload));
    assert_eq!((refused, grown), (Err(ConfigError::TooMuch), 0));
}

#[test]
fn the_largest_configuration_takes_a_small_part_of_the_heap() {
    for (name, shape) in shapes() {
        let count = largest(shape);
        let mut world = World::onboarded();
        world.controller.set_config(shape(count));
        (world.answer_peak, world.poll_peak) = (0, 0);
        world.run(15);
        let grown = world.answer_peak + world.poll_peak;
        assert!(grown <= MAY_GROW, "{name}: {grown}");
    }
}
