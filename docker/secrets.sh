#!/bin/sh
# Writes the secrets of docker/compose.yml into docker/secrets/, each once: what is there stays.
set -eu
cd "$(dirname "$0")"
# A file is mounted as it is and the gateway runs as another user: the folder is closed, the files are not.
umask 022
mkdir -p secrets
chmod 700 secrets
random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
keep() { test -s "secrets/$1" || printf '%s' "$2" > "secrets/$1"; }
keep database_password "$(random)"
keep database_url "postgresql://gateway:$(cat secrets/database_password)@postgres/gateway"
keep sdnext_auth "gateway:$(random)"
keep backends "http://$(cat secrets/sdnext_auth)@sdnext-1:7860,http://$(cat secrets/sdnext_auth)@sdnext-2:7860"
keep admin_token "$(random)"
keep first_key "sk-$(random)"
echo "first key:   $(cat secrets/first_key)"
echo "admin token: $(cat secrets/admin_token)"
