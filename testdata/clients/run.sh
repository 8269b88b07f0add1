#!/usr/bin/env bash
# Sends mail with an attachment to a running bridge, by curl, swaks and msmtp,
# and prints the reply to each. Exits with 1 if one was not taken; a client that
# is not installed is skipped.
#
#   testdata/clients/run.sh 127.0.0.1:2525
#   CA_FILE=ca.pem SMTP_USER=app SMTP_PASSWORD=… testdata/clients/run.sh 127.0.0.1:2525 127.0.0.1:2465
#
# The first address takes plain SMTP; with CA_FILE also STARTTLS, and with
# SMTP_USER AUTH over that. The second, where given, is TLS from the first octet.
# TO is the recipient, you@sandbox.test unless set.
set -euo pipefail

if [ $# -lt 1 ] || [ $# -gt 2 ]; then
	sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
	exit 2
fi
plain=$1
tls=${2-}
ca=${CA_FILE-}
user=${SMTP_USER-}
password=${SMTP_PASSWORD-}
to=${TO-you@sandbox.test}
from=clients@sandbox.test

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
attachment=$work/attachment.bin
head -c 300000 /dev/urandom >"$attachment" # more than the bridge keeps in memory
printf '%s\n' "$password" >"$work/password"

# mail prints a mail whose subject says who sends it, and how.
mail() {
	printf '%s\r\n' "From: $from" "To: $to" "Subject: $1 $2" 'MIME-Version: 1.0' \
		'Content-Type: multipart/mixed; boundary="border"' '' \
		'--border' 'Content-Type: text/plain; charset=utf-8' '' \
		"Sent by $1, $2." '.' '..a line that begins with dots' '' \
		'--border' 'Content-Type: application/octet-stream' 'Content-Transfer-Encoding: base64' \
		'Content-Disposition: attachment; filename="attachment.bin"' ''
	base64 <"$attachment" | sed $'s/$/\r/'
	printf '%s\r\n' '--border--'
}

with_curl() {
	local options=(--url "smtp://$plain")
	case $1 in
	starttls) options+=(--ssl-reqd --cacert "$ca") ;;
	auth) options+=(--ssl-reqd --cacert "$ca" --user "$user:$password") ;;
	tls) options=(--url "smtps://$tls" --cacert "$ca") ;;
	esac
	mail curl "$1" >"$work/mail"
	curl --silent --show-error --verbose --max-time 60 "${options[@]}" \
		--mail-from "$from" --mail-rcpt "$to" --upload-file "$work/mail"
}

with_swaks() {
	local options=(--server "$plain")
	case $1 in
	starttls) options+=(--tls --tls-verify --tls-ca-path "$ca") ;;
	auth) options+=(--tls --tls-verify --tls-ca-path "$ca" --auth PLAIN --auth-user "$user" --auth-password "$password") ;;
	tls) options=(--server "$tls" --tls-on-connect --tls-verify --tls-ca-path "$ca") ;;
	esac
	swaks --timeout 60 "${options[@]}" --from "$from" --to "$to" \
		--header "Subject: swaks $1" --body "Sent by swaks, $1." \
		--attach-type application/octet-stream --attach-name attachment.bin --attach "@$attachment"
}

with_msmtp() {
	local address=$plain options=(--tls=off)
	case $1 in
	starttls) options=(--tls=on --tls-starttls=on --tls-trust-file="$ca") ;;
	auth)
		options=(--tls=on --tls-starttls=on --tls-trust-file="$ca"
			--auth=login --user="$user" --passwordeval="cat '$work/password'")
		;;
	tls) address=$tls options=(--tls=on --tls-starttls=off --tls-trust-file="$ca") ;;
	esac
	mail msmtp "$1" | msmtp --debug --timeout=60 --host="${address%:*}" --port="${address##*:}" \
		"${options[@]}" --from="$from" "$to"
}

# offered says whether the bridge can be reached in a way.
offered() {
	case $1 in
	plain) ;;
	starttls) [ -n "$ca" ] ;;
	auth) [ -n "$ca" ] && [ -n "$user" ] ;;
	tls) [ -n "$ca" ] && [ -n "$tls" ] ;;
	esac
}

# missing prints what a client lacks for a way, and fails if it lacks nothing.
missing() {
	if ! command -v "$1" >/dev/null; then
		echo 'not installed'
	elif [ "$1" = swaks ] && [ "$2" != plain ] && ! swaks --support 2>&1 | grep '=== TLS supported' >/dev/null; then
		echo 'installed without TLS'
	else
		return 1
	fi
}

# A mail is taken if the client says so and the bridge said 250 with its id.
failed=0
for client in curl swaks msmtp; do
	for way in plain starttls auth tls; do
		if ! offered "$way"; then
			continue
		elif reason=$(missing "$client" "$way"); then
			echo "skipped $client $way: $reason"
		elif "with_$client" "$way" >"$work/log" 2>&1 &&
			reply=$(grep -aoE '250 2\.0\.0 .* id=[0-9A-Z]{26}' "$work/log"); then
			echo "ok $client $way: $reply"
		else
			echo "FAILED $client $way:"
			sed 's/^/    /' "$work/log"
			failed=1
		fi
	done
done
exit "$failed"
