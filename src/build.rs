//! Compiles the kernels of `src/ops/kernels`: with the feature `cuda` by nvcc for every supported
//! architecture, with `cuda-emulator` by the host's C++ compiler. Without either, nothing.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=src/build.rs");
    println!("cargo::rerun-if-changed=src/ops/kernels");
    println!(
        "cargo::rustc-env=XP_RUSTC={}",
        output(&env::var("RUSTC").unwrap_or_default(), &["-V"])
    );
    record_commit();
    if env::var_os("CARGO_FEATURE_CUDA").is_some() {
        device::compile();
    }
    #[cfg(feature = "cuda-emulator")]
    emulator::compile();
}

/// Records the commit, for `xp --version`: `XP_COMMIT` where it is set (a package has no repository),
/// else the repository's. Only in release builds, which a commit makes anew; the others are built
/// too often for that.
fn record_commit() {
    println!("cargo::rerun-if-env-changed=XP_COMMIT");
    if env::var_os("XP_COMMIT").is_some() || env::var("PROFILE").as_deref() != Ok("release") {
        return;
    }
    let (commit, log) = (
        output("git", &["rev-parse", "HEAD"]),
        output("git", &["rev-parse", "--git-path", "logs/HEAD"]),
    );
    if !commit.is_empty() && std::path::Path::new(&log).exists() {
        println!("cargo::rerun-if-changed={log}");
        println!("cargo::rustc-env=XP_COMMIT={commit}");
    }
}

/// What a program prints; nothing if it fails or is not there.
fn output(program: &str, args: &[&str]) -> String {
    let output = std::process::Command::new(program).args(args).output().ok();
    let output = output.filter(|output| output.status.success());
    output.map_or(String::new(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The kernels' sources.
fn sources() -> Vec<std::path::PathBuf> {
    let folder = std::fs::read_dir("src/ops/kernels").expect("src/ops/kernels is there");
    let paths = folder.map(|entry| entry.expect("a readable folder").path());
    let mut sources: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|end| end == "cu")).collect();
    sources.sort();
    sources
}

mod device {
    use std::fmt::Write as _;
    use std::path::{Path, PathBuf};
    use std::process::Command;
    use std::{env, fs, thread};

    /// Machine code for these, and PTX of the first, which a driver compiles for anything newer. "90a" is
    /// 9.0 with the instructions that it shares with nothing newer, for the kernels written with them.
    const ARCHITECTURES: [&str; 5] = ["80", "86", "89", "90", "90a"];
    /// Such kernels.
    const HOPPER: &str = "attention_hopper";
    /// Set by this repository's checks: a warning of another nvcc must not keep anybody from building.
    const DENY_WARNINGS: &str = "XP_CUDA_DENY_WARNINGS";
    const HELP: &str = "the feature `cuda` needs nvcc of CUDA 12 or 13: install the CUDA toolkit \
                        (or run tests/gpu/toolkit.sh, which fetches a small one), and name its \
                        folder in CUDA_HOME";

    /// One embedded fatbin a source file, listed in `kernels.rs`.
    pub fn compile() {
        for name in ["CUDA_HOME", "CUDA_PATH", "NVCC", "XP_CUDA_ARCHITECTURES", DENY_WARNINGS] {
            println!("cargo::rerun-if-env-changed={name}");
        }
        let out = PathBuf::from(env::var_os("OUT_DIR").expect("set by cargo"));
        let nvcc = nvcc();
        let version = version(&nvcc);
        let chosen = env::var("XP_CUDA_ARCHITECTURES").unwrap_or_else(|_| ARCHITECTURES.join(","));
        let chosen: Vec<&str> = chosen.split(',').collect();
        let hopper: &[&str] = if chosen.contains(&"90a") { &["90a"] } else { &[] };
        let mut plain: Vec<&str> = Vec::new();
        for arch in chosen.iter().map(|arch| arch.trim_end_matches('a')) {
            if !plain.contains(&arch) {
                plain.push(arch);
            }
        }
        let compile = |source: &Path| {
            let fatbin = out.join(source.with_extension("fatbin").file_name().expect("a file"));
            let mut command = Command::new(&nvcc);
            command.args(["-fatbin", "-O3", "-std=c++17"]);
            if env::var_os(DENY_WARNINGS).is_some() {
                command.arg("-Werror=all-warnings");
            }
            let of_hopper = source.file_stem().is_some_and(|stem| stem == HOPPER);
            for arch in if of_hopper { hopper } else { &plain } {
                command.arg(format!("-gencode=arch=compute_{arch},code=sm_{arch}"));
            }
            if !of_hopper {
                let ptx = plain[0];
                command.arg(format!("-gencode=arch=compute_{ptx},code=compute_{ptx}"));
            }
            let status = command.arg("-o").arg(&fatbin).arg(source).status();
            assert!(status.is_ok_and(|s| s.success()), "{command:?} failed");
            (of_hopper, fatbin)
        };
        // The files are independent, and one of them takes as long as all others.
        let fatbins: Vec<(bool, PathBuf)> = thread::scope(|scope| {
            let tasks: Vec<_> = super::sources()
                .into_iter()
                .filter(|source| !hopper.is_empty() || !source.ends_with(format!("{HOPPER}.cu")))
                .map(|source| scope.spawn(move || compile(&source)))
                .collect();
            tasks.into_iter().map(|task| task.join().expect("nvcc ran")).collect()
        });
        let mut list = String::new();
        for (doc, name, of_hopper) in [
            ("The kernels of each source file.", "IMAGES", false),
            ("Those that run on compute capability 9.0 and nothing else.", "HOPPER_IMAGES", true),
        ] {
            writeln!(list, "/// {doc}\npub(super) static {name}: &[&Aligned<[u8]>] = &[")
                .expect("a string grows");
            for (_, fatbin) in fatbins.iter().filter(|(hopper, _)| *hopper == of_hopper) {
                let path = fatbin.to_str().expect("a build folder with a UTF-8 name");
                writeln!(list, "    &Aligned(*include_bytes!({path:?})),").expect("a string grows");
            }
            list.push_str("];\n");
        }
        fs::write(out.join("kernels.rs"), list).expect("OUT_DIR can be written");
        println!("cargo::rustc-env=XP_NVCC_VERSION={version}");
        println!("cargo::rustc-env=XP_CUDA_ARCHITECTURES={}", chosen.join(","));
    }

    fn nvcc() -> PathBuf {
        if let Some(nvcc) = env::var_os("NVCC") {
            return nvcc.into();
        }
        let homes = ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(env::var_os);
        homes
            .map(PathBuf::from)
            .chain(["/usr/local/cuda".into()])
            .map(|home| home.join("bin/nvcc"))
            .find(|nvcc| nvcc.exists())
            .unwrap_or_else(|| "nvcc".into())
    }

    /// "13.0.88".
    fn version(nvcc: &Path) -> String {
        let output = Command::new(nvcc).arg("--version").output();
        let output = output.unwrap_or_else(|e| panic!("{}: {e}; {HELP}", nvcc.display()));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let version = text.split(", V").nth(1).and_then(|rest| rest.split_whitespace().next());
        version
            .unwrap_or_else(|| panic!("{} --version says {text:?}; {HELP}", nvcc.display()))
            .into()
    }
}

#[cfg(feature = "cuda-emulator")]
mod emulator {
    /// One static library of all kernels and the emulator.
    pub fn compile() {
        let mut build = cc::Build::new();
        build.cpp(true).std("c++17").define("XP_EMULATOR", None).include("src/ops/kernels");
        // The kernels are the same text for another compiler: its pragmas, its warnings.
        build.opt_level(2).warnings(false).flag("-xc++").flag("-Wno-unknown-pragmas");
        // They access 16 bytes of other types at a time, which nvcc allows.
        build.flag("-fno-strict-aliasing");
        // Registered kernels have no caller that a linker sees.
        build.link_lib_modifier("+whole-archive");
        build.files(super::sources()).file("src/ops/kernels/emulator.cpp");
        build.compile("xp_kernels");
    }
}
