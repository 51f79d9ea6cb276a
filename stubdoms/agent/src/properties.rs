//! Config items: names with values in text, by which a controller tunes the device.
//!
//! A missing item has its default, a bad one keeps the value that it had, an unknown one is an error
//! entry. The result for every item that was sent is echoed in the device's info.

mod table;

use alloc::{collections::BTreeMap, format, string::String};
use core::time::Duration;

use proto_errors::agent;
use proto_eve::{
    text,
    wire::{
        config::ConfigItem,
        info::{ZInfoConfigItem, ZInfoConfigItemStatus},
    },
};

/// Items that are looked at; more are ignored and counted in one error entry.
const MAX_ITEMS: usize = 512;
const MAX_KEY: usize = 128;
const MAX_VALUE: usize = 4096;

const LEVELS: [&str; 16] = [
    "none", "all", "panic", "fatal", "error", "warning", "info", "debug", "trace", "emerg", "alert", "crit",
    "err", "notice", "warn", "critical",
];

/// What an item's value must look like.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Int { default: u32, min: u32, max: u32 },
    Bool(bool),
    Tri(Tri),
    Text(&'static str),
}

/// A switch that may leave the decision to someone else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tri {
    None,
    Enabled,
    Disabled,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Int(u32),
    Bool(bool),
    Tri(Tri),
    Text(String),
}

/// Why a value is refused. It is shown to the controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    NotANumber,
    OutOfRange { min: u32, max: u32 },
    NotABool,
    NotATristate,
    NotALevel,
    TooLong,
}

impl core::fmt::Display for Refused {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NotANumber => write!(f, "not a decimal number below 4294967296"),
            Self::OutOfRange { min, max } => write!(f, "not between {min} and {max}"),
            Self::NotABool => write!(f, "neither true nor false"),
            Self::NotATristate => write!(f, "neither none, enabled nor disabled"),
            Self::NotALevel => write!(f, "not a log level"),
            Self::TooLong => write!(f, "longer than {MAX_VALUE} bytes"),
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Properties {
    /// Values that differ from the default, or may.
    values: BTreeMap<&'static str, Value>,
    echo: ZInfoConfigItemStatus,
}

impl Properties {
    /// Takes the items of a configuration, which replace all of the previous ones.
    pub(crate) fn apply(&mut self, items: &[ConfigItem]) {
        let mut values = BTreeMap::new();
        let mut echo = ZInfoConfigItemStatus::default();
        for item in items.iter().take(MAX_ITEMS) {
            let key = text::bounded(&item.key, MAX_KEY);
            let Some(&(name, kind)) = table::ITEMS.iter().find(|(name, _)| *name == item.key) else {
                if is_agent_level(&item.key) {
                    let error = check_level(&item.value).err();
                    echo.config_items.insert(key, entry(&item.value, error));
                } else {
                    let error = String::from("unknown config item");
                    let value = text::bounded(&item.value, MAX_VALUE);
                    echo.unknown_config_items.insert(key, ZInfoConfigItem { value, error });
                }
                continue;
            };
            match parse(name, kind, &item.value) {
                Ok(value) => {
                    values.insert(name, value);
                    echo.config_items.insert(key, entry(&item.value, None));
                }
                Err(refused) => {
                    log::warn!(
                        "config item {name}: {:?}: {refused} [{}]",
                        text::truncate(&item.value, 80),
                        agent::BAD_ITEM
                    );
                    if let Some(previous) = self.values.get(name) {
                        values.insert(name, previous.clone());
                    }
                    echo.config_items.insert(key, entry(&item.value, Some(refused)));
                }
            }
        }
        if let Some(more) = items.len().checked_sub(MAX_ITEMS).filter(|&more| more > 0) {
            let error = format!("{more} more items were not looked at");
            echo.unknown_config_items.insert("...".into(), ZInfoConfigItem { value: String::new(), error });
        }
        self.values = values;
        self.echo = echo;
    }

    /// The result for each item of the last configuration.
    pub(crate) fn echo(&self) -> &ZInfoConfigItemStatus {
        &self.echo
    }

    /// A number. 0 for a name that the table does not have.
    pub(crate) fn int(&self, name: &str) -> u32 {
        match (self.values.get(name), kind(name)) {
            (Some(Value::Int(value)), _) => *value,
            (_, Some(Kind::Int { default, .. })) => default,
            _ => 0,
        }
    }

    /// A number of seconds.
    pub(crate) fn seconds(&self, name: &str) -> Duration {
        Duration::from_secs(self.int(name).into())
    }

    /// A number of seconds, of which 0 stands for `usual`.
    pub(crate) fn seconds_or(&self, name: &str, usual: u64) -> Duration {
        match self.int(name) {
            0 => Duration::from_secs(usual),
            seconds => Duration::from_secs(seconds.into()),
        }
    }

    pub(crate) fn bool(&self, name: &str) -> bool {
        match (self.values.get(name), kind(name)) {
            (Some(Value::Bool(value)), _) => *value,
            (_, Some(Kind::Bool(default))) => default,
            _ => false,
        }
    }

    pub(crate) fn tri(&self, name: &str) -> Tri {
        match (self.values.get(name), kind(name)) {
            (Some(Value::Tri(value)), _) => *value,
            (_, Some(Kind::Tri(default))) => default,
            _ => Tri::None,
        }
    }

    pub(crate) fn text(&self, name: &str) -> &str {
        match (self.values.get(name), kind(name)) {
            (Some(Value::Text(value)), _) => value,
            (_, Some(Kind::Text(default))) => default,
            _ => "",
        }
    }
}

fn kind(name: &str) -> Option<Kind> {
    table::ITEMS.iter().find(|(known, _)| *known == name).map(|&(_, kind)| kind)
}

fn entry(value: &str, error: Option<Refused>) -> ZInfoConfigItem {
    let error = error.map_or_else(String::new, |error| format!("{error}"));
    ZInfoConfigItem { value: text::bounded(value, MAX_VALUE), error }
}

/// `agent.NAME.debug.loglevel` and `agent.NAME.debug.remote.loglevel`: levels of single services.
fn is_agent_level(key: &str) -> bool {
    key.strip_prefix("agent.").is_some_and(|rest| {
        let name =
            rest.strip_suffix(".debug.remote.loglevel").or_else(|| rest.strip_suffix(".debug.loglevel"));
        name.is_some_and(|name| !name.is_empty())
    })
}

fn check_level(value: &str) -> Result<(), Refused> {
    if LEVELS.contains(&value) { Ok(()) } else { Err(Refused::NotALevel) }
}

fn parse(name: &str, kind: Kind, value: &str) -> Result<Value, Refused> {
    match kind {
        Kind::Int { min, max, .. } => {
            let number: u32 = value.trim().parse().map_err(|_| Refused::NotANumber)?;
            if number < min || number > max {
                return Err(Refused::OutOfRange { min, max });
            }
            Ok(Value::Int(number))
        }
        // As Go's ParseBool.
        Kind::Bool(_) => match value {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Value::Bool(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Value::Bool(false)),
            _ => Err(Refused::NotABool),
        },
        Kind::Tri(_) => match value {
            "none" => Ok(Value::Tri(Tri::None)),
            "enabled" | "enable" | "on" => Ok(Value::Tri(Tri::Enabled)),
            "disabled" | "disable" | "off" => Ok(Value::Tri(Tri::Disabled)),
            _ => Err(Refused::NotATristate),
        },
        Kind::Text(_) => {
            if value.len() > MAX_VALUE {
                return Err(Refused::TooLong);
            }
            if name.ends_with(".loglevel") {
                check_level(value)?;
            }
            Ok(Value::Text(String::from(value)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(items: &[(&str, &str)]) -> alloc::vec::Vec<ConfigItem> {
        items.iter().map(|&(key, value)| ConfigItem { key: key.into(), value: value.into() }).collect()
    }

    #[test]
    fn the_table_has_no_name_twice_and_defaults_within_bounds() {
        let mut names: alloc::vec::Vec<_> = table::ITEMS.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), table::ITEMS.len());
        for &(name, kind) in table::ITEMS {
            if let Kind::Int { default, min, max } = kind {
                assert!((min..=max).contains(&default), "{name}");
            }
        }
        assert_eq!(Properties::default().seconds("timer.config.interval").as_secs(), 60);
    }

    #[test]
    fn bad_values_keep_the_previous_one_and_are_echoed() {
        let mut properties = Properties::default();
        properties.apply(&items(&[("timer.config.interval", "30"), ("maintenance.mode", "on")]));
        assert_eq!(properties.int("timer.config.interval"), 30);
        assert_eq!(properties.tri("maintenance.mode"), Tri::Enabled);
        for bad in ["4", "86401", "-5", "", "x", "99999999999"] {
            properties.apply(&items(&[("timer.config.interval", bad)]));
            assert_eq!(properties.int("timer.config.interval"), 30, "{bad}");
            assert!(!properties.echo().config_items["timer.config.interval"].error.is_empty());
        }
        // Left out: back to the default, not to the previous value.
        properties.apply(&[]);
        assert_eq!(properties.int("timer.config.interval"), 60);
        assert_eq!(properties.tri("maintenance.mode"), Tri::None);
    }

    #[test]
    fn unknown_items_are_error_entries() {
        let mut properties = Properties::default();
        properties.apply(&items(&[
            ("no.such.item", "1"),
            ("agent.zedagent.debug.loglevel", "trace"),
            ("agent.zedagent.debug.remote.loglevel", "loud"),
            ("newlog.allow.fastupload", "True"),
            ("debug.default.remote.loglevel", "warning"),
            ("app.allow.vnc", "yes"),
        ]));
        let echo = properties.echo();
        assert!(!echo.unknown_config_items["no.such.item"].error.is_empty());
        assert!(echo.config_items["agent.zedagent.debug.loglevel"].error.is_empty());
        assert!(!echo.config_items["agent.zedagent.debug.remote.loglevel"].error.is_empty());
        assert!(!echo.config_items["app.allow.vnc"].error.is_empty());
        assert!(properties.bool("newlog.allow.fastupload"));
        assert_eq!(properties.text("debug.default.remote.loglevel"), "warning");
    }
}
