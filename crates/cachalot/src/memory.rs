//! How much memory this process may still use: what the system has free, within the limits of its control groups.

use std::fs;

/// Bytes that can be allocated without swapping: the smaller of what the machine and what the control group leave.
pub fn available() -> u64 {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| field(&text, "MemAvailable:"));
    // Elsewhere than on Linux nobody tells; assume a small machine.
    let machine = machine.unwrap_or(4 << 30);
    group_limits().fold(machine, u64::min)
}

/// Bytes of the whole machine, or of the control group if that is less.
pub fn total() -> u64 {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| field(&text, "MemTotal:"));
    group_maxima().map(|(max, _)| max).fold(machine.unwrap_or(4 << 30), u64::min)
}

/// A line `Name:  123 kB` of `/proc/meminfo`, in bytes.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

fn group_limits() -> impl Iterator<Item = u64> {
    group_maxima().map(|(max, used)| max.saturating_sub(used))
}

/// Limit and use of the control groups this process may be in, version 2 and 1.
fn group_maxima() -> impl Iterator<Item = (u64, u64)> {
    let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/").trim_end_matches('/').to_owned();
    let pairs = [
        (format!("/sys/fs/cgroup{own}/memory.max"), format!("/sys/fs/cgroup{own}/memory.current")),
        ("/sys/fs/cgroup/memory.max".into(), "/sys/fs/cgroup/memory.current".into()),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes".into(), "/sys/fs/cgroup/memory/memory.usage_in_bytes".into()),
    ];
    pairs.into_iter().filter_map(move |(max, used)| Some((number(&max)?, number(&used)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_lines_are_kibibytes() {
        let text = "MemTotal:       24000000 kB\nMemAvailable:   12 kB\n";
        assert_eq!(field(text, "MemAvailable:"), Some(12 * 1024));
        assert_eq!(field(text, "MemFree:"), None);
        assert_eq!(field("MemAvailable: many kB", "MemAvailable:"), None);
    }

    #[test]
    fn some_memory_is_available_but_not_more_than_there_is() {
        assert!(0 < available() && available() <= total());
    }
}
