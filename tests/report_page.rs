//! report.html in a browser: loaded offline, with all its parts, no wider than a phone.
//!
//! Without Chromium the test says that it is skipped.

use std::path::{Path, PathBuf};
use std::process::Command;

fn browser() -> Option<PathBuf> {
    let names = ["chromium", "chromium-browser", "google-chrome", "chrome"];
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .flat_map(|dir| names.map(|name| dir.join(name)))
        .find(|file| file.is_file())
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder of results") {
        let path = entry.expect("readable").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &target);
        } else if path.extension().is_some_and(|e| e == "json" || e == "jsonl") {
            std::fs::copy(&path, &target).expect("a copy");
        }
    }
}

/// The committed experiment reported anew in a folder of its own, and where its report lies.
fn reported(format: &str) -> (tempfile::TempDir, PathBuf) {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("results/tinystories_cpu");
    let dir = tempfile::tempdir().expect("a folder");
    let results = dir.path().join("tinystories_cpu");
    copy(&committed, &results);
    let output = Command::new(env!("CARGO_BIN_EXE_xp"))
        .args(["report", "-q", "--format", format])
        .arg(&results)
        .output()
        .expect("xp runs");
    assert!(output.status.success());
    (dir, results.join("report"))
}

/// The document after loading, as the browser has it.
fn loaded(browser: &Path, page: &Path, width: u32) -> String {
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"])
        .arg(format!("--user-data-dir={}", page.with_extension("profile").display()))
        .arg(format!("--window-size={width},900"))
        .arg(format!("file://{}", page.display()))
        .output()
        .expect("a browser that starts");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_page_loads_offline_and_has_its_parts() {
    let (dir, report) = reported("html");
    let page = report.join("report.html");
    let html = std::fs::read_to_string(&page).expect("the page");
    // Nothing from elsewhere: the only address is the name of SVG.
    let addresses = html.matches("://").count();
    assert_eq!(addresses, html.matches("http://www.w3.org/2000/svg").count());
    assert!(!html.contains("<script") && !html.contains("<link") && !html.contains("src="));

    let Some(browser) = browser() else {
        eprintln!("skipped: there is no Chromium to load report.html in");
        return;
    };
    let document = loaded(&browser, &page, 1280);
    for part in [
        "<h1>tinystories_cpu</h1>",
        "class=\"verdict WIN\"",
        "aria-label=\"Perplexity of every seed, mean and 95 % interval\"",
        "aria-label=\"Mean perplexity by evaluation length\"",
        "aria-label=\"Loss by position, evaluated at 4096 tokens\"",
        "aria-label=\"Training loss, mean over seeds and 5 steps\"",
        "aria-label=\"Frequency sets as trained\"",
        "Protocol 02afcbb8ec1091216c7f01b3fd9c306e",
        "hybrid_a0.2_t100k/seed-7/run.json",
        "Before you believe it",
    ] {
        assert!(document.contains(part), "the loaded page lacks {part}");
    }
    // Nothing is wider than the window but what scrolls in its own frame. Scripts are forbidden to
    // the page itself, so a copy measures.
    let script = "<script>document.title = 'over by ' + (document.documentElement.scrollWidth - \
                  document.documentElement.clientWidth)</script></body>";
    let measured = html
        .replace("<meta http-equiv=\"Content-Security-Policy\"", "<meta name=\"none\"")
        .replace("</body>", script);
    let copy = dir.path().join("measured.html");
    std::fs::write(&copy, measured).expect("a copy");
    for width in [1280, 390] {
        let document = loaded(&browser, &copy, width);
        assert!(document.contains("<title>over by 0</title>"), "too wide at {width}");
    }
}

#[test]
fn the_tables_compile_by_themselves_and_inside_a_paper() {
    let (_dir, report) = reported("tex");
    let paper = "\\documentclass{article}\\usepackage{booktabs}\\begin{document}Before.\n\
                 \\input{report}\nAfter.\\end{document}\n";
    std::fs::write(report.join("paper.tex"), paper).expect("a paper");
    for name in ["report", "paper"] {
        let latex = Command::new("pdflatex")
            .args(["-interaction=nonstopmode", "-halt-on-error", name])
            .current_dir(&report)
            .output();
        let Ok(output) = latex else {
            eprintln!("skipped: there is no pdflatex to compile report.tex with");
            return;
        };
        let log = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{name}: {log}");
        assert!(report.join(name).with_extension("pdf").is_file());
    }
}
