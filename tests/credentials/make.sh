#!/bin/sh
# Makes the keys and certificates of the tests anew. None of them is used or
# trusted anywhere else. Run it in this directory, with OpenSSL 3.
set -eu
openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out app.key
openssl rsa -in app.key -traditional -out app-pkcs1.key
openssl pkey -in app.key -aes256 -passout pass:fixture-password -out app-encrypted.key
openssl req -x509 -key app.key -subj /CN=callrec-test -days 36500 -sha256 -out app.crt
openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072 -out other.key
openssl req -x509 -key other.key -subj /CN=callrec-other -days 36500 -sha256 -out other.crt
openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024 -out small.key
openssl req -x509 -key small.key -subj /CN=callrec-small -days 36500 -sha256 -out small.crt
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out ec.key
openssl req -x509 -key ec.key -subj /CN=callrec-ec -days 36500 -sha256 -out ec.crt
# As OpenSSL 3 and newer Windows write it, as older Windows does, and without a password.
openssl pkcs12 -export -inkey app.key -in app.crt -certfile other.crt -passout pass:fixture-password -out app.pfx
openssl pkcs12 -export -inkey app.key -in app.crt -passout pass:fixture-password \
    -keypbe PBE-SHA1-3DES -certpbe PBE-SHA1-3DES -macalg sha1 -out app-3des.pfx
openssl pkcs12 -export -inkey app.key -in app.crt -passout pass: -out app-no-password.pfx
