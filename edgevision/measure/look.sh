# One look at a device: a line for each thing that is there, "PATH VALUE". With the word "all" also what does not change.
LC_ALL=C
export LC_ALL

see() {
    for file in "$@"; do
        [ -r "$file" ] && read -r value <"$file" && echo "$file $value"
    done 2>/dev/null
}

cpu=/sys/devices/system/cpu
see /proc/uptime /proc/loadavg
echo "date $(date +%s)"
see $cpu/cpu[0-9]*/cpufreq/scaling_cur_freq $cpu/cpu[0-9]*/cpufreq/scaling_governor
see $cpu/cpu[0-9]*/cpufreq/scaling_max_freq $cpu/cpu[0-9]*/cpufreq/cpuinfo_max_freq
see /sys/class/thermal/thermal_zone*/type /sys/class/thermal/thermal_zone*/temp
see /sys/class/thermal/cooling_device*/type /sys/class/thermal/cooling_device*/cur_state
see $cpu/cpu[0-9]*/thermal_throttle/core_throttle_count $cpu/cpu0/thermal_throttle/package_throttle_count
see /sys/devices/platform/soc/soc:firmware/get_throttled
see /sys/class/power_supply/*/type /sys/class/power_supply/*/status /sys/class/power_supply/*/capacity /sys/class/power_supply/*/temp
while read -r key value _; do
    case $key in MemTotal: | MemAvailable:) echo "meminfo/${key%:} $value" ;; esac
done </proc/meminfo 2>/dev/null
if command -v dumpsys >/dev/null 2>&1; then
    dumpsys battery 2>/dev/null | while read -r key value; do
        case $key in level: | status: | temperature:) echo "battery/${key%:} $value" ;; esac
    done
fi
[ "$1" = all ] || exit 0

echo "machine $(uname -m)"
echo "kernel $(uname -sr)"
echo "bits $(getconf LONG_BIT 2>/dev/null)"
see $cpu/online $cpu/cpu[0-9]*/cpu_capacity /proc/device-tree/model
if command -v getprop >/dev/null 2>&1; then
    for name in ro.product.manufacturer ro.product.model ro.build.version.release ro.build.version.sdk ro.board.platform; do
        echo "$name $(getprop $name)"
    done
fi
while IFS='=' read -r key value; do
    [ "$key" != PRETTY_NAME ] || echo "system $value"
done </etc/os-release 2>/dev/null
set -- $(df -P -k . 2>/dev/null | tail -n 1)
echo "free_kib $4"
echo cpuinfo
cat /proc/cpuinfo
