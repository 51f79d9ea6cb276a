//! Requests over the network.

area! {
    web: "A request over the network failed.";
    NO_NAME = "E-WEB-001",
        cause: "The server's name cannot be resolved.",
        next: "Check the name, and the DNS servers that the site's DHCP gives.";
    REFUSED = "E-WEB-002",
        cause: "The server refuses the connection.",
        next: "Check that it runs, and the port.";
    NO_CONNECTION = "E-WEB-003",
        cause: "No connection to the server came about, or it ended before the answer did.",
        next: "Check cable, gateway and firewall between the device and the server.";
    TIMEOUT = "E-WEB-004",
        cause: "The server or the network took longer than allowed.",
        next: "Check load and reachability of the server; the request is made again.";
    CERTIFICATE_TIME = "E-WEB-005",
        cause: "The server's certificate is not valid at this time.",
        next: "Compare the device's clock with the certificate's dates; renew the certificate.";
    TLS = "E-WEB-006",
        cause: "The server's certificate is not trusted, or TLS failed otherwise.",
        next: "Check that the server's certificate leads to the root that the device was provisioned with.";
    NOT_HTTP = "E-WEB-007",
        cause: "The server's answer is not HTTP.",
        next: "Check what answers at that address; a proxy may stand in between.";
    TOO_LARGE = "E-WEB-008",
        cause: "The server's answer is longer than the device takes.",
        next: "Check what answers at that address; content has a maximum in the configuration.";
    REDIRECT = "E-WEB-009",
        cause: "The server redirects in a way that is not followed.",
        next: "Configure the address to which the server redirects, with https.";
    LOCAL = "E-WEB-010",
        cause: "The device gave a request up by itself.",
        next: "See the line before: a root certificate is missing, or the content is not wanted any more.";
}
