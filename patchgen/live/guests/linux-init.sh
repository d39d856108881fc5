#!/bin/busybox sh
# The first process of the Linux guest: makes what shows later whether the guest went on or began
# anew, then offers a shell on the serial console. The shell's end is the guest's.

/bin/busybox mkdir -p /proc /sys /dev /tmp /mnt
/bin/busybox --install -s /bin
export PATH=/bin HOME=/tmp
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
while read -r module; do
        insmod "/modules/$module" || echo "init: module $module does not load"
done </modules/order

# The number that QEMU offers to whoever starts; each QEMU process offers another one.
seed=$(od -An -tu4 /sys/firmware/qemu_fw_cfg/by_name/opt/org.patchgen/seed/raw | tr -d ' ')
echo "$seed" >/tmp/seed
seq "$seed" $((seed + 400000)) >/tmp/pattern
sha256sum </tmp/pattern | cut -d ' ' -f 1 >/tmp/pattern.sha256

# What goes on by itself, seen on the second serial port.
beat=0
while :; do
        beat=$((beat + 1))
        read -r up _ </proc/uptime
        echo "beat $beat seed $seed uptime $up"
        usleep 100000
done >/dev/ttyS1 2>&1 &

cd /tmp || exit
dmesg -n 1
echo "init: ready"
PS1='guest# ' setsid cttyhack sh
sync
umount -a -r 2>/dev/null
poweroff -f
