#!/bin/busybox sh
# What a Debian dom0 runs when it is nothing but a toolstack: no systemd, no udev, no disk, no network.
# $creations comes from the kernel's command line.

export PATH=/usr/lib/xen-4.20/bin
busybox=/bin/busybox

$busybox mount -t proc proc /proc
$busybox mount -t sysfs sysfs /sys
$busybox mount -t devtmpfs devtmpfs /dev
$busybox mkdir /dev/pts
$busybox mount -t devpts devpts /dev/pts
echo "bench linux"

for module in xen-privcmd xenfs xen-evtchn xen-gntdev; do
    $busybox insmod /modules/$module.ko.xz || echo "bench failed: module $module"
done
$busybox mount -t xenfs xenfs /proc/xen
xenstored --pid-file=/run/xen/xenstored.pid || echo "bench failed: xenstored"
xen-init-dom0 || echo "bench failed: xen-init-dom0"
# Without it, `xl create` waits for the guest's console in vain.
xenconsoled --pid-file=/run/xen/xenconsoled.pid || echo "bench failed: xenconsoled"
echo "bench ready"

round=0
while [ "$round" -lt "$creations" ]; do
    # Until what came before has settled.
    $busybox sleep 1
    echo "bench creating"
    xl create -q /hello.cfg || echo "bench failed: xl create"
    echo "bench created"
    $busybox sleep 1
    echo "bench destroying"
    # Fails if the domain has died meanwhile.
    xl destroy hello || echo "bench failed: xl destroy"
    echo "bench destroyed"
    round=$((round + 1))
done
echo "bench done"
# The end of the first process would be a panic.
while true; do $busybox sleep 1000; done
