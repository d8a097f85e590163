#!/bin/busybox sh
# PID 1 of a VM. The last word of the kernel's command line is what it is to do.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH HOME=/root TERM=dumb
if [ ! -e /moved ]; then
    # Runtimes change their root by pivot_root, which the kernel's first file system
    # refuses: the same files, as a mount of their own.
    busybox mkdir -p /moved
    busybox mount --bind / /new
    cd /new
    busybox mount --move . /
    exec busybox chroot . /init
fi
busybox mount -t proc proc /proc
busybox mount -t sysfs sysfs /sys
busybox mount -t devtmpfs dev /dev
busybox mkdir -p /dev/pts /dev/shm
busybox mount -t devpts devpts /dev/pts
for dir in /dev/shm /run; do busybox mount -t tmpfs -o mode=1777 tmpfs $dir; done
busybox mount -t cgroup2 cgroup2 /sys/fs/cgroup
for link in fd:fd stdin:fd/0 stdout:fd/1 stderr:fd/2; do
    [ -e /dev/${link%%:*} ] || busybox ln -s /proc/self/${link#*:} /dev/${link%%:*}
done
exec </dev/null >/dev/console 2>&1
busybox ip link set lo up
# Where the links of devices are born: a test that wants one finds it here.
busybox touch /first-netns
busybox mount --bind /proc/self/ns/net /first-netns
# Before the tests: some modules bring sysctls into the world, which tests would see come.
while read -r modules; do modprobe -a -q $modules; done </modules
/bin/sh /job
echo "@done"
busybox poweroff -f
