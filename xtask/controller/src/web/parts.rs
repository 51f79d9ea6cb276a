//! The parts of the page that change, each as markup of its own.

use crate::clock::rfc3339;
use crate::compile::app_uuid;
use crate::desired::App;
use crate::observed::{DeviceView, LogLine, ObjectKind, ObjectView};
use crate::state::State;
use crate::web::device;
use crate::web::html::Html;

/// How many log lines and events the page shows before its script takes over.
const RECENT: usize = 200;

/// A part of the page by its name in the path, or nothing.
pub(super) fn part(name: &str, state: &State) -> Option<String> {
    let mut html = Html::default();
    match name {
        "summary" => summary(&mut html, state),
        "devices" => devices(&mut html, state),
        "apps" => apps(&mut html, state),
        "violations" => violations(&mut html, state),
        "config" => config(&mut html, state),
        "events" => events(&mut html, state),
        _ => return None,
    }
    Some(html.finish())
}

/// The line of numbers at the top.
pub(super) fn summary(html: &mut Html, state: &State) {
    let observed = &state.observed;
    let apps = observed.devices.values().flat_map(|device| device.objects.values());
    let running = apps.filter(|object| object.kind == ObjectKind::App && object.state == "RUNNING").count();
    let configured = state.desired.as_ref().map_or(0, |desired| desired.apps.len());
    tile(html, observed.devices.len(), "device", "devices", "");
    let attested = observed.devices.values().filter(|device| device.attested).count();
    tile(html, attested, "device attested", "devices attested", "");
    tile(html, running, "app running", "apps running", "");
    tile(html, configured, "app configured", "apps configured", "");
    let mistakes = state.config_errors.len();
    if mistakes > 0 {
        tile(html, mistakes, "configuration mistake", "configuration mistakes", "bad");
    }
    let tone = if observed.violations.is_empty() { "" } else { "bad" };
    tile(html, observed.violations.len(), "violation", "violations", tone);
}

fn tile(html: &mut Html, count: usize, one: &'static str, many: &'static str, tone: &'static str) {
    html.raw("<li class=\"tile ").raw(tone).raw("\"><strong>").number(count as u64).raw("</strong> ");
    html.raw(if count == 1 { one } else { many }).raw("</li>");
}

/// A card for each device.
pub(super) fn devices(html: &mut Html, state: &State) {
    if state.observed.devices.is_empty() {
        html.raw("<p class=\"empty\">No device has registered yet. Waiting for one at <code>");
        html.text(&state.api_url).raw("</code>.</p>");
    }
    for device in state.observed.devices.values() {
        device::card(html, device, state.versions.version);
    }
}

/// The table of applications: those configured, and those that a device reports beside them.
pub(super) fn apps(html: &mut Html, state: &State) {
    let configured = state.desired.as_ref().map_or(&[][..], |desired| desired.apps.as_slice());
    let mut rows: Vec<(Option<&App>, Option<&ObjectView>, Option<&DeviceView>)> = Vec::new();
    for device in state.observed.devices.values() {
        let mut reported: Vec<&ObjectView> =
            device.objects.values().filter(|object| object.kind == ObjectKind::App).collect();
        for app in configured {
            let id = app_uuid(device.uuid, &app.name).to_string();
            let at = reported.iter().position(|object| object.id == id);
            rows.push((Some(app), at.map(|at| reported.remove(at)), Some(device)));
        }
        rows.extend(reported.into_iter().map(|object| (None, Some(object), Some(device))));
    }
    if state.observed.devices.is_empty() {
        rows.extend(configured.iter().map(|app| (Some(app), None, None)));
    }
    if rows.is_empty() {
        html.raw(
            "<p class=\"empty\">No applications. Add an <code>[[app]]</code> to the configuration file.</p>",
        );
        return;
    }
    html.raw(
        "<div class=\"scroll\"><table><thead><tr><th scope=\"col\">Application</th><th scope=\"col\">State</th>\
         <th scope=\"col\">Wanted</th><th scope=\"col\">Booted</th><th scope=\"col\">Way</th>\
         <th scope=\"col\">Device</th></tr></thead><tbody>",
    );
    for (app, object, device) in rows {
        app_row(html, app, object, device);
    }
    html.raw("</tbody></table></div>");
    for device in state.observed.devices.values() {
        other_objects(html, device);
    }
}

fn app_row(html: &mut Html, app: Option<&App>, object: Option<&ObjectView>, device: Option<&DeviceView>) {
    let name = app.map(|app| app.name.as_str()).or(object.map(|object| object.name.as_str()));
    html.raw("<tr><th scope=\"row\">").text(name.unwrap_or_default());
    if let Some(app) = app {
        html.raw("<small>").number(app.memory_kib).raw(" KiB, ").number(app.vcpus).raw(" vCPU");
        html.raw("</small>");
    }
    html.raw("</th><td>");
    match object {
        Some(object) if object.deleted => badge(html, "GONE"),
        Some(object) => badge(html, or_none(&object.state)),
        None => badge(html, "NOT REPORTED"),
    }
    for error in object.iter().flat_map(|object| &object.errors) {
        html.raw("<p class=\"error\">").text(error).raw("</p>");
    }
    html.raw("</td><td>").raw(match app {
        Some(app) if app.activate => "active",
        Some(_) => "stopped",
        None => "removed",
    });
    html.raw("</td><td>");
    moment(html, object.map_or(0, |object| object.boot_ms));
    html.raw("</td><td class=\"way\">");
    let states = object.map_or(&[][..], |object| object.states.as_slice());
    for (index, state) in states.iter().skip(states.len().saturating_sub(8)).enumerate() {
        html.raw(if index > 0 { " → " } else { "" }).text(&friendly(state));
    }
    html.raw("</td><td class=\"id\">");
    if let Some(device) = device {
        html.text(device.uuid.to_string().get(..8).unwrap_or_default());
    }
    html.raw("</td></tr>");
}

/// Volumes, content and the like, folded away.
fn other_objects(html: &mut Html, device: &DeviceView) {
    let others: Vec<&ObjectView> =
        device.objects.values().filter(|object| object.kind != ObjectKind::App).collect();
    if others.is_empty() {
        return;
    }
    html.raw("<details data-key=\"objects-")
        .text(&device.uuid.to_string())
        .raw("\"><summary>Content and volumes (");
    html.number(others.len() as u64).raw(")</summary><div class=\"scroll\"><table><tbody>");
    for object in others {
        html.raw("<tr><td>").raw(object.kind.name()).raw("</td><th scope=\"row\">").text(&object.name);
        html.raw("</th><td>");
        badge(html, if object.deleted { "GONE" } else { or_none(&object.state) });
        if object.progress > 0 && object.progress < 100 {
            html.raw(" ").number(object.progress).raw(" %");
        }
        for error in &object.errors {
            html.raw("<p class=\"error\">").text(error).raw("</p>");
        }
        html.raw("</td><td class=\"id\">").text(&object.id).raw("</td></tr>");
    }
    html.raw("</tbody></table></div></details>");
}

/// Deviations, newest first.
pub(super) fn violations(html: &mut Html, state: &State) {
    let violations = &state.observed.violations;
    if violations.is_empty() {
        html.raw("<p class=\"empty\">None. Every request so far kept to the protocol.</p>");
        return;
    }
    html.raw(
        "<div class=\"scroll\"><table><thead><tr><th scope=\"col\">When</th><th scope=\"col\">Verdict</th>\
         <th scope=\"col\">Reason</th><th scope=\"col\">Request</th></tr></thead><tbody>",
    );
    for violation in violations.iter().rev().take(RECENT) {
        html.raw("<tr><td>");
        moment(html, violation.at_ms);
        html.raw("</td><td>");
        match violation.refused {
            Some(status) => {
                html.raw("<span class=\"badge bad\">refused, ").number(status).raw("</span>");
            }
            None => {
                html.raw("<span class=\"badge busy\">remark</span>");
            }
        }
        html.raw("</td><td>").text(&violation.reason).raw("</td><td class=\"id\">").text(&violation.request);
        html.raw("</td></tr>");
    }
    html.raw("</tbody></table></div>");
}

/// Version and mistakes of the configuration file.
pub(super) fn config(html: &mut Html, state: &State) {
    html.raw("<p>Version <strong>").number(state.versions.version).raw("</strong>, from <code>");
    html.text(&state.config_name).raw("</code></p>");
    if let Some(base) = state.desired.as_ref().and_then(|desired| desired.base.as_ref()) {
        html.raw("<p>System: version <strong>").text(&base.version).raw("</strong> from <code>");
        html.text(&base.content).raw("</code>, ").text(&bytes(base.size_bytes));
        html.raw(if base.activate { "</p>" } else { ", not to be started</p>" });
    }
    if !state.config_errors.is_empty() {
        html.raw("<ul class=\"errors\">");
        for error in &state.config_errors {
            html.raw("<li class=\"error\">").text(&error.to_string()).raw("</li>");
        }
        html.raw("</ul>");
    }
}

/// Life events, newest first.
pub(super) fn events(html: &mut Html, state: &State) {
    html.raw("<ol class=\"events\">");
    for event in state.observed.events.iter().rev().take(RECENT) {
        html.raw("<li>");
        moment(html, event.at_ms);
        html.raw(" ").text(&event.text).raw("</li>");
    }
    html.raw("</ol>");
}

/// The last log lines, oldest first; the script replaces them and goes on from there.
pub(super) fn log(html: &mut Html, state: &State) {
    let logs = &state.observed.logs;
    for line in logs.iter().skip(logs.len().saturating_sub(RECENT)) {
        log_line(html, line);
    }
}

fn log_line(html: &mut Html, line: &LogLine) {
    html.raw("<li class=\"").raw(severity_class(&line.severity)).raw("\"><time>");
    html.text(rfc3339(line.at_ms).get(11..23).unwrap_or_default()).raw("</time> <b>");
    html.text(if line.app.is_some() { &line.app_name } else { &line.source }).raw("</b> <span>");
    html.text(&line.content).raw("</span></li>");
}

fn severity_class(severity: &str) -> &'static str {
    match severity {
        "emerg" | "alert" | "crit" | "critical" | "err" | "error" | "panic" | "fatal" => "err",
        "warn" | "warning" => "warn",
        "debug" | "trace" => "debug",
        _ => "info",
    }
}

/// A moment, which the script turns into "5 s ago".
pub(super) fn moment(html: &mut Html, ms: i64) {
    if ms == 0 {
        html.raw("–");
        return;
    }
    let text = rfc3339(ms);
    html.raw("<time class=\"ago\" datetime=\"").text(&text).raw("\">");
    html.text(text.get(11..19).unwrap_or_default()).raw(" UTC</time>");
}

/// A state as a label whose colour repeats what its text says.
pub(super) fn badge(html: &mut Html, state: &str) {
    html.raw("<span class=\"badge ").raw(match state {
        "RUNNING" | "ONLINE" | "DELIVERED" | "LOADED" | "VERIFIED" | "CREATED_VOLUME" | "ACTIVATED"
        | "active" | "ENABLED" => "good",
        "ERROR" | "MAINTENANCE_MODE" => "bad",
        "HALTED" | "GONE" | "NOT REPORTED" | "–" | "INSTALLED" | "unused" => "off",
        _ => "busy",
    });
    html.raw("\">").text(&friendly(state)).raw("</span>");
}

/// `DOWNLOAD_STARTED` as people write it.
pub(super) fn friendly(state: &str) -> String {
    state.replace('_', " ").to_lowercase()
}

pub(super) fn or_none(text: &str) -> &str {
    if text.is_empty() { "–" } else { text }
}

pub(super) fn bytes(count: u64) -> String {
    match count {
        0..1024 => format!("{count} B"),
        1024..1_048_576 => format!("{} KiB", count >> 10),
        _ => format!("{} MiB", count >> 20),
    }
}
