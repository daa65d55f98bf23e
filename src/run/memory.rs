//! Memory of this machine that the process can still have.

use std::path::{Path, PathBuf};

/// What the system says of its memory.
const MEMORY: &str = "proc/meminfo";

/// Bytes that a process can still have here without swapping, by the system, the control groups that it
/// is in and its own limits (`ulimit -v`, `-d`); `None` where none of them tells.
#[must_use]
pub fn available_memory() -> Option<u64> {
    available(Path::new("/"))
}

/// As [`available_memory`], with what can be swapped out and what ZFS gives back: what needs more is killed.
#[must_use]
pub fn obtainable_memory() -> Option<u64> {
    obtainable(Path::new("/"))
}

fn available(root: &Path) -> Option<u64> {
    let of_system = within_groups(root, in_kib(root, MEMORY, "MemAvailable:"));
    of_system.into_iter().chain(limits(root)).min()
}

fn obtainable(root: &Path) -> Option<u64> {
    let of_system = in_kib(root, MEMORY, "MemAvailable:");
    let of_system = of_system.map(|bytes| bytes.saturating_add(arc(root)));
    let swap = in_kib(root, MEMORY, "SwapFree:").unwrap_or(0);
    let of_system = within_groups(root, of_system).map(|bytes| bytes.saturating_add(swap));
    of_system.into_iter().chain(limits(root)).min()
}

fn within_groups(root: &Path, of_system: Option<u64>) -> Option<u64> {
    of_system.into_iter().chain(groups(root)).min()
}

/// What the cache of ZFS shrinks by when memory is wanted; Linux does not count it as available.
fn arc(root: &Path) -> u64 {
    let text = std::fs::read_to_string(root.join("proc/spl/kstat/zfs/arcstats"));
    let text = text.unwrap_or_default();
    // Name, type, value.
    let value = |name: &str| {
        let mut lines = text.lines().map(str::split_whitespace);
        lines.find_map(|mut words| (words.next()? == name).then(|| words.nth(1)?.parse().ok())?)
    };
    let least: u64 = value("c_min").unwrap_or(0);
    value("size").unwrap_or(0).saturating_sub(least)
}

/// A line of a file whose lines are a name and KiB, in bytes.
fn in_kib(root: &Path, file: &str, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(root.join(file)).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok()?.checked_mul(1 << 10)
}

/// What is left below the limits of this process that some batch systems set.
fn limits(root: &Path) -> Vec<u64> {
    let text = std::fs::read_to_string(root.join("proc/self/limits")).unwrap_or_default();
    let left = |(limit, used): (&str, &str)| {
        let soft = text.lines().find_map(|line| line.strip_prefix(limit))?;
        let most: u64 = soft.split_whitespace().next()?.parse().ok()?;
        Some(most.saturating_sub(in_kib(root, "proc/self/status", used).unwrap_or(0)))
    };
    let kinds = [("Max address space", "VmSize:"), ("Max data size", "VmData:")];
    kinds.into_iter().filter_map(left).collect()
}

/// What the files of a version of control groups are called.
struct Names {
    most: &'static str,
    used: &'static str,
    /// Lines of `memory.stat`: cached files, which go when memory is wanted.
    cached: [&'static str; 2],
}

const V1: Names = Names {
    most: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    cached: ["total_active_file", "total_inactive_file"],
};
const V2: Names =
    Names { most: "memory.max", used: "memory.current", cached: ["active_file", "inactive_file"] };

/// What is left in each control group with a limit that the process is in: its own, and those around it.
fn groups(root: &Path) -> Vec<u64> {
    let listed = std::fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let mut left = Vec::new();
    for line in listed.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (mount, names) = match controllers {
            "" => ("sys/fs/cgroup", &V2),
            _ if controllers.split(',').any(|name| name == "memory") => {
                ("sys/fs/cgroup/memory", &V1)
            }
            _ => continue,
        };
        // In a container the path may be the host's: then only the mount itself is there.
        let mount = root.join(mount);
        let own: PathBuf = mount.join(path.trim_start_matches('/'));
        let around = own.ancestors().take_while(|folder| folder.starts_with(&mount));
        left.extend(around.filter_map(|folder| left_in(folder, names)));
    }
    left
}

fn left_in(folder: &Path, names: &Names) -> Option<u64> {
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).ok();
    let number = |name: &str| read(name)?.trim().parse::<u64>().ok();
    let (most, used) = (number(names.most)?, number(names.used)?);
    let stat = read("memory.stat").unwrap_or_default();
    let lines = stat.lines().filter_map(|line| line.split_once(' '));
    let cached = lines.filter(|(name, _)| names.cached.contains(name));
    let cached: u64 = cached.filter_map(|(_, bytes)| bytes.trim().parse::<u64>().ok()).sum();
    Some(most.saturating_sub(used.saturating_sub(cached)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A root with these files.
    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        root
    }

    const SYSTEM: (&str, &str) =
        ("proc/meminfo", "MemTotal: 9000 kB\nMemAvailable:   5000 kB\nSwapFree:  1000 kB\n");

    #[test]
    fn a_system_without_control_groups_says_what_is_available() {
        let there = root(&[SYSTEM]);
        assert_eq!(available(there.path()), Some(5000 << 10));
        assert_eq!(obtainable(there.path()), Some(6000 << 10));
        assert_eq!(available(root(&[]).path()), None);
        assert_eq!(obtainable(root(&[]).path()), None);
    }

    #[test]
    fn the_limits_of_the_process_count_and_swap_does_not_widen_them() {
        let limits = "Limit             Soft Limit  Hard Limit  Units\n\
                      Max data size     unlimited   unlimited   bytes\n\
                      Max address space 3000000     unlimited   bytes\n";
        let used = ("proc/self/status", "Name:\txp\nVmSize:\t    1000 kB\n");
        let there = root(&[SYSTEM, ("proc/self/limits", limits), used]);
        assert_eq!(available(there.path()), Some(3_000_000 - (1000 << 10)));
        assert_eq!(obtainable(there.path()), Some(3_000_000 - (1000 << 10)));
    }

    #[test]
    fn the_cache_of_zfs_is_obtainable_but_for_its_least_size() {
        let stats =
            "13 1 0x01 147 39984 1 2\nname type data\nhits 4 9\nc_min 4 1000\nsize 4 5000\n";
        let arcstats = ("proc/spl/kstat/zfs/arcstats", stats);
        let there = root(&[SYSTEM, arcstats]);
        assert_eq!(available(there.path()), Some(5000 << 10));
        assert_eq!(obtainable(there.path()), Some((6000 << 10) + 4000));
    }

    #[test]
    fn the_tightest_group_counts_and_cached_files_are_no_use_of_it() {
        let job = "sys/fs/cgroup/system.slice/job_7";
        let of = |name: &str| format!("{job}/{name}");
        let there = root(&[
            SYSTEM,
            ("proc/self/cgroup", "0::/system.slice/job_7/step_0\n"),
            (&of("step_0/memory.max"), "max\n"),
            (&of("step_0/memory.current"), "700\n"),
            (&of("memory.max"), "1000\n"),
            (&of("memory.current"), "700\n"),
            (&of("memory.stat"), "anon 300\ninactive_file 150\nactive_file 50\nshmem 30\n"),
            ("sys/fs/cgroup/memory.max", "2000\n"),
            ("sys/fs/cgroup/memory.current", "100\n"),
        ]);
        assert_eq!(available(there.path()), Some(500));
        assert_eq!(obtainable(there.path()), Some(500 + (1000 << 10)));
    }

    #[test]
    fn groups_of_the_first_version_are_known_also_inside_a_container() {
        let there = root(&[
            SYSTEM,
            ("proc/self/cgroup", "5:cpu,cpuacct:/\n4:memory:/docker/a1\n0::/\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "4000\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "1000\n"),
            ("sys/fs/cgroup/memory/memory.stat", "total_active_file 200\nactive_file 900\n"),
        ]);
        assert_eq!(available(there.path()), Some(3200));
    }
}
