#!/bin/sh
# Makes the keys and certificates of the stories with a controller, with openssl. Test material: nothing else trusts it.
set -eu
cert() { # name issuer ca algorithm
  openssl genpkey -algorithm $4 -out "$1.key.pem" 2>/dev/null
  openssl req -new -key "$1.key.pem" -subj "/CN=$1" -out csr
  if [ "$3" = TRUE ]; then
    printf 'basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n' >ext
  else
    printf 'basicConstraints=critical,CA:FALSE\nextendedKeyUsage=serverAuth,clientAuth\n' >ext
  fi
  if [ "$1" = server ]; then printf 'subjectAltName=DNS:controller.example\n' >>ext; fi
  if [ "$1" = "$2" ]; then by="-signkey $1.key.pem"; else by="-CA $2.pem -CAkey $2.key.pem -CAcreateserial"; fi
  # 26000 days from 2026 end before 2100.
  openssl x509 -req -in csr $by -extfile ext -days 26000 -sha256 -out "$1.pem" 2>/dev/null
  rm -f csr ext
}
ec='EC -pkeyopt ec_paramgen_curve:P-256'
cert root root TRUE "$ec"
# Its signatures are the same each time, which keeps the order of the stories.
cert server root FALSE ED25519
cert signing root FALSE "$ec"
cert exchange root FALSE "$ec"
cert onboard onboard FALSE "$ec"
cert device device FALSE "$ec"
rm -f ./*.srl root.key.pem exchange.key.pem
