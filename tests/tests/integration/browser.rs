//! The report in a browser: headless Chromium opens it, says nothing on its console, and draws something. Without a
//! browser there is nothing to test with: the tests say so and pass, unless `REPORT_BROWSER` names one.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::report::report;
use crate::sandbox::Sandbox;

/// A browser that says nothing for so long has hung.
const PATIENCE: Duration = Duration::from_secs(240);

/// Names under which Chromium is known.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// The browser that `REPORT_BROWSER` names, else one of the search path.
fn browser() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("REPORT_BROWSER").filter(|name| !name.is_empty()) {
        let named = PathBuf::from(named);
        assert!(named.is_file(), "REPORT_BROWSER names no file: {}", named.display());
        return Some(named);
    }
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path).flat_map(|d| NAMES.map(|n| d.join(n))).find(|p| p.is_file());
    if found.is_none() {
        eprintln!("skipped: there is no Chromium here (none of {NAMES:?} is in PATH)");
    }
    found
}

/// Opens a page and takes a picture of it; returns what the page said on the console.
fn open(browser: &Path, page: &Path, picture: &Path, more: &[&str]) -> Vec<String> {
    let profile = tempfile::tempdir().unwrap();
    let mut command = Command::new(browser);
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]);
    command.args(["--no-first-run", "--disable-background-networking", "--disable-component-update"]);
    // Whatever a page would load from elsewhere fails, and says so.
    command.args(["--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr", "--window-size=1000,2400"]);
    command.args(more);
    command.arg(format!("--user-data-dir={}", profile.path().display()));
    command.arg(format!("--screenshot={}", picture.display()));
    command.arg(format!("file://{}", page.display()));
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut stderr = child.stderr.take().expect("piped");
    let (sender, said) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stderr.read_to_end(&mut bytes);
        let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    let said = said.recv_timeout(PATIENCE);
    if said.is_err() {
        let _ = child.kill();
    }
    let status = child.wait().expect("it can be waited for");
    let said = said.expect("the browser ends in time");
    assert!(status.success() && picture.is_file(), "{status}: {said}");
    said.lines().filter(|l| l.contains("CONSOLE")).map(str::to_owned).collect()
}

/// How many colours a picture has, and the share of its most frequent one.
fn colors(picture: &Path) -> (usize, f64) {
    let mut reader = png::Decoder::new(BufReader::new(File::open(picture).unwrap())).read_info().unwrap();
    let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut bytes).unwrap();
    let pixels: Vec<&[u8]> = bytes[..info.buffer_size()].chunks(info.color_type.samples()).collect();
    let distinct: HashSet<&[u8]> = pixels.iter().copied().collect();
    let ground = pixels.iter().filter(|p| **p == pixels[0]).count();
    (distinct.len(), ground as f64 / pixels.len() as f64)
}

#[test]
fn a_browser_opens_the_report_without_a_word_and_draws_it() {
    let Some(browser) = browser() else { return };
    let sandbox = Sandbox::new();
    let page = sandbox.root().join("report.html");
    let workload = ["--workload", "synthetic:jobs=60,rate=30", "--policy", "bias", "round-robin", "--seeds", "3"];
    let (text, _) = report(&page, &workload);
    let picture = |name: &str| sandbox.root().join(format!("{name}.png"));
    for (name, more) in [("light", &[][..]), ("dark", &["--blink-settings=preferredColorScheme=0"][..])] {
        let said = open(&browser, &page, &picture(name), more);
        assert!(said.is_empty(), "{name}: {said:#?}");
        let (distinct, ground) = colors(&picture(name));
        assert!(distinct > 100 && (0.3..0.98).contains(&ground), "{name}: {distinct} colours, {ground} ground");
    }
    assert_ne!(fs::read(picture("light")).unwrap(), fs::read(picture("dark")).unwrap());
    // What it would look like if it were broken: the checks above see it.
    let broken = sandbox.root().join("broken.html");
    fs::write(&broken, text.replace("</body>", "<script>throw new Error('x')</script></body>")).unwrap();
    let said = open(&browser, &broken, &picture("broken"), &[]);
    assert!(said.iter().any(|l| l.contains("Uncaught Error")), "{said:#?}");
    fs::write(&broken, "<!DOCTYPE html><title>nothing</title>").unwrap();
    open(&browser, &broken, &picture("empty"), &[]);
    assert_eq!(colors(&picture("empty")).0, 1);
}
