#!/bin/busybox sh
# The first process of the VM: loads modules, lays a writable file system over that of the machine, runs the job that was
# given by fw_cfg, and reports by two virtio ports. See vm.ts.
bb=/bin/busybox

fail() {
	echo "vm: $1"
	echo o >/proc/sysrq-trigger
	exec $bb sleep 60
}

$bb mount -t proc proc /proc
$bb mount -t sysfs sys /sys
$bb mount -t devtmpfs dev /dev
while read -r module; do
	$bb insmod "/modules/$module" || fail "module $module does not load"
done </modules/order
echo "vm: modules are loaded"

$bb mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,ro,cache=loose machine /lower ||
	fail "the file system of the machine cannot be mounted"
$bb mount -t tmpfs tmpfs /changes
$bb mkdir /changes/upper /changes/work
$bb mount -t overlay -o lowerdir=/lower,upperdir=/changes/upper,workdir=/changes/work overlay /system ||
	fail "no overlay can be mounted"
for directory in proc sys dev; do
	$bb mount --move "/$directory" "/system/$directory"
done
# Names of the machine's namespaces and sockets mean nothing here.
$bb mount -t tmpfs tmpfs /system/run
# For tests that take modules out and put them in again.
$bb cp -r /modules /system/run/modules
$bb cat /system/sys/firmware/qemu_fw_cfg/by_name/opt/terway/job/raw >/system/run/job || fail "there is no job"
echo "vm: starting the job"
exec $bb switch_root /system /bin/sh /run/job
