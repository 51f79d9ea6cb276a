use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt;

use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls_pki_types::ServerName;
use spin::Mutex;

/// Servers that are remembered; the one that was met first is forgotten first.
const MAX_SERVERS: usize = 4;
/// Tickets that are kept of one server. Go sends one for each connection, OpenSSL two.
const MAX_TICKETS: usize = 4;

/// Sessions that can be resumed, which spares the public-key operations of a full handshake. One set belongs to one
/// configuration, so new roots never inherit what old ones accepted.
#[derive(Default)]
pub(super) struct Tickets {
    servers: Mutex<VecDeque<Server>>,
}

struct Server {
    name: ServerName<'static>,
    group: Option<NamedGroup>,
    tls12: Option<Tls12ClientSessionValue>,
    tls13: Vec<Tls13ClientSessionValue>,
}

impl Tickets {
    fn change(&self, name: ServerName<'static>, change: impl FnOnce(&mut Server)) {
        let mut servers = self.servers.lock();
        if let Some(server) = servers.iter_mut().find(|server| server.name == name) {
            return change(server);
        }
        if servers.len() == MAX_SERVERS {
            servers.pop_front();
        }
        let mut server = Server { name, group: None, tls12: None, tls13: Vec::new() };
        change(&mut server);
        servers.push_back(server);
    }

    fn look<T>(&self, name: &ServerName<'_>, look: impl FnOnce(&mut Server) -> Option<T>) -> Option<T> {
        let mut servers = self.servers.lock();
        servers.iter_mut().find(|server| &server.name == name).and_then(look)
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tickets")
    }
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, name: ServerName<'static>, group: NamedGroup) {
        self.change(name, |server| server.group = Some(group));
    }

    fn kx_hint(&self, name: &ServerName<'_>) -> Option<NamedGroup> {
        self.look(name, |server| server.group)
    }

    fn set_tls12_session(&self, name: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.change(name, |server| server.tls12 = Some(value));
    }

    fn tls12_session(&self, name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.look(name, |server| server.tls12.clone())
    }

    fn remove_tls12_session(&self, name: &ServerName<'static>) {
        self.look(name, |server| server.tls12.take());
    }

    fn insert_tls13_ticket(&self, name: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.change(name, |server| {
            if server.tls13.len() == MAX_TICKETS {
                server.tls13.remove(0);
            }
            server.tls13.push(value);
        });
    }

    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.look(name, |server| server.tls13.pop())
    }
}
