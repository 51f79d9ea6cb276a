#!/usr/bin/env python3
"""Makes the vectors of this folder. Keys, certificates and signatures come from the openssl command,
messages from protoc, so that nothing here was written by the code that reads it.

Run it in this folder; the files in it are committed, and differ after each run (fresh keys).
"""
import base64, hashlib, os, pathlib, shutil, subprocess, sys, tempfile

HERE = pathlib.Path(__file__).resolve().parent
SCHEMA = HERE.parent.parent / "schema"
TMP = pathlib.Path(tempfile.mkdtemp())


def run(*args, data=None):
    return subprocess.run(args, input=data, stdout=subprocess.PIPE, check=True, cwd=TMP).stdout


def key(name, kind):
    if kind == "rsa":
        run("openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", name + ".key")
    else:
        run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:" + kind, "-out", name + ".key")


def cert(name, kind, issuer=None, ca=False, eku="serverAuth", start="20240101000000Z", end="20991231235959Z"):
    """A certificate and its key; self-signed without an issuer."""
    if not (TMP / (name + ".key")).exists():
        key(name, kind)
    ext = ["subjectKeyIdentifier=hash"]
    ext.append("basicConstraints=critical,CA:" + ("TRUE" if ca else "FALSE"))
    if ca:
        ext.append("keyUsage=critical,keyCertSign,digitalSignature")
    if eku and not ca:
        ext.append("extendedKeyUsage=" + eku)
    (TMP / "ext").write_text("\n".join(ext) + "\n")
    (TMP / "ca.conf").write_text(
        "[ca]\ndefault_ca=d\n[d]\ndatabase=db\nnew_certs_dir=.\nserial=serial\ndefault_md=sha256\n"
        "policy=p\nunique_subject=no\nemail_in_dn=no\n[p]\ncommonName=supplied\n")
    (TMP / "db").write_text("")
    if not (TMP / "serial").exists():
        (TMP / "serial").write_text("1000\n")
    run("openssl", "req", "-new", "-key", name + ".key", "-subj", "/CN=" + name, "-out", name + ".csr")
    sign = ["-selfsign", "-keyfile", name + ".key"] if issuer is None else [
        "-cert", issuer + ".pem", "-keyfile", issuer + ".key"]
    run("openssl", "ca", "-batch", "-notext", "-config", "ca.conf", "-in", name + ".csr", "-out", name + ".pem",
        "-extfile", "ext", "-startdate", start, "-enddate", end, *sign)


def pem(name):
    return (TMP / (name + ".pem")).read_bytes()


def der(name):
    return run("openssl", "x509", "-in", name + ".pem", "-outform", "DER")


def raw_signature(name, kind, payload):
    """As envelopes carry it: r and s padded for EC, PKCS#1 v1.5 for RSA."""
    (TMP / "payload").write_bytes(payload)
    sig = run("openssl", "dgst", "-sha256", "-sign", name + ".key", "payload")
    if kind == "rsa":
        return sig
    size = {"P-256": 32, "P-384": 48}[kind]
    assert sig[0] == 0x30
    body, out = sig[2:] if sig[1] < 0x80 else sig[3:], b""
    while body:
        assert body[0] == 2
        out += int.from_bytes(body[2:2 + body[1]], "big").to_bytes(size, "big")
        body = body[2 + body[1]:]
    return out


def text(data):
    return '"' + "".join("\\x%02x" % b for b in data) + '"'


def encode(message, file, body):
    return run("protoc", "-I", str(SCHEMA), "--encode=org.lfedge.eve." + message, file, data=body.encode())


def container(payload, sender_hash, signature, algo):
    return encode("auth.AuthContainer", "auth.proto",
                  f"protectedPayload {{ payload: {text(payload)} }} algo: {algo} "
                  f"senderCertHash: {text(sender_hash)} signatureHash: {text(signature)}")


def zcerts(*entries):
    body = ""
    for kind, data in entries:
        body += (f"certs {{ hashAlgo: HASH_ALGORITHM_SHA256_16BYTES certHash: {text(hashlib.sha256(data).digest()[:16])} "
                 f"type: {kind} cert: {text(data)} }}\n")
    return encode("certs.ZControllerCert", "certs.proto", body)


def write(name, data):
    if not data.startswith(b"-----"):
        data = b"\n".join(data.hex()[i:i + 120].encode() for i in range(0, len(data.hex()), 120)) + b"\n"
        name += ".hex"
    (HERE / name).write_bytes(data)


SIGNING, INTERMEDIATE, EXCHANGE = (
    "CERT_TYPE_CONTROLLER_SIGNING", "CERT_TYPE_CONTROLLER_INTERMEDIATE", "CERT_TYPE_CONTROLLER_ECDH_EXCHANGE")
ALGO16, ALGO32 = "HASH_ALGORITHM_SHA256_16BYTES", "HASH_ALGORITHM_SHA256_32BYTES"

cert("root", "P-256", ca=True)
cert("otherroot", "P-256", ca=True)
cert("middle", "rsa", "root", ca=True)
cert("exchange", "P-256", "root")
cert("device", "P-256", eku="clientAuth,serverAuth")
write("root.pem", pem("root"))
write("other-root.pem", pem("otherroot"))
write("device.pem", pem("device"))
write("device-sec1.key.pem", run("openssl", "ec", "-in", "device.key"))
write("device-pkcs8.key.pem", (TMP / "device.key").read_bytes())
# The mixture that EVE writes: SEC1 inside a block labelled for PKCS#8.
sec1 = run("openssl", "ec", "-in", "device.key", "-outform", "DER")
write("device-mixed.key.pem",
      b"-----BEGIN PRIVATE KEY-----\n" + base64.encodebytes(sec1) + b"-----END PRIVATE KEY-----\n")

config = encode("config.ConfigResponse", "config.proto", '''
configHash: "hash-1"
config { id { uuid: "5a5a5a5a-0000-4000-8000-0123456789ab" version: "7" }
  apps { uuidandversion { uuid: "a0a0a0a0-0000-4000-8000-000000000001" version: "3" } displayname: "hello"
    fixedresources { memory: 16384 vcpus: 1 extraargs: "greeting=hi" } activate: true
    volumeRefList { uuid: "c0c0c0c0-0000-4000-8000-000000000001" generationCount: 2 } restart { counter: 4 } }
  datastores { id: "d0d0d0d0-0000-4000-8000-000000000001" dType: DsHttp fqdn: "http://store:8080" dpath: "images" }
  configItems { key: "timer.config.interval" value: "30" }
  controller_epoch: 99 config_timestamp { seconds: 1700000000 nanos: 5 } } ''')
write("config-response", config)

for kind, short in (("P-256", "p256"), ("P-384", "p384"), ("rsa", "rsa")):
    # The hash is over the text as delivered, here without the newline at its end, as Adam does it.
    name = "signing-" + short
    cert(name, kind, "middle" if kind == "rsa" else "root")
    trimmed = pem(name).strip()
    write(name + ".pem", trimmed)
    digest = hashlib.sha256(trimmed).digest()
    entries = [(EXCHANGE, pem("exchange").strip()), (SIGNING, trimmed)]
    if kind == "rsa":
        entries.append((INTERMEDIATE, pem("middle").strip()))
    write("certs-" + short, zcerts(*entries))
    signature = raw_signature(name, kind, config)
    write("config-envelope-" + short, container(config, digest, signature, ALGO32))
    if kind == "P-256":
        write("config-envelope-16", container(config, digest[:16], signature, ALGO16))
        write("config-envelope-other-sender",
              container(config, hashlib.sha256(pem(name)).digest(), signature, ALGO32))
        flipped = signature[:40] + bytes([signature[40] ^ 1]) + signature[41:]
        write("config-envelope-bad-signature", container(config, digest, flipped, ALGO32))
        write("config-envelope-der-signature", container(
            config, digest, (lambda: run("openssl", "dgst", "-sha256", "-sign", name + ".key", "payload"))(), ALGO32))
        write("certs-envelope", container(zcerts(*entries), digest, raw_signature(name, kind, b"whatever"), ALGO32))

good, exchange = pem("signing-p256").strip(), pem("exchange").strip()
cert("expired", "P-256", "root", start="20200101000000Z", end="20210101000000Z")
cert("stranger", "P-256", "otherroot")
cert("client", "P-256", "root", eku="clientAuth")
cert("plain", "P-256", "root", eku=None)
write("certs-expired", zcerts((SIGNING, pem("expired")), (EXCHANGE, exchange)))
write("certs-stranger", zcerts((SIGNING, pem("stranger")), (EXCHANGE, exchange)))
write("certs-client-eku", zcerts((SIGNING, pem("client")), (EXCHANGE, exchange)))
write("certs-no-eku", zcerts((SIGNING, pem("plain")), (EXCHANGE, exchange)))
write("certs-two-signing", zcerts((SIGNING, good), (SIGNING, good), (EXCHANGE, exchange)))
write("certs-no-exchange", zcerts((SIGNING, good)))
write("certs-device-type", zcerts((SIGNING, good), (EXCHANGE, exchange), ("CERT_TYPE_DEVICE_ONBOARDING", good)))
write("certs-no-intermediate", zcerts((SIGNING, pem("signing-rsa")), (EXCHANGE, exchange)))
write("device-cert-sha256", hashlib.sha256(der("device")).digest())

write("attest-nonce", encode("attest.ZAttestResponse", "attest.proto",
                             'respType: ATTEST_RESP_NONCE nonce { nonce: "0123456789ab" }'))
write("attest-accepted", encode("attest.ZAttestResponse", "attest.proto",
      'respType: ATTEST_RESP_QUOTE_RESP quoteResp { response: Z_ATTEST_RESPONSE_CODE_SUCCESS integrity_token: "token" }'))
write("attest-invalid", encode("attest.ZAttestResponse", "attest.proto",
                               'respType: ATTEST_RESP_QUOTE_RESP quoteResp { }'))
write("uuid-response", encode("uuid.UuidResponse", "uuid.proto",
                              'uuid: "5a5a5a5a-0000-4000-8000-0123456789ab" manufacturer: "m" product_name: "p"'))
shutil.rmtree(TMP)
print("made by", run.__module__ and subprocess.run(["openssl", "version"], capture_output=True, text=True).stdout.strip(),
      "and", subprocess.run(["protoc", "--version"], capture_output=True, text=True).stdout.strip())
