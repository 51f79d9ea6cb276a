//! The page as a whole.

use crate::state::State;
use crate::web::html::Html;
use crate::web::parts;

/// The page, complete without its script.
pub(super) fn page(state: &State) -> String {
    let mut html = Html::default();
    html.raw(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\"><title>Sarsen controller</title>\
         <link rel=\"icon\" href=\"/icon.svg\" type=\"image/svg+xml\">\
         <link rel=\"stylesheet\" href=\"/style.css\"><script src=\"/script.js\" defer></script>\
         <noscript><meta http-equiv=\"refresh\" content=\"5\"></noscript></head><body>\
         <a class=\"skip\" href=\"#log-title\">Skip to the log</a>\
         <header class=\"top\"><h1><span class=\"stones\" aria-hidden=\"true\"></span>Sarsen controller</h1>\
         <p id=\"link\" role=\"status\" class=\"link\">static</p></header><main>",
    );
    html.raw("<ul class=\"tiles\" id=\"part-summary\" aria-label=\"Summary\">");
    parts::summary(&mut html, state);
    html.raw("</ul>");
    section(&mut html, "devices", "Devices", |html| parts::devices(html, state));
    section(&mut html, "apps", "Applications", |html| parts::apps(html, state));
    html.raw(
        "<section aria-labelledby=\"log-title\"><div class=\"bar\"><h2 id=\"log-title\">Live log</h2>\
         <fieldset><legend class=\"hidden\">Which lines</legend>\
         <label><input type=\"radio\" name=\"source\" value=\"all\" checked> all</label>\
         <label><input type=\"radio\" name=\"source\" value=\"device\"> device</label>\
         <label><input type=\"radio\" name=\"source\" value=\"app\"> applications</label></fieldset>\
         <label class=\"find\"><span class=\"hidden\">Lines that contain</span>\
         <input type=\"search\" id=\"find\" placeholder=\"Filter\" autocomplete=\"off\"></label>\
         <label><input type=\"checkbox\" id=\"follow\" checked> follow</label></div>\
         <ol class=\"log\" id=\"log\" role=\"log\" aria-live=\"off\" aria-labelledby=\"log-title\" tabindex=\"0\">",
    );
    parts::log(&mut html, state);
    html.raw("</ol></section>");
    section(&mut html, "violations", "Violations", |html| parts::violations(html, state));
    section(&mut html, "config", "Configuration", |html| parts::config(html, state));
    section(&mut html, "events", "Events", |html| parts::events(html, state));
    html.raw(
        "<p id=\"say\" class=\"hidden\" role=\"status\"></p></main>\
         <footer><p>For development and tests. <a href=\"/api/state\">State as JSON</a> · \
         <a href=\"/api/log\">Log as JSON</a></p></footer></body></html>",
    );
    html.finish()
}

fn section(html: &mut Html, id: &'static str, title: &'static str, body: impl FnOnce(&mut Html)) {
    html.raw("<section aria-labelledby=\"").raw(id).raw("-title\"><h2 id=\"").raw(id).raw("-title\">");
    html.raw(title).raw("</h2><div id=\"part-").raw(id).raw("\" class=\"part ").raw(id).raw("\">");
    body(html);
    html.raw("</div></section>");
}
