//! The memory that this process may use: that of the machine, within the limits of its control
//! groups.

use std::fs;
use std::path::Path;

/// Bytes that can be allocated without swapping: the smallest of what the machine and the control
/// groups have left.
pub fn available() -> u64 {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| meminfo_bytes(&text, "MemAvailable:"));
    // Systems other than Linux do not report it: assume a small machine.
    let machine = machine.unwrap_or(4 << 30);
    control_group_headroom().fold(machine, u64::min)
}

/// Bytes of the whole machine, or the limit of a control group or of this process if that is less.
pub fn total() -> u64 {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| meminfo_bytes(&text, "MemTotal:"));
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    control_groups().map(|group| group.max).chain(resource_limits(&limits)).fold(machine.unwrap_or(4 << 30), u64::min)
}

/// The limits `RLIMIT_DATA` and `RLIMIT_AS`, in bytes, as far as they are set.
fn resource_limits(text: &str) -> impl Iterator<Item = u64> {
    let soft = |line: &str, name| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok();
    text.lines().filter_map(move |line| soft(line, "Max data size").or_else(|| soft(line, "Max address space")))
}

/// A line `Name:  123 kB` of `/proc/meminfo`, in bytes.
fn meminfo_bytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The bytes that each control group has left: its limit less its use, where file cache that can be
/// dropped does not count as use.
fn control_group_headroom() -> impl Iterator<Item = u64> {
    control_groups().map(|group| group.max.saturating_sub(group.used.saturating_sub(group.droppable)))
}

/// The memory of a control group, in bytes.
struct ControlGroup {
    max: u64,
    used: u64,
    /// Inactive file cache.
    droppable: u64,
}

/// The control groups of this process and their parents, as far as they set a limit.
fn control_groups() -> impl Iterator<Item = ControlGroup> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let folders = own.lines().flat_map(|line| {
        // `0::/path` is version 2; `7:memory:/path` is the memory controller of version 1.
        let (controller, path) = line.split_once(':').and_then(|(_, rest)| rest.split_once(':')).unwrap_or_default();
        let root = match controller {
            "" => Some("/sys/fs/cgroup"),
            list if list.split(',').any(|name| name == "memory") => Some("/sys/fs/cgroup/memory"),
            _ => None,
        };
        let parents = |path: &str| Path::new(path).ancestors().map(|p| p.display().to_string()).collect::<Vec<_>>();
        root.map(|root| parents(path).into_iter().map(move |path| format!("{root}{path}"))).into_iter().flatten()
    });
    folders.filter_map(|folder| read_control_group(Path::new(&folder))).collect::<Vec<_>>().into_iter()
}

fn read_control_group(folder: &Path) -> Option<ControlGroup> {
    let number = |name: &str| fs::read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
    let max = number("memory.max").or_else(|| number("memory.limit_in_bytes"))?;
    let used = number("memory.current").or_else(|| number("memory.usage_in_bytes"))?;
    let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let value = |name: &str| stat.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
    let droppable = value("total_inactive_file ").or_else(|| value("inactive_file ")).unwrap_or(0);
    Some(ControlGroup { max, used, droppable })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_lines_are_kibibytes() {
        let text = "MemTotal:       24000000 kB\nMemAvailable:   12 kB\n";
        assert_eq!(meminfo_bytes(text, "MemAvailable:"), Some(12 * 1024));
        assert_eq!(meminfo_bytes(text, "MemFree:"), None);
        assert_eq!(meminfo_bytes("MemAvailable: many kB", "MemAvailable:"), None);
    }

    #[test]
    fn a_group_leaves_its_limit_less_what_it_cannot_drop() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        assert!(read_control_group(folder.path()).is_none(), "no limit is set");
        write("memory.max", "max\n");
        write("memory.current", "900\n");
        assert!(read_control_group(folder.path()).is_none(), "`max` is not a limit");
        write("memory.max", "1000\n");
        write("memory.stat", "anon 100\ninactive_file 600\nactive_file 200\n");
        let ControlGroup { max, used, droppable } = read_control_group(folder.path()).unwrap();
        assert_eq!((max, used, droppable), (1000, 900, 600));
    }

    #[test]
    fn the_limits_of_the_process_count_too() {
        let text = "Limit                     Soft Limit           Hard Limit           Units\n\
                    Max data size             1073741824           unlimited            bytes\n\
                    Max stack size            8388608              unlimited            bytes\n\
                    Max address space         unlimited            unlimited            bytes\n";
        assert_eq!(resource_limits(text).collect::<Vec<_>>(), [1 << 30]);
    }

    #[test]
    fn some_memory_is_available_but_not_more_than_there_is() {
        assert!(0 < available() && available() <= total());
    }
}
