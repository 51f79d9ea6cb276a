//! Domains that attack: they are refused, and nobody else is harmed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use proto_gpt::slots::{Slot, State};
use proto_manifest::archive::IMAGES;
use sha2::{Digest, Sha256};
use xtask::build::{Arch, Built};
use xtask::console::Line;
use xtask::qemu::Options;
use xtask::site::{self, Site};
use xtask::slot::{self, Key, Pieces};
use xtask::swtpm::Tpm;
use xtask::{build, paths, ui};

use crate::Story;
use crate::application::{PATIENCE, app, config, no_violations};
use crate::built;
use crate::guest::finished;
use crate::selector;
use crate::stage::{Stage, edit_table};

pub(crate) const STORIES: &[Story] = &[
    Story {
        name: "attacker",
        about: "an application asks Xen for what is others', hoards memory, floods and lies on its console; net, control and another application go on",
        tell: application,
    },
    Story {
        name: "liars",
        about: "six services lie to dom0 on their channels or flood them, while a domain beside them has dom0 build others",
        tell: liars,
    },
    Story {
        name: "intruder",
        about: "a domain in control's place lies to dom0, net, storage and vault on its channels and its vif; they and an application go on",
        tell: intruder,
    },
    Story {
        name: "taken_over",
        about: "a domain in control's place asks storage and vault for what is not control's: the slot that runs, one that nobody signed, keys, PCRs, all of their time while vault ends and storage needs it",
        tell: taken_over,
    },
    Story { name: "attacker-aarch64", about: "the same application on aarch64", tell: application },
    Story { name: "liars-aarch64", about: "the same services on aarch64", tell: liars },
    Story { name: "intruder-aarch64", about: "the same domain on aarch64", tell: intruder },
];

pub(crate) const NIGHTLY: &[Story] =
    &[Story { name: "taken_over-aarch64", about: "the same domain on aarch64", tell: taken_over }];

/// The attacker's name as an application.
const ATTACKER: &str = "attacker";

fn application(stage: &Stage<'_>) -> Result<()> {
    let image = built::domain(stage.built().arch, "tests-guest-attacker", "attacker")?;
    let site = stage.site()?;
    let controller = &site.controller;
    let hello = app("args = \"greeting=tick-tock\"");
    site.offer_sample(stage.built(), &config(&hello))?;
    controller.put_content("attacker.elf", &image)?;
    let mut machine = stage.start(&stage.provisioned(&site)?)?;
    controller.wait_app_state(site::APP, "RUNNING", PATIENCE)?;
    controller.wait_app_line(site::APP, "tick ", PATIENCE)?;

    // The victims are there, with all that they take at their start; now the attacker comes.
    let attacker = app("").replace("\"hello\"", "\"attacker\"").replace("hello.elf", "attacker.elf");
    controller.set_config(&config(&(hello + &attacker)))?;
    controller.wait_app_line(ATTACKER, "attacker: ", PATIENCE)?;
    judge(stage, &site)?;

    // It floods its console for three seconds, then lies on it: dom0 says so, once.
    machine.wait_for_from("dom0", ": console: ", Duration::from_secs(60))?;
    let before = ticks(&site)?.last().copied().unwrap_or(0);
    controller.wait_app_line(site::APP, &format!("tick {}", before + 5), PATIENCE)?;
    controller.wait_app_state(site::APP, "RUNNING", PATIENCE)?;
    let ticks = ticks(&site)?;
    let last = ticks.last().copied().unwrap_or(0);
    let missing: Vec<u64> = (0..=last).filter(|tick| !ticks.contains(tick)).collect();
    ensure!(missing.is_empty(), "the flood cost the other application lines: {missing:?}");

    // Whoever made it stop can take it away.
    controller.set_config(&config(&app("args = \"greeting=tick-tock\"")))?;
    controller.wait_app_gone(ATTACKER, PATIENCE)?;
    let lines = machine.lines();
    let faults = lines.iter().filter(|line| line.who == "dom0" && line.text.contains(": console: ")).count();
    ensure!(faults == 1, "dom0 told of the fault {faults} times");
    no_violations(&site)?;
    stage.end(machine)
}

/// What the attacker told, as the controller has it.
fn judge(stage: &Stage<'_>, site: &Site) -> Result<()> {
    let lines: Vec<String> = site
        .controller
        .observe(|seen| seen.app_lines(ATTACKER).map(|line| line.content.trim().to_owned()).collect());
    let failed: Vec<&String> = lines.iter().filter(|line| line.contains("FAIL ")).collect();
    ensure!(failed.is_empty(), "the attacker was not refused:\n{failed:#?}");
    let last = lines.iter().find(|line| line.contains("attacker: ")).context("there is no last line")?;
    let ok = last.split("attacker: ").nth(1).and_then(|rest| rest.split(' ').next());
    let ok: usize = ok.and_then(|ok| ok.parse().ok()).with_context(|| format!("no number in `{last}`"))?;
    let cases = cases(stage.built().arch);
    ensure!(ok == cases && last.ends_with(" 0 failed"), "{last}; {cases} are expected");
    Ok(())
}

/// What the attacker tries. One that leaves some out must not pass.
fn cases(arch: Arch) -> usize {
    match arch {
        // The registers of devices, at addresses of a PC.
        Arch::X86_64 => 43,
        Arch::Aarch64 => 42,
    }
}

/// The numbers of the lines of the other application that the controller has.
fn ticks(site: &Site) -> Result<BTreeSet<u64>> {
    site.controller.observe(|seen| {
        let lines = seen.app_lines(site::APP).filter_map(|line| line.content.rsplit_once("tick "));
        lines.map(|(_, tick)| tick.trim().parse().with_context(|| format!("`{tick}` is no number"))).collect()
    })
}

/// The one that says nothing wrong, and too much of it.
const FLOOD: &str = "lie-flood";

/// What dom0 says of each liar.
const LIES: [(&str, &str); 6] = [
    ("lie-version", "version 99"),
    ("lie-index", "producer index announces"),
    ("lie-length", "65535"),
    ("lie-garbage", "no message of this channel"),
    ("lie-torn", "is ended: "),
    (FLOOD, "lines not shown"),
];

fn liars(stage: &Stage<'_>) -> Result<()> {
    let arch = stage.built().arch;
    let guest = built::domain(arch, "tests-guest", "guest")?;
    let attacker = built::domain(arch, "tests-guest-attacker", "attacker")?;
    let images = BTreeMap::from([("guest".to_owned(), guest.clone()), ("attacker".to_owned(), attacker)]);
    let entries = built::entries(&format!("liars-{}", arch.name()), &images, &[("guest.elf", &guest)])?;
    let mut machine = stage.start(&stage.direct_with(|all| {
        *all = entries;
        Ok(())
    })?)?;
    finished(&mut machine, "guest", Duration::from_secs(400))?;
    let lines = machine.lines();
    for (liar, words) in LIES {
        let told = lines.iter().find(|line| {
            line.who == "dom0" && line.text.contains(&format!("domain {liar}")) && line.text.contains(words)
        });
        println!("     {}", told.with_context(|| format!("dom0 said nothing of {liar} with `{words}`"))?);
    }
    // Those who lied are ended, the one that floods is not; the guest's children fault on purpose.
    let liars = LIES.iter().filter(|(liar, _)| *liar != FLOOD).map(|(liar, _)| format!("domain {liar} "));
    let children = (0..=u8::MAX).map(|child| format!("{child:02x}").repeat(4));
    // One may speak before dom0 has said who it is.
    let expected: Vec<String> = liars.chain(children).chain(["as ordered".into()]).collect();
    stage.end_but(machine, &expected.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Cases of the attacker in control's place. One that leaves some out must not pass.
const INTRUSIONS: u32 = 141;

/// What dom0 says of what control does, a life each, and what net, storage and vault say in the same life.
const BROKEN: [(&str, &str); 8] = [
    ("producer index announces", "producer index announces"),
    ("producer index announces", "producer index announces"),
    ("consumer index claims", "consumer index claims"),
    ("announces 65535 bytes", "announces 65535 bytes"),
    ("7 bytes are no message", "7 bytes are no message"),
    ("the peer has closed the channel", "the peer has closed the channel"),
    ("bytes follow the end", "speaks version 99"),
    ("bytes are no message", "which is no channel"),
];

fn intruder(stage: &Stage<'_>) -> Result<()> {
    let built = stage.built();
    let attacker = built::domain(built.arch, "tests-guest-attacker", "attacker")?;
    let image = |name: &str| paths::read(&built.image(name));
    let images = BTreeMap::from([
        ("net".to_owned(), image("net")?),
        ("storage".to_owned(), image("storage")?),
        ("vault".to_owned(), image("vault")?),
        ("attacker".to_owned(), attacker),
    ]);
    let neighbour = image(build::SAMPLE)?;
    let board = format!("intruder-{}", built.arch.name());
    let entries = built::entries(&board, &images, &[("neighbour.elf", &neighbour)])?;
    let mut machine = stage.start(&stage.direct_with(|all| {
        *all = entries;
        Ok(())
    })?)?;
    let ok = finished(&mut machine, "attacker", Duration::from_secs(400))?;
    let lines = machine.lines();
    let told = |who: &str, subject: &str| -> Vec<&str> {
        let told = lines.iter().filter(|line| line.who == who && line.text.contains(subject));
        told.map(|line| line.text.as_str()).collect()
    };
    // Each lie was told of once, by whom it was told to, in the order of the lies.
    let (to_dom0, to_others) = (BROKEN.map(|(dom0, _)| dom0), BROKEN.map(|(_, others)| others));
    for (who, subject, expected) in [
        ("dom0", "domain control: channel device: ", to_dom0),
        ("net", "channel network: ", to_others),
        ("storage", "channel storage: ", to_others),
        ("vault", "channel vault: ", to_others),
    ] {
        let told = told(who, subject);
        let right = told.len() == expected.len()
            && told.iter().zip(expected).all(|(line, words)| line.contains(words));
        ensure!(right, "{who} told of the lies:\n{told:#?}\ninstead of\n{expected:#?}");
        told.iter().for_each(|line| println!("     {who}: {line}"));
    }
    let ended = lines.iter().find(|line| {
        line.who == "dom0" && line.text.contains("is ended") && !line.text.contains("domain control")
    });
    ensure!(ended.is_none(), "another domain died: {}", ended.map(ToString::to_string).unwrap_or_default());
    ensure!(ok == INTRUSIONS, "{ok} cases of {INTRUSIONS} were told");
    stage.end_but(machine, &["domain control "])
}

/// Cases of the attacker in control's place with storage and vault. One that leaves some out must not pass.
const DEMANDS: u32 = 38;
/// From dom0's first instruction until it ends vault, in milliseconds: in the midst of the flood with which control begins.
const VAULT_ENDS_MS: u32 = 8000;

/// The image's own system, but for the domain in control's place, started from slot A by its firmware.
fn taken_over(stage: &Stage<'_>) -> Result<()> {
    let arch = stage.built().arch;
    let attacker = built::domain(arch, "tests-guest-attacker", "attacker")?;
    let disk = stage.disk(None)?;
    let options = Options { reboot: true, tpm: Some(Tpm::new(disk.arch)), ..disk };
    let image = selector::image(&options)?;
    let step = ui::step("put the attacker into slot A");
    // A slot of aarch64 carries no such words.
    let dom0_words = match arch {
        Arch::X86_64 => format!("drill=vault:{VAULT_ENDS_MS}:1"),
        Arch::Aarch64 => String::new(),
    };
    let built = Built { dom0_words, ..stage.built().clone() };
    let mut pieces = Pieces::of(&built, stage.stock(), &Key::test()?)?;
    pieces.release(slot::VERSION)?;
    pieces.change_archive(|entries| {
        edit_table(entries, |table| {
            let control = table.domains.iter_mut().filter(|domain| domain.name.as_str() == "control");
            control.for_each(|control| control.sha256 = Sha256::digest(&attacker).into());
        })?;
        entries.insert(format!("{IMAGES}control"), attacker).context("the archive has no control")?;
        Ok(())
    })?;
    let signed = pieces.sign(stage.stock(), &Key::test()?, &step)?;
    selector::write_slot(&image, Slot::A, &signed)?;
    step.done("");
    let selectors = || match arch {
        Arch::X86_64 => selector::selectors(&image),
        // U-Boot keeps its variables in a file beside the first.
        Arch::Aarch64 => selector::programs(&image, arch),
    };
    let before = selectors()?;
    let mut machine = stage.start(&options)?;
    let ok = finished(&mut machine, "attacker", Duration::from_secs(400))?;
    ensure!(ok == DEMANDS, "{ok} cases of {DEMANDS} were told");
    let lines = machine.lines();
    let refused = lines.iter().filter(|line| line.text.contains("control is refused: "));
    refused.for_each(|line| println!("     {line}"));
    served(&lines, arch)?;

    // What runs is on the disk as it was, and is what the next start takes.
    machine.reset()?;
    machine.wait_for("selector: slot A (priority 2, tries 0, proven): it has proven itself", PATIENCE)?;
    machine.wait_for_from("dom0", "boot: slot A, version", PATIENCE)?;
    let mut bytes = vec![0; signed.len()];
    let start = selector::slot_start(&image, Slot::A)?;
    File::open(&image)?.read_exact_at(&mut bytes, start)?;
    ensure!(bytes == signed, "the slot that runs was changed");
    ensure!(before == selectors()?, "a selector was changed");
    let (running, other) = (selector::state(&image, Slot::A)?, selector::state(&image, Slot::B)?);
    ensure!(running == State::ACTIVE && other == State::UNUSED, "the slots are {running} and {other}");
    stage.end_but(machine, &["boot reason", "is ended: it was ordered"])
}

/// Others were served beside the flood: vault, which dom0 has ended in its midst, was there anew, and storage got its key.
fn served(lines: &[Line], arch: Arch) -> Result<()> {
    let mut rest = lines.iter();
    let mut next = |who: &str, words: &str| {
        let found = rest.find(|line| line.who == who && line.text.contains(words));
        found.with_context(|| format!("{who} did not say `{words}` in its turn"))
    };
    let begin = next("control", "attacker floods storage and vault")?;
    if arch == Arch::X86_64 {
        let killed = next("dom0", "drill 1: domain vault")?;
        let open = next("storage", "the store is open")?;
        let took = open.at.saturating_sub(killed.at);
        println!("     vault was ended, and the store open again {:.1} s later", took.as_secs_f64());
    }
    let end = next("control", "attacker floods no more")?;
    println!("     after {:.1} s {end}", end.at.saturating_sub(begin.at).as_secs_f64());
    Ok(())
}
