//! All targets, by whose bytes they read.

mod agent;
mod boot;
mod console;
mod controller;
mod device;
mod disk;
mod dom0;
mod ends;
mod eve;
mod frames;
mod input;
mod manifest;
mod names;
mod pci;
mod rings;
mod selector;
mod storage;
mod svc;
mod tool;
mod tpm;
mod web;

use crate::Target;

macro_rules! targets {
    ($($name:ident: $run:path, $seeds:path, $about:literal;)+) => {
        /// All of them.
        pub const TARGETS: &[Target] = &[
            $(Target { name: stringify!($name), about: $about, run: $run, seeds: $seeds },)+
        ];

        #[cfg(test)]
        mod tests {
            use std::time::Duration;

            use crate::run::{Bounds, bounded};

            $(
                #[test]
                fn $name() {
                    let bounds = Bounds { inputs: 20_000, time: Duration::from_secs(1) };
                    let target = crate::find(stringify!($name)).unwrap();
                    assert!(!(target.seeds)().is_empty(), "a target brings seeds");
                    bounded(target, 1, bounds);
                }
            )+

            /// What lies in the corpus of no target is run by nobody.
            #[test]
            fn every_folder_of_the_corpus_is_a_target() {
                let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
                for entry in std::fs::read_dir(corpus).unwrap() {
                    let name = entry.unwrap().file_name().into_string().unwrap();
                    assert!(name == "README.md" || crate::find(&name).is_some(), "{name}");
                }
            }
        }
    };
}

targets! {
    archive: manifest::archive, manifest::archives, "dom0: the ramdisk";
    table: manifest::table, manifest::tables, "dom0: the table in the ramdisk";
    wiring: manifest::wiring, manifest::wirings, "a domain: its wiring record";
    board: manifest::board, manifest::boards, "the host tool: a board's TOML file";
    elf: manifest::elf, manifest::elves, "dom0: an application's image";
    start_info: boot::start_info, boot::start_infos, "a domain: the loader's start info";
    device_tree: boot::device_tree, boot::device_trees, "dom0 on aarch64: the device tree";
    start_tree: boot::start_tree, boot::start_trees, "the selector on aarch64: the firmware's device tree";
    acpi: boot::acpi, boot::tables, "dom0: the firmware's tables";
    pci_card: pci::card, pci::cards, "dom0: what a PCI card says of its registers and interrupts";
    partition_table: disk::partition_table, disk::partition_tables, "the selector: both copies of the partition table";
    slot_header: disk::slot_header, disk::slots, "the selector: a slot's header and contents";
    selector_volume: selector::volume, selector::volume_changes, "storage: a partition of a selector, as it is compared";
    update_payload: disk::payload, disk::payloads, "control: an update's payload";
    handoff: disk::handoff, disk::handoffs, "dom0: the selector's record, bare and in its ACPI table; what outlives a reset";
    request_ring_back: rings::request_ring_back, rings::schedules, "a backend: the front rewrites the page";
    request_ring_front: rings::request_ring_front, rings::schedules, "a frontend: the back rewrites the page";
    stream: rings::stream, rings::schedules, "an end of a byte stream: the peer rewrites the page";
    channel_frames: rings::channel_frames, rings::schedules, "an end of a channel: the peer rewrites the page";
    console_ends: console::ends, console::schedules, "dom0 and applications: the page of a console";
    console_lines: rings::console_lines, rings::texts, "dom0: what an application prints";
    svc_supervision: svc::supervision, svc::supervisions, "dom0 and the services: messages of channel `dom0`";
    svc_device: svc::device, svc::devices, "dom0 and control: messages of channel `device`";
    svc_network: svc::network, svc::networks, "net and control: messages of channel `network`";
    svc_storage: svc::storage, svc::storages, "storage and control: messages of channel `storage`";
    svc_vault: svc::vault, svc::vaults, "vault and control: messages of channel `vault`";
    svc_sealing: svc::sealing, svc::sealings, "vault and storage: messages of channel `sealing`";
    svc_measure: svc::measure, svc::measures, "vault and dom0: messages of channel `measure`";
    tpm_answer: tpm::answer, tpm::answers, "vault: what a TPM answers";
    tpm_session: tpm::session, tpm::sessions, "vault: what a TPM answers in a session";
    vault_record: tpm::record, tpm::records, "vault: what the storage had kept for it";
    vault_kept: tpm::kept, tpm::kepts, "vault: all that the storage had kept for it, over two lives";
    event_log: tpm::event_log, tpm::event_logs, "control, the controller: the firmware's event log";
    final_events: dom0::final_events, dom0::final_event_tables, "dom0: the firmware's log, and the table of events that came after";
    store_image: storage::store_image, storage::store_images, "storage: what lies on its disk";
    storage_requests: storage::storage_requests, storage::storage_request_lists, "storage: what control asks for";
    requests: svc::requests, svc::request_lists, "dom0: what control asks for";
    netif_tx: frames::netif_tx, frames::tx_slots, "net: the slots of a frontend's packets";
    netif_slots: frames::netif_slots, frames::tx_slots, "both ends of a vif: each kind of slot";
    packet: frames::packet, frames::packets, "net: IPv4 and ARP";
    forward: frames::forward, frames::conversations, "net: frames from the wire and from guests, over time";
    e1000e_card: board_support_drv::nic::e1000e::fuzz::card, device::cards, "net: an e1000e network card";
    virtio_queue: board_support_drv::virtio::fuzz::queue, device::schedules, "net: a virtio device's used ring";
    virtio_card: board_support_drv::virtio::fuzz::card, device::schedules, "net: a virtio network card";
    nvme_controller: board_support_drv::nvme::fuzz::controller, device::disks, "storage: an NVMe controller";
    virtio_blk: board_support_drv::virtio::blk::fuzz::disk, device::disks, "storage: a disk of the virtio family";
    tpm_tis: board_support_drv::tpm::fuzz::tis, device::schedules, "vault: the registers of a TPM with a FIFO";
    tpm_crb: board_support_drv::tpm::fuzz::crb, device::schedules, "vault: the registers of a TPM with a buffer";
    vif_back: ends::vif_back, ends::vif_schedules, "net: a guest's rings, grants and frames";
    vif_front: ends::vif_front, ends::vif_schedules, "control: net's side of its rings";
    channel: ends::channel, ends::channel_schedules, "dom0 and control: all that the other writes of channel `device`";
    last_words: dom0::last_words, dom0::epitaphs, "dom0: the page that a dead service leaves";
    outbox: dom0::outbox, dom0::lives, "dom0: what control says it has taken";
    typed: dom0::typed, dom0::typings, "dom0: the serial line";
    http_answer: stubdoms_web::fuzz::http_response, web::answers, "control: an HTTP answer, chunked or not";
    exchange: web::exchange, web::answers, "control: a connection's bytes, cut anywhere";
    url: stubdoms_web::fuzz::url, web::urls, "control: URLs, redirects, Content-Range";
    hosts: names::hosts, names::files, "control: the provisioned hosts file";
    dns_answer: stubdoms_web::fuzz::dns_answer, web::dns_answers, "control: a DNS answer";
    dns_lookup: web::dns_lookup, web::dns_answers, "control: packets from anybody during a lookup";
    http_date: stubdoms_web::fuzz::http_date, web::dates, "control: the date in an HTTP answer";
    sntp_answer: stubdoms_web::fuzz::sntp_answer, web::times, "control: a time server's answer";
    sntp_query: web::sntp_query, web::times, "control: packets from anybody while a time server is asked";
    tls_server: web::tls_server, web::tls_records, "control: a TLS server's records";
    envelope: eve::envelope, eve::envelopes, "control: the signed envelope";
    certs: eve::certs, eve::certs_seeds, "control: the controller's certificates";
    config: eve::config, eve::configs, "control: the configuration, as a message";
    config_bounds: eve::config_bounds, eve::configs, "control: the memory that a configuration takes";
    attest: eve::attest, eve::attests, "control: answers of attestation and of the identity";
    pem: eve::pem, eve::pems, "control: PEM text, keys and certificates in it";
    agent_kept: agent::kept, agent::all_kept, "control: what storage has kept of earlier starts";
    agent_config: agent::config, eve::configs, "control: the configuration, applied";
    agent_answers: agent::answers, agent::answer_lists, "control: whatever a server answers";
    agent_notes: agent::notes, agent::notes_left, "control: what an earlier life left with dom0";
    identity_note: agent::identity_note, agent::identity_notes, "control: the note of its certificates that the vault had kept";
    provisioning: agent::provisioning, agent::files, "control: provisioning files";
    controller_request: controller::request, controller::requests, "the small controller: a device's request";
    controller_config: controller::config, controller::configs, "the small controller: its configuration file";
    apt_show: tool::apt_show, tool::offers, "the host tool: what the archive offers";
    apt_sources: tool::apt_sources, tool::source_lists, "the host tool: apt's source lists";
    console_speakers: tool::console_speakers, tool::consoles, "the host tool: lines of a machine's console";
    elf_libraries: tool::elf_libraries, tool::programs, "the host tool: ELF files and the libraries they need";
    elf_pack: tool::elf_pack, manifest::elves, "the host tool: ELF files to pack";
    qmp: tool::qmp, tool::qmp_lines, "the host tool: QEMU's control socket";
}
