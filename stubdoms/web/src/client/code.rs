//! The codes of failed requests, by their [`Class`].

use proto_errors::{Code, Coded, web};

use super::{Class, FetchError};

impl Coded for FetchError {
    fn code(&self) -> Code {
        match self.class() {
            Class::Resolve => web::NO_NAME,
            Class::Refused => web::REFUSED,
            Class::Connect => web::NO_CONNECTION,
            Class::CertificateTime => web::CERTIFICATE_TIME,
            Class::Tls => web::TLS,
            Class::Timeout => web::TIMEOUT,
            Class::TooLarge => web::TOO_LARGE,
            Class::Malformed => web::NOT_HTTP,
            Class::Redirect => web::REDIRECT,
            Class::Local => web::LOCAL,
        }
    }
}
