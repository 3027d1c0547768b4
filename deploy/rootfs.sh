#!/bin/sh
# Lays out the whole file system that Touchmark runs in: the binary, the shared libraries that it names, a /data to
# mount a volume at, and nothing else. No shell, no package manager, no curl.
#
#   deploy/rootfs.sh BINARY FOLDER
set -eu

binary=$1
folder=$2
# The unprivileged user of deploy/Dockerfile and deploy/kubernetes/.
user=65532

mkdir -p "$folder/usr/local/bin" "$folder/etc" "$folder/data" "$folder/tmp"
cp "$binary" "$folder/usr/local/bin/touchmark"
# Lines such as `libc.so.6 => /lib/…/libc.so.6 (0x…)` and `/lib64/ld-linux-x86-64.so.2 (0x…)`; the kernel's own has no path.
ldd "$binary" | sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p; s/^[[:space:]]*\(\/[^ ]*\) .*/\1/p' | sort -u | while read -r library; do
    mkdir -p "$folder$(dirname "$library")"
    cp -L "$library" "$folder$library"
done
# How the C library looks host names up, which it does itself.
echo 'hosts: files dns' >"$folder/etc/nsswitch.conf"
echo "touchmark:x:$user:$user::/:/nonexistent" >"$folder/etc/passwd"
echo "touchmark:x:$user:" >"$folder/etc/group"
chown "$user:$user" "$folder/data"
chmod 0700 "$folder/data"
chmod 1777 "$folder/tmp"
