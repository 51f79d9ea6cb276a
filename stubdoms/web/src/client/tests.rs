//! The whole way, on a wire in memory and in virtual time.

use alloc::boxed::Box;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::{vec, vec::Vec};
use core::cell::Cell;

use embassy_futures::join::join4;
use rustls::version;

use super::*;

use crate::test_net::*;
use crate::test_pki::{NOW, Pki, TestClock};
use crate::tls::TlsError;

/// A world with a far host, and what our side says about it.
struct Scene {
    world: Rc<World>,
    lose: Rc<dyn Fn() -> bool>,
}

impl Scene {
    fn new() -> Self {
        Self::with_loss(Rc::new(|| false))
    }

    fn with_loss(lose: Rc<dyn Fn() -> bool>) -> Self {
        Scene { world: Rc::default(), lose }
    }

    fn play<R>(
        &self,
        far: impl FnOnce(&mut FarHost),
        story: impl AsyncFnOnce(&Client<'_, End, VirtualTimer>) -> R,
    ) -> R {
        let (here, there) = wire(&self.world, self.lose.clone());
        let frames = here.frames();
        let stack = stack(here);
        let timer = VirtualTimer(self.world.clone());
        let client = Client::new(&stack, timer.clone(), entropy);
        client.resolver(|resolver| resolver.set_hosts("100.64.0.1 zed.example\n"));
        let mut host = FarHost::new(there);
        far(&mut host);
        let net = async {
            stack.run(&timer, frames).await;
        };
        let after = async {
            let result = story(&client).await;
            // Every port and buffer is free again once the far end knows.
            timer.sleep_until(timer.now() + Duration::from_secs(10)).await;
            result
        };
        let result = self.world.run(after, vec![Box::pin(net), Box::pin(host.run(self.world.clone()))]);
        assert_eq!(stack.sockets(), 0, "sockets are left");
        // And nothing is due any more: an idle stack does not tick.
        assert_eq!(stack.poll(self.world.now()), None);
        result
    }
}

fn get(url: &str) -> Request<'static> {
    Request::get(Url::parse(url).unwrap())
}

/// True once a request is complete.
fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    body.len() >= length.map_or(0, |length| length.parse().unwrap())
}

fn serving(head: &'static str, body: &'static [u8], then: Then) -> impl FnMut(&[u8]) -> Option<Reply> {
    move |request| is_whole(request).then(|| reply(head, body, then))
}

fn tls(client: &Client<'_, End, VirtualTimer>, pki: &Pki) {
    let clock = Arc::new(TestClock(Some(NOW)));
    client.set_tls(TlsConfig::new(&[pki.root_pem().as_bytes()], None, clock).unwrap());
}

const OK_3: &str = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n";

#[test]
fn plain_requests_run_side_by_side() {
    let scene = Scene::new();
    scene.play(
        |far| {
            far.serve(80, None, |request| {
                let path = String::from_utf8_lossy(request).split(' ').nth(1).unwrap().to_string();
                is_whole(request).then(|| {
                    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", path.len());
                    reply(&head, path.as_bytes(), Then::Close)
                })
            });
        },
        async |client| {
            let fetch = async |path: &str| {
                client.fetch(&get(&format!("http://zed.example/{path}"))).await.unwrap().body
            };
            let bodies = join4(fetch("a"), fetch("b"), fetch("c"), fetch("d")).await;
            assert_eq!(bodies, (b"/a".to_vec(), b"/b".to_vec(), b"/c".to_vec(), b"/d".to_vec()));
        },
    );
}

#[test]
fn a_post_under_tls_of_either_version() {
    for version in [&version::TLS12, &version::TLS13] {
        let pki = Pki::new("p256");
        let server = pki.server(&["zed.example"], version);
        let body = vec![7; 100_000];
        let expected = body.clone();
        Scene::new().play(
            |far| {
                far.serve(8443, Some(server), move |request| {
                    let end = request.ends_with(&expected) && request.starts_with(b"POST /api/v2 HTTP/1.1\r\n");
                    end.then(|| reply("HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", b"", Then::Leave))
                });
            },
            async |client| {
                let url = Url::of_server(Scheme::Https, "zed.example:8443", "/api/v2").unwrap();
                let request = Request::post(url, "application/x-proto-binary", &body).unwrap();
                assert_eq!(client.fetch(&request).await.unwrap_err().cause, Cause::NoTls);
                tls(client, &pki);
                for _ in 0..3 {
                    let response = client.fetch(&request).await.unwrap();
                    assert_eq!((response.status, &response.body[..]), (201, &b"hello"[..]));
                }
            },
        );
    }
}

#[test]
fn a_server_that_is_not_trusted_gets_no_request() {
    let (pki, other) = (Pki::new("p256"), Pki::named("p256", "another root"));
    let server = pki.server(&["zed.example"], &version::TLS13);
    Scene::new().play(
        |far| far.serve(443, Some(server), |_| panic!("the request was sent")),
        async |client| {
            tls(client, &other);
            let error = client.fetch(&get("https://zed.example/")).await.unwrap_err();
            assert_eq!(
                error.to_string(),
                "zed.example: the server's certificate does not lead to a provisioned root"
            );
            assert!(!error.is_remote_temporary());
            let clock = Arc::new(TestClock(Some(NOW)));
            let roots = [pki.root_pem()];
            let client = client.trusting(TlsConfig::new(&[roots[0].as_bytes()], None, clock).unwrap());
            let error = client.fetch(&get("https://100.64.0.1/")).await.unwrap_err();
            assert_eq!(error.tls(), Some(TlsError::NameMismatch));
        },
    );
}

#[test]
fn a_certificate_outside_its_dates_is_a_passing_fault() {
    let pki = Pki::new("p256");
    let server = pki.server(&["zed.example"], &version::TLS12);
    Scene::new().play(
        |far| far.serve(443, Some(server), |_| panic!("the request was sent")),
        async |client| {
            let clock = Arc::new(TestClock(Some(Duration::from_secs(1))));
            client.set_tls(TlsConfig::new(&[pki.root_pem().as_bytes()], None, clock).unwrap());
            let error = client.fetch(&get("https://zed.example/")).await.unwrap_err();
            assert!(error.is_remote_temporary());
            assert_eq!(
                error.to_string(),
                "zed.example: the server's certificate is valid from 2026-01-01T00:00:00Z on, \
                 and our clock says 1970-01-01T00:00:01Z"
            );
        },
    );
}

#[test]
fn names_come_from_dns_and_are_remembered() {
    let asked = Rc::new(Cell::new(0));
    let count = asked.clone();
    Scene::new().play(
        |far| {
            far.serve(80, None, serving(OK_3, b"abc", Then::Close));
            far.answer_dns(move |query| {
                count.set(count.get() + 1);
                // The first query is lost.
                (count.get() > 1).then(|| {
                    let mut answer = query.to_vec();
                    (answer[2], answer[3], answer[7]) = (0x81, 0x80, 1);
                    answer.extend(b"\xc0\x0c\0\x01\0\x01\0\0\x01\x2c\0\x04\x0a\x09\x08\x07");
                    answer
                })
            });
        },
        async |client| {
            let request = get("http://far.example/");
            let error = client.fetch(&request).await.unwrap_err();
            assert_eq!(error.cause, Cause::Resolve(ResolveError::NoServers));
            // Both are beyond the gateway.
            client.resolver(|r| r.set_servers(&[Ipv4Addr::new(9, 9, 9, 9), Ipv4Addr::new(8, 8, 8, 8)]));
            for _ in 0..2 {
                assert_eq!(client.fetch(&request).await.unwrap().body, b"abc");
            }
        },
    );
    assert_eq!(asked.get(), 2);
}

#[test]
fn a_name_that_nobody_answers_for_ends_in_time() {
    let scene = Scene::new();
    scene.play(
        |_| {},
        async |client| {
            client.resolver(|resolver| resolver.set_servers(&[FAR]));
            let error = client.fetch(&get("http://far.example:8080/")).await.unwrap_err();
            assert_eq!(error.to_string(), "far.example:8080: no DNS server answered 3 queries");
            assert_eq!(scene.world.now(), Duration::from_secs(7));
        },
    );
}

/// A time server that is right: 2027-01-01, of stratum 1.
fn new_year(question: &[u8]) -> Vec<u8> {
    let mut answer = vec![0x24, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, b'G', b'P', b'S', 0];
    answer.extend([0; 8]);
    answer.extend(&question[40..48]);
    let stamp = (1_798_761_600_u32.wrapping_add(2_208_988_800)).to_be_bytes();
    for _ in 0..2 {
        answer.extend(stamp);
        answer.extend([0; 4]);
    }
    answer
}

#[test]
fn the_time_comes_from_the_first_server_that_tells_it() {
    let scene = Scene::new();
    let asked = Rc::new(Cell::new(0));
    let count = asked.clone();
    scene.play(
        |far| {
            far.answer_dns(|query| {
                let mut answer = query.to_vec();
                // The name does not exist.
                (answer[2], answer[3]) = (0x81, 0x83);
                Some(answer)
            });
            far.answer_ntp(move |question| {
                count.set(count.get() + 1);
                // The first question is lost, and the second one answered by somebody who does not know.
                let mut answer = new_year(question);
                answer[1] = if count.get() == 2 { 16 } else { 1 };
                (count.get() > 1).then_some(answer)
            });
        },
        async |client| {
            client.resolver(|resolver| resolver.set_servers(&[FAR]));
            let servers = ["nowhere.example", "100.64.0.1:9", "100.64.0.1", "100.64.0.1"];
            let servers = servers.map(|server| sntp::Server::parse(server).unwrap());
            assert!(matches!(client.time(&servers[..1]).await, Err(sntp::TimeError::Resolve(_))));
            assert_eq!(client.time(&servers[1..2]).await, Err(sntp::TimeError::TimedOut { tries: 2 }));
            assert_eq!(client.time(&[]).await, Err(sntp::TimeError::NoServer));
            let (place, reading) = client.time(&servers).await.unwrap();
            assert_eq!(
                (place, reading.since_1970, reading.stratum),
                (3, Duration::from_secs(1_798_761_600), 1)
            );
            assert_eq!(reading.at, scene.world.now());
        },
    );
    assert_eq!(asked.get(), 3);
}

/// A body that differs everywhere.
fn megabyte() -> Vec<u8> {
    (0..1_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

#[test]
fn a_megabyte_comes_whole_with_and_without_loss() {
    for percent in [0u64, 5] {
        for secure in [false, true] {
            let seed = Cell::new(1u64);
            let lose = Rc::new(move || {
                seed.set(
                    seed.get()
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1_442_695_040_888_963_407),
                );
                (seed.get() >> 33) % 100 < percent
            });
            let scene = Scene::with_loss(lose);
            let pki = Pki::new("p256");
            let server = pki.server(&["zed.example"], &version::TLS13);
            scene.play(
                |far| {
                    far.serve(443, secure.then_some(server), |request| {
                        is_whole(request).then(|| {
                            reply(
                                "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n",
                                &megabyte(),
                                Then::Close,
                            )
                        })
                    });
                },
                async |client| {
                    tls(client, &pki);
                    let scheme = if secure { "https" } else { "http" };
                    let request = get(&format!("{scheme}://zed.example:443/image"));
                    let mut sink = vec![];
                    let response = client.download(&request, 1_000_000, &mut sink).await.unwrap();
                    assert_eq!((response.status, response.body.len()), (200, 0));
                    assert!(sink == megabyte());
                },
            );
        }
    }
}

#[test]
fn a_server_that_is_away_is_a_time_out() {
    let scene = Scene::with_loss(Rc::new(|| true));
    scene.play(
        |_| {},
        async |client| {
            let error = client.fetch(&get("http://zed.example/")).await.unwrap_err();
            assert_eq!(error.to_string(), "zed.example: no connection within 10 s (100.64.0.1:80)");
            assert_eq!(scene.world.now(), Duration::from_secs(10));
            assert!(!error.is_remote_temporary());
        },
    );
}

#[test]
fn a_request_may_have_a_time_of_its_own() {
    let scene = Scene::with_loss(Rc::new(|| true));
    scene.play(
        |_| {},
        async |client| {
            let request = get("http://zed.example/").within(Duration::from_secs(3));
            let error = client.fetch(&request).await.unwrap_err();
            assert_eq!(error.to_string(), "zed.example: connecting took more than 3 s");
            assert_eq!(error.class(), Class::Timeout);
            let error = client.download(&request, 10, &mut vec![]).await.unwrap_err();
            assert_eq!(error.class(), Class::Timeout);
            assert_eq!(scene.world.now(), Duration::from_secs(6));
        },
    );
}

#[test]
fn a_refused_connection_is_told_at_once() {
    let scene = Scene::new();
    scene.play(
        |_| {},
        async |client| {
            let error = client.fetch(&get("http://zed.example:81/")).await.unwrap_err();
            assert_eq!(error.to_string(), "zed.example:81: the connection was refused (100.64.0.1:81)");
            assert!(error.is_remote_temporary());
            assert!(scene.world.now() < Duration::from_secs(1));
        },
    );
}

#[test]
fn a_server_that_stays_silent_is_a_time_out() {
    for (secure, line) in [
        (false, "zed.example:443: waiting for the answer took more than 120 s"),
        (true, "zed.example: TLS handshake took more than 120 s"),
    ] {
        let scene = Scene::new();
        let pki = Pki::new("p256");
        scene.play(
            |far| far.serve(443, None, |_| None),
            async |client| {
                tls(client, &pki);
                let scheme = if secure { "https" } else { "http" };
                let error = client.fetch(&get(&format!("{scheme}://zed.example:443/"))).await.unwrap_err();
                assert_eq!(error.to_string(), line);
                assert_eq!(scene.world.now().as_secs(), 120);
            },
        );
    }
}

#[test]
fn a_cable_pulled_in_a_download_is_a_stall() {
    struct Cutter(Rc<Cell<bool>>, usize);
    impl Sink for Cutter {
        fn begin(&mut self, _: Start) -> Result<(), Refused> {
            Ok(())
        }
        async fn chunk(&mut self, bytes: &[u8]) -> Result<(), Refused> {
            self.1 += bytes.len();
            self.0.set(self.1 > 100_000);
            Ok(())
        }
    }
    // With the client's patience, and with that of the request.
    for (stall, seconds) in [(None, 60), (Some(Duration::from_secs(25)), 25)] {
        let cut = Rc::new(Cell::new(false));
        let lose = cut.clone();
        let scene = Scene::with_loss(Rc::new(move || lose.get()));
        scene.play(
            |far| {
                far.serve(80, None, |request| {
                    is_whole(request).then(|| {
                        reply("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", &megabyte(), Then::Close)
                    })
                });
            },
            async |client| {
                let mut sink = Cutter(cut, 0);
                let mut request = get("http://zed.example/");
                if let Some(stall) = stall {
                    request = request.stall_within(stall);
                }
                let error = client.download(&request, 1 << 20, &mut sink).await.unwrap_err();
                let wanted = format!("zed.example: receiving the answer took more than {seconds} s");
                assert_eq!(error.to_string(), wanted);
                assert!((100_000..1_000_000).contains(&sink.1));
            },
        );
    }
}

#[test]
fn a_host_that_does_not_answer_is_given_up_when_the_request_says() {
    for (dial, seconds) in [(None, 10), (Some(Duration::from_secs(3)), 3)] {
        let scene = Scene::with_loss(Rc::new(|| true));
        scene.play(
            |_| {},
            async |client| {
                let mut request = get("http://zed.example/");
                if let Some(dial) = dial {
                    request = request.dial_within(dial);
                }
                assert_eq!(client.fetch(&request).await.unwrap_err().class(), Class::Timeout);
                assert_eq!(scene.world.now().as_secs(), seconds);
            },
        );
    }
}

#[test]
fn broken_answers_end_in_one_clear_line() {
    let pki = Pki::new("p256");
    let endless = "HTTP/1.1 200 OK\r\n\r\nsome";
    for (secure, text, then, line) in [
        (false, OK_3, Then::Leave, "the answer ended after 0 of 3 bytes of its body"),
        (false, OK_3, Then::Reset, "the connection was reset"),
        (
            false,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
            Then::Leave,
            "the answer ended after 2 bytes, before its last chunk",
        ),
        (
            false,
            "HTTP/1.1 200 OK\r\nContent-Length: 1048577\r\n\r\n",
            Then::Hold,
            "the answer's body is longer than 1048576 bytes",
        ),
        (false, "HTTP/1.1 2", Then::Close, "the answer ended after 10 bytes of its head"),
        (false, "\x16\x03\x01\x02\r\n\r\n", Then::Hold, "the head of the answer is not HTTP/1.1"),
        (true, OK_3, Then::Close, "the answer ended after 0 of 3 bytes of its body"),
        (true, OK_3, Then::Leave, "the connection ended without TLS's closing message"),
        (true, endless, Then::Leave, "the connection ended without TLS's closing message"),
        (true, endless, Then::Reset, "the connection was reset"),
        (true, endless, Then::Close, ""),
        (false, endless, Then::Leave, ""),
    ] {
        let server = secure.then(|| pki.server(&["zed.example"], &version::TLS13));
        Scene::new().play(
            |far| far.serve(443, server, serving(text, b"", then)),
            async |client| {
                tls(client, &pki);
                let scheme = if secure { "https" } else { "http" };
                match client.fetch(&get(&format!("{scheme}://zed.example:443/"))).await {
                    Ok(response) => assert_eq!((response.body, line), (b"some".to_vec(), "")),
                    Err(error) => {
                        assert_eq!(error.cause.to_string(), line, "{text} secure: {secure}");
                        // Whoever resumes downloads goes on where a connection ended, and not what is no HTTP.
                        let ended = line.contains("ended after") || line.contains("was reset");
                        assert_eq!(error.class() == Class::Connect, ended, "{line}");
                    }
                }
            },
        );
    }
}

#[test]
fn an_answer_before_the_end_of_the_request_is_heard() {
    Scene::new().play(
        |far| {
            far.serve(80, None, |_| {
                Some(reply("HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno", b"", Then::Hold))
            });
        },
        async |client| {
            let url = Url::parse("http://zed.example/").unwrap();
            let request = Request::post(url, "text/plain", vec![0; 900_000]).unwrap();
            let response = client.fetch(&request).await.unwrap();
            assert_eq!((response.status, &response.body[..]), (413, &b"no"[..]));
        },
    );
}

#[test]
fn downloads_follow_redirects_within_bounds() {
    let pki = Pki::new("p256");
    let server = pki.server(&["zed.example"], &version::TLS13);
    let service = |request: &[u8]| {
        let text = String::from_utf8_lossy(request).to_string();
        let to = |place: &str| {
            let head = format!("HTTP/1.1 302 Found\r\nLocation: {place}\r\nContent-Length: 4\r\n\r\nmove");
            reply(&head, b"", Then::Close)
        };
        is_whole(request).then(|| match text.split(' ').nth(1).unwrap() {
            "/there" => reply(OK_3, b"abc", Then::Close),
            "/circle" => to("/circle"),
            "/plain" => to("http://zed.example/there"),
            "/secure" => to("https://zed.example/there"),
            "/odd" => to("gopher://x/"),
            "/missing" => {
                reply("HTTP/1.1 404 Not Found\r\nContent-Length: 7\r\n\r\nnothing", b"", Then::Close)
            }
            _ => to("there"),
        })
    };
    Scene::new().play(
        |far| {
            far.serve(80, None, service);
            far.serve(443, Some(server), service);
        },
        async |client| {
            tls(client, &pki);
            let load = async |url: &str| {
                let mut sink = vec![];
                let end = client.download(&get(url), 100, &mut sink).await;
                end.map(|response| (response.status, response.body, sink)).map_err(|error| error.cause)
            };
            let abc = Ok((200, vec![], b"abc".to_vec()));
            assert_eq!(load("http://zed.example/x").await, abc);
            assert_eq!(load("http://zed.example/secure").await, abc);
            assert_eq!(load("https://zed.example/x").await, abc);
            assert_eq!(load("https://zed.example/plain").await, Err(Cause::RedirectToPlain));
            assert_eq!(load("http://zed.example/circle").await, Err(Cause::TooManyRedirects { limit: 5 }));
            assert!(matches!(load("http://zed.example/odd").await, Err(Cause::Redirect(_))));
            assert_eq!(load("http://zed.example/missing").await, Ok((404, b"nothing".to_vec(), vec![])));
            // The API does not follow.
            assert_eq!(client.fetch(&get("http://zed.example/x")).await.unwrap().status, 302);
        },
    );
}

#[test]
fn a_download_resumes_where_it_stopped_or_starts_over() {
    let service = |request: &[u8]| {
        let text = String::from_utf8_lossy(request).to_string();
        is_whole(request)
            .then(|| {
                assert!(text.contains("\r\nRange: bytes=2-\r\n"));
                match text.split(' ').nth(1).unwrap() {
                    "/resumes" => {
                        "HTTP/1.1 206 Partial\r\nContent-Range: bytes 2-4/5\r\nContent-Length: 3\r\n\r\ncde"
                    }
                    "/lies" => {
                        "HTTP/1.1 206 Partial\r\nContent-Range: bytes 1-4/5\r\nContent-Length: 4\r\n\r\nbcde"
                    }
                    "/silent" => "HTTP/1.1 206 Partial\r\nContent-Length: 3\r\n\r\ncde",
                    "/long" => {
                        "HTTP/1.1 206 Partial\r\nContent-Range: bytes 2-4/11\r\nContent-Length: 3\r\n\r\ncde"
                    }
                    "/endless" => "HTTP/1.1 206 Partial\r\nContent-Range: bytes 2-4/*\r\n\r\ncdefghijklm",
                    "/over" => "HTTP/1.1 416 Range\r\nContent-Length: 0\r\n\r\n",
                    _ => "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde",
                }
            })
            .map(|text| reply(text, b"", Then::Close))
    };
    for version in [None, Some(&version::TLS12), Some(&version::TLS13)] {
        let pki = Pki::new("p256");
        let (scheme, port) = if version.is_some() { ("https", 443) } else { ("http", 80) };
        let server = version.map(|version| pki.server(&["zed.example"], version));
        Scene::new().play(
            |far| far.serve(port, server, service),
            async |client| {
                tls(client, &pki);
                let load = async |path: &str| {
                    let mut sink = b"ab".to_vec();
                    let request = get(&format!("{scheme}://zed.example/{path}")).from_byte(2);
                    let end = client.download(&request, 10, &mut sink).await;
                    end.map(|response| (response.status, sink)).map_err(|error| error.cause)
                };
                assert_eq!(load("resumes").await, Ok((206, b"abcde".to_vec())), "{version:?}");
                assert_eq!(load("anew").await, Ok((200, b"abcde".to_vec())));
                assert_eq!(load("lies").await, Err(Cause::WrongRange { asked: 2 }));
                assert_eq!(load("silent").await, Err(Cause::WrongRange { asked: 2 }));
                assert_eq!(load("over").await, Ok((416, b"ab".to_vec())));
                let limit = ExchangeError::Http(crate::http::HttpError::BodyTooLong { limit: 10 });
                let too_long = Err(Cause::Exchange(limit));
                assert_eq!(load("long").await, too_long);
                assert_eq!(load("endless").await, too_long);
            },
        );
    }
}

/// A server, or a cache ahead of it, that gives less at a time than it is asked for.
#[test]
fn what_an_answer_leaves_out_is_asked_for_until_all_is_there() {
    let service = |request: &[u8]| {
        let text = String::from_utf8_lossy(request).to_string();
        let asked = text.split_once("Range: bytes=").and_then(|(_, rest)| rest.split_once('-'));
        let first: usize = asked.map_or(0, |(first, _)| first.parse().unwrap());
        is_whole(request).then(|| {
            let whole = b"abcdefg";
            // Two bytes at a time; one of the paths has nothing behind the fourth.
            let stuck = text.contains("/stuck") && first >= 4;
            let end = if stuck { first } else { whole.len().min(first + 2) };
            let (last, length) = (end.max(first + 1) - 1, end - first);
            let head = format!(
                "HTTP/1.1 206 Partial\r\nContent-Range: bytes {first}-{last}/7\r\nContent-Length: {length}\r\n\r\n"
            );
            reply(&head, &whole[first..end], Then::Close)
        })
    };
    Scene::new().play(
        |far| far.serve(80, None, service),
        async |client| {
            let load = async |path: &str| {
                let mut sink = b"ab".to_vec();
                let request = get(&format!("http://zed.example/{path}")).from_byte(2);
                let end = client.download(&request, 10, &mut sink).await;
                (end.map(|response| response.status).map_err(|error| error.cause), sink)
            };
            assert_eq!(load("parts").await, (Ok(206), b"abcdefg".to_vec()));
            assert_eq!(load("stuck").await, (Err(Cause::Partial { have: 4 }), b"abcd".to_vec()));
        },
    );
}

#[test]
fn a_sink_that_refuses_ends_the_download() {
    struct Full;
    impl Sink for Full {
        fn begin(&mut self, start: Start) -> Result<(), Refused> {
            assert_eq!(start, Start { offset: 0, total: Some(3) });
            Ok(())
        }
        async fn chunk(&mut self, _: &[u8]) -> Result<(), Refused> {
            Err(Refused)
        }
    }
    Scene::new().play(
        |far| far.serve(80, None, serving(OK_3, b"abc", Then::Hold)),
        async |client| {
            let error = client.download(&get("http://zed.example/"), 100, &mut Full).await.unwrap_err();
            assert_eq!(error.cause, Cause::SinkRefused);
        },
    );
}
