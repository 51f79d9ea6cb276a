#!/bin/sh
# Makes the keys and certificates of the stories, with openssl. Test material: nothing else trusts it.
set -eu
cert() { # name issuer ca
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1.key.pem" 2>/dev/null
  openssl req -new -key "$1.key.pem" -subj "/CN=$1" -out csr
  printf 'basicConstraints=critical,CA:%s\nextendedKeyUsage=serverAuth,clientAuth\n' "$3" >ext
  if [ "$3" = TRUE ]; then printf 'basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n' >ext; fi
  if [ "$1" = "$2" ]; then by="-signkey $1.key.pem"; else by="-CA $2.pem -CAkey $2.key.pem -CAcreateserial"; fi
  # 27000 days from 2025 end before 2100.
  openssl x509 -req -in csr $by -extfile ext -days 27000 -sha256 -out "$1.pem" 2>/dev/null
  rm -f csr ext
}
cert root root TRUE
cert stranger stranger TRUE
cert signing root FALSE
cert signing-2 root FALSE
cert exchange root FALSE
cert signing-stranger stranger FALSE
cert onboard onboard FALSE
cert device device FALSE
cert ecdh device FALSE
rm -f ./*.srl root.key.pem stranger.key.pem exchange.key.pem ecdh.key.pem
