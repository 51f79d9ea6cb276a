//! Sessions and exchanges against OpenSSL: an implementation, a certificate maker and a key maker that share nothing
//! with ours. It needs the `openssl` command, which `cargo xtask setup` installs.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use stubdoms_web::exchange::{Exchange, ExchangeError, Shield};
use stubdoms_web::http::{Event, Limits, Method, Request, ResponseReader};
use stubdoms_web::tls::{Identity, Session, TlsConfig, TlsError, WallClock};
use stubdoms_web::url::Url;

#[derive(Debug)]
struct SystemClock;
impl WallClock for SystemClock {
    fn now(&self) -> Option<Duration> {
        SystemTime::now().duration_since(UNIX_EPOCH).ok()
    }
}

/// A folder with a CA, its server certificates and a client, removed at the end.
struct Certificates(PathBuf);

impl Certificates {
    fn make() -> Self {
        let folder = std::env::temp_dir().join(format!("stubdoms-web-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let this = Certificates(folder);
        this.openssl("ecparam -genkey -name prime256v1 -out ca.key");
        this.openssl("req -x509 -new -key ca.key -subj /CN=ca -days 30 -out ca.pem -addext keyUsage=critical,keyCertSign");
        for (kind, key) in [
            ("p256", "ecparam -genkey -name prime256v1 -noout -out p256.key"),
            ("p384", "ecparam -genkey -name secp384r1 -noout -out p384.key"),
            ("rsa", "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out rsa.key"),
            // With its parameters in front, as the openssl command writes it by default.
            ("client", "ecparam -genkey -name prime256v1 -out client.key"),
        ] {
            this.openssl(key);
            fs::write(this.file("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n").unwrap();
            this.openssl(&format!("req -new -key {kind}.key -subj /CN={kind} -out {kind}.csr"));
            this.openssl(&format!(
                "x509 -req -in {kind}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 20 -extfile names -out {kind}.pem"
            ));
        }
        this
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.file(name)).unwrap()
    }

    fn openssl(&self, arguments: &str) {
        let output = Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(&self.0)
            .output()
            .expect("the openssl command; `cargo xtask setup` installs it");
        assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Certificates {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// `openssl s_server` with a page that tells about the session.
struct Server {
    process: Child,
    port: u16,
}

impl Server {
    fn start(folder: &Path, kind: &str, options: &str) -> Self {
        // A port that was free a moment ago.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = Command::new("openssl")
            .args(["s_server", "-www", "-alpn", "h2,http/1.1", "-accept", &format!("127.0.0.1:{port}")])
            .args(["-cert", &format!("{kind}.pem"), "-key", &format!("{kind}.key")])
            .args(options.split(' ').filter(|option| !option.is_empty()))
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Server { process, port }
    }

    fn connect(&self) -> TcpStream {
        for _ in 0..200 {
            if let Ok(stream) = TcpStream::connect(("127.0.0.1", self.port)) {
                return stream;
            }
            std::thread::sleep(Duration::from_millis(25));
        }
        panic!("openssl s_server does not listen");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Fetches `/` over a real connection.
fn fetch(config: &TlsConfig, server: &Server, host: &str) -> Result<(u16, String), ExchangeError> {
    let url = Url::parse(&format!("https://{host}:{}/", server.port)).unwrap();
    let session = Session::new(config, url.host()).unwrap();
    let reader = ResponseReader::new(Method::Get, Limits::default());
    let mut exchange = Exchange::new(Shield::Tls(Box::new(session)), Request::get(url).emit(None), reader);
    let mut stream = server.connect();
    let (mut status, mut body) = (0, Vec::new());
    loop {
        let (mut more, mut done) = (false, false);
        match exchange.event() {
            Ok(Event::More) => more = true,
            Ok(Event::Head(head)) => status = head.status,
            Ok(Event::Body(bytes)) => body.extend_from_slice(bytes),
            Ok(Event::Done) => done = true,
            Err(error) => {
                let _ = stream.write_all(exchange.output());
                return Err(error);
            }
        }
        if done {
            return Ok((status, String::from_utf8(body).unwrap()));
        }
        if !more {
            continue;
        }
        let output = exchange.output().to_vec();
        if !output.is_empty() {
            stream.write_all(&output).unwrap();
            exchange.output_sent(output.len());
            continue;
        }
        let mut bytes = [0; 4096];
        match stream.read(&mut bytes) {
            Ok(0) => exchange.input_end(),
            Ok(count) => exchange.input(&bytes[..count]),
            Err(_) => exchange.reset(),
        }
    }
}

#[test]
fn openssl_serves_us_with_every_version_key_and_cipher() {
    let certificates = Certificates::make();
    let ca = certificates.read("ca.pem");
    let plain = || TlsConfig::new(&[&ca], None, Arc::new(SystemClock)).unwrap();
    for kind in ["p256", "p384", "rsa"] {
        for (options, told) in [
            ("-tls1_3", "TLSv1.3"),
            ("-tls1_2", "TLSv1.2"),
            ("-tls1_3 -ciphersuites TLS_AES_256_GCM_SHA384 -groups P-384", "TLS_AES_256_GCM_SHA384"),
            ("-tls1_3 -ciphersuites TLS_AES_128_GCM_SHA256 -groups P-256", "TLS_AES_128_GCM_SHA256"),
            ("-tls1_2 -cipher ECDHE+AESGCM -groups P-256", "GCM-SHA"),
            ("-tls1_2 -cipher ECDHE+CHACHA20 -groups X25519", "CHACHA20"),
        ] {
            let server = Server::start(&certificates.0, kind, options);
            for host in ["localhost", "127.0.0.1"] {
                let (status, page) = fetch(&plain(), &server, host).unwrap();
                assert_eq!(status, 200);
                assert!(page.contains(told), "{kind} {options}: {page}");
            }
        }
    }

    // Old protocols and ciphers find no taker; we are told, or tell, in one line.
    for options in ["-tls1_1 -cipher ALL:@SECLEVEL=0", "-tls1_2 -cipher AES128-SHA:@SECLEVEL=0"] {
        let server = Server::start(&certificates.0, "rsa", options);
        let error = fetch(&plain(), &server, "localhost").unwrap_err();
        assert!(
            matches!(error, ExchangeError::Tls(TlsError::Alert(_) | TlsError::Incompatible)),
            "{error:?}"
        );
    }

    // A server that insists on a client certificate; ours is signed for both versions.
    for version in ["-tls1_3", "-tls1_2"] {
        let options = format!("{version} -Verify 1 -verify_return_error -CAfile ca.pem");
        let server = Server::start(&certificates.0, "p256", &options);
        let identity =
            Identity::from_pem(&certificates.read("client.pem"), &certificates.read("client.key")).unwrap();
        let config = TlsConfig::new(&[&ca], Some(identity), Arc::new(SystemClock)).unwrap();
        let (_, page) = fetch(&config, &server, "localhost").unwrap();
        assert!(page.contains("CN = client") || page.contains("CN=client"), "{version}: {page}");
        let (_, page) = fetch(&config, &server, "localhost").unwrap();
        assert!(page.contains("Reused, "), "{version}: {page}");
        let error = fetch(&plain(), &server, "localhost").unwrap_err();
        assert!(
            matches!(
                error,
                ExchangeError::Tls(TlsError::Alert(_) | TlsError::Truncated) | ExchangeError::Reset
            ),
            "{version}: {error:?}"
        );
    }
}
