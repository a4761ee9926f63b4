#!/bin/sh
# Makes .env.docker, once: secrets of this installation, and what one may want to change. Needs a shell and od, no more.
set -eu
file="$(dirname "$0")/../.env.docker"
# Prometheus and Grafana read their files here under uids of their own: a checkout made under umask 077 kept them out.
chmod -R go+rX "$(dirname "$0")" || echo "Prometheus and Grafana may not be able to read docker/." >&2
[ ! -e "$file" ] || exit 0

secret() { od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'; }

umask 077
cat > "$file.unfinished" <<END
# Made by make docker-up; keep it with your backups: the database knows its password from the first start on.
POSTGRES_PASSWORD=$(secret 24)
VALKEY_PASSWORD=$(secret 24)
S3_ACCESS_KEY=$(secret 10)
S3_SECRET_KEY=$(secret 24)
JWT_SECRET=$(secret 32)
GRAFANA_PASSWORD=$(secret 12)

# Where people reach it; https:// once TLS ends in front of it (docs/operations.md).
#PUBLIC_URL=https://kith.example.org
# The port of this machine, and for whom: 0.0.0.0 opens it to every network, with /metrics and without TLS.
#KITH_PORT=8000
#KITH_BIND=127.0.0.1
# Processes of the server; one a core.
#KITH_WORKERS=3
# Every other setting of .env.example (a sign-in provider, rates, bounds) goes into .env.docker.server beside this file.
END
mv "$file.unfinished" "$file"
echo "Made .env.docker with this installation's secrets."
