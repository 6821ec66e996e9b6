#!/bin/sh
# Makes an image of Debian with java in a store of podman's: RELEASE MIRROR FOLDER IMAGE. The store is FOLDER/store.
# To be run in a mount namespace of its own, so that nothing is left mounted.
set -eu
release=$1 mirror=$2 folder=$3 image=$4
mkdir "$folder/store"
debootstrap --variant=minbase --include=openjdk-17-jre-headless "$release" "$folder/root" "$mirror"
rm -rf "$folder"/root/var/cache/apt/*.bin "$folder"/root/var/cache/apt/archives/*.deb "$folder"/root/var/lib/apt/lists/*
# What podman keeps besides goes to memory.
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mkdir -p /var/lib/containers
mount -t tmpfs tmpfs /var/lib/containers
printf '[storage]\ndriver = "overlay"\nrunroot = "/run/containers"\ngraphroot = "%s"\n' "$folder/store" > /run/storage.conf
export CONTAINERS_STORAGE_CONF=/run/storage.conf
# Through a file, because a pipe would hide that tar has failed.
tar --create --file "$folder/root.tar" --directory "$folder/root" .
podman --tmpdir /run/libpod import "$folder/root.tar" "$image"
