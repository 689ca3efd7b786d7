//! What a swap costs: in time, in stalls, in memory.
#![allow(unsafe_code, reason = "the bare dlopen that swaps are measured against")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use notify::{RecursiveMode, Watcher};
use policy_host::PolicyHost;
use tokio::runtime::Runtime;

use crate::artifact;
use crate::boundary::loaded;
use crate::paired::{Ratio, median, quantile};
use crate::rounds::round;

const SWAPS: usize = 200;

/// The first plan of each generation, as the embedder sees it.
type FirstPlan = tokio::sync::watch::Receiver<(u64, Option<Instant>)>;

/// Binds rounds without end until told to stop: full load. Says when a new generation answers first; returns how many.
fn load(
    runtime: &Runtime,
    host: &Arc<PolicyHost>,
    over: &Arc<AtomicBool>,
) -> (tokio::task::JoinHandle<u64>, FirstPlan) {
    let (host, over) = (Arc::clone(host), Arc::clone(over));
    let r = round(100, 4, 100);
    let (tell, first) = tokio::sync::watch::channel((host.active().generation, None));
    let binder = runtime.spawn(async move {
        let (mut rounds, mut last) = (0, tell.borrow().0);
        while !over.load(Ordering::Relaxed) {
            let plan = host.bind(Arc::clone(&r)).await;
            let generation = plan.answered_by().generation;
            if generation != last {
                last = generation;
                let _ = tell.send((generation, Some(Instant::now())));
            }
            assert!(plan.fallback().is_none(), "{:?}", plan.fallback());
            assert_eq!(plan.bindings().len(), 100, "nothing is lost");
            rounds += 1;
            tokio::task::yield_now().await;
        }
        rounds
    });
    (binder, first)
}

async fn next(first: &mut FirstPlan) -> Instant {
    let changed = tokio::time::timeout(Duration::from_secs(60), first.changed());
    changed.await.expect("it is swapped in").expect("it binds");
    first.borrow_and_update().1.expect("answered")
}

/// From the rename to the first answered round: config switches and new files.
pub(crate) fn latency(runtime: &Runtime) {
    let (host, directory) = loaded(runtime, "policy_bias", "bias", "inline");
    let host = Arc::new(host);
    let over = Arc::new(AtomicBool::new(false));
    let (binder, mut first) = load(runtime, &host, &over);
    let active = directory.path().join("active.json");
    let bytes = std::fs::read(artifact("policy_bias")).expect("built");
    let library = directory.path().join(artifact("policy_bias").file_name().expect("a name"));
    let (mut config, mut file, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    let mut clock = Reference::new();
    runtime.block_on(async {
        // The active file asks for what is switched to from now on.
        rename_in(&active, br#"{ "policy": "bias", "lane": "inline" }"#);
        next(&mut first).await;
        for i in 0..SWAPS {
            // The same policy under another deadline: a new generation of the same library.
            let json = format!(r#"{{ "policy": "bias", "lane": "inline", "deadline_ms": {} }}"#, 1_000 + i);
            let start = rename_in(&active, json.as_bytes());
            config.push((next(&mut first).await - start).as_secs_f64() * 1e3);
            // Other bytes of the same policy: a new library.
            let mut other = bytes.clone();
            other.extend_from_slice(&(i as u64).to_le_bytes());
            let start = rename_in(&library, &other);
            file.push((next(&mut first).await - start).as_secs_f64() * 1e3);
            other.push(1);
            bare.push(clock.measure(&other));
        }
    });
    over.store(true, Ordering::Relaxed);
    let rounds = runtime.block_on(binder).expect("no round failed");
    println!("{SWAPS} of each at full load: {rounds} rounds bound meanwhile, all of them complete\n");
    println!(
        "| from the rename to the first answered round | p50 | p99 | p50 against (inotify wake + bare dlopen) |\n|---|---|---|---|"
    );
    let reference = median(&bare);
    for (name, times) in [("config switch", &config), ("new file", &file)] {
        println!(
            "| {name} | {:.2} ms | {:.2} ms | {:.1} |",
            median(times),
            quantile(times, 0.99),
            median(times) / reference
        );
    }
    println!("| inotify wake + bare dlopen of such a file | {reference:.2} ms | {:.2} ms | 1 |", quantile(&bare, 0.99));
}

/// Writes beside and renames; returns the time just before the rename.
fn rename_in(target: &Path, bytes: &[u8]) -> Instant {
    let beside = target.with_file_name(".beside");
    std::fs::write(&beside, bytes).expect("written");
    let start = Instant::now();
    std::fs::rename(beside, target).expect("renamed");
    start
}

/// What no host could do without: hearing of the file, and mapping it.
struct Reference {
    directory: tempfile::TempDir,
    heard: std::sync::mpsc::Receiver<()>,
    _watcher: notify::RecommendedWatcher,
    number: u64,
}

impl Reference {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let (tell, heard) = std::sync::mpsc::channel();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event
                .is_ok_and(|e| e.kind.is_modify() && e.paths.iter().any(|p| p.extension().is_some_and(|x| x == "so")))
            {
                let _ = tell.send(());
            }
        })
        .expect("a watcher");
        watcher.watch(directory.path(), RecursiveMode::NonRecursive).expect("watched");
        Self { directory, heard, _watcher: watcher, number: 0 }
    }

    fn measure(&mut self, bytes: &[u8]) -> f64 {
        self.number += 1;
        while self.heard.try_recv().is_ok() {}
        let target = self.directory.path().join(format!("{}.so", self.number));
        let start = rename_in(&target, bytes);
        self.heard.recv().expect("heard");
        // SAFETY: a bundled plugin, whose initialisers do nothing; never unloaded.
        let library = unsafe { libloading::Library::new(&target) }.expect("loaded");
        let took = start.elapsed().as_secs_f64() * 1e3;
        std::mem::forget(library);
        took
    }
}

/// Round latency while policies are swapped a hundred times a second, against the same without swaps.
pub(crate) fn stall(runtime: &Runtime) {
    let (host, directory) = loaded(runtime, "policy_bias", "bias", "inline");
    let rr = artifact("policy_round_robin");
    std::fs::copy(&rr, directory.path().join(rr.file_name().expect("a name"))).expect("copied");
    let host = Arc::new(host);
    let swapping = Arc::new(AtomicBool::new(false));
    let over = Arc::new(AtomicBool::new(false));
    let swaps = Arc::new(AtomicU64::new(0));
    let swapper = {
        let (host, swapping, over, swaps) =
            (Arc::clone(&host), Arc::clone(&swapping), Arc::clone(&over), Arc::clone(&swaps));
        runtime.spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_millis(10));
            for i in 0u64.. {
                tick.tick().await;
                if over.load(Ordering::Relaxed) {
                    return;
                }
                if swapping.load(Ordering::Relaxed) {
                    let policy = if i.is_multiple_of(2) { "bias" } else { "round-robin" };
                    let json = format!(r#"{{ "policy": "{policy}", "lane": "inline" }}"#);
                    let switched = host.switch(&json).await;
                    // The last one before a quiet block is overtaken by the switch that begins the block.
                    assert!(switched.is_ok() || !swapping.load(Ordering::Relaxed), "{switched:?}");
                    swaps.fetch_add(1, Ordering::Relaxed);
                }
            }
        })
    };
    let r = round(1_000, 10, 1_000);
    let mut p99 = [Vec::new(), Vec::new()];
    let mut p50 = [Vec::new(), Vec::new()];
    let (mut rounds, mut firsts, mut last) = (0u64, 0u64, 0);
    runtime.block_on(async {
        for block in 0..64 {
            let side = usize::from([false, true, true, false][block % 4]);
            swapping.store(side == 1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(20)).await;
            if side == 0 {
                // Each of the two policies serves half of the quiet blocks: swaps are compared, not policies.
                let policy = if block % 8 < 4 { "bias" } else { "round-robin" };
                host.switch(&format!(r#"{{ "policy": "{policy}", "lane": "inline" }}"#)).await.expect("switched");
            }
            let mut times = Vec::new();
            let start = Instant::now();
            while start.elapsed() < Duration::from_millis(400) {
                let asked = Instant::now();
                let plan = host.bind(Arc::clone(&r)).await;
                times.push(asked.elapsed().as_nanos() as f64 / 1e3);
                assert_eq!((plan.fallback(), plan.bindings().len()), (None, 1_000));
                if side == 1 {
                    rounds += 1;
                    firsts += u64::from(std::mem::replace(&mut last, plan.answered_by().generation) != last);
                }
                tokio::time::sleep(Duration::from_micros(100)).await;
            }
            p99[side].push(quantile(&times, 0.99));
            p50[side].push(median(&times));
        }
        over.store(true, Ordering::Relaxed);
        swapper.await.expect("no swap failed");
    });
    let paired =
        |side: &[Vec<f64>]| Ratio::of(&side[0].iter().copied().zip(side[1].iter().copied()).collect::<Vec<_>>());
    let share = 100.0 * firsts as f64 / rounds as f64;
    println!(
        "{} swaps; while swapping, {share:.0} % of {rounds} rounds were the first of their generation\n\n| | without \
         swaps | with swaps | ratio |\n|---|---|---|---|",
        swaps.load(Ordering::Relaxed)
    );
    println!(
        "| round p50 (median of 32 pairs, 95 %) | {:.1} us | {:.1} us | {} |",
        median(&p50[0]),
        median(&p50[1]),
        paired(&p50)
    );
    println!(
        "| round p99 (median of 32 pairs, 95 %) | {:.1} us | {:.1} us | {} |",
        median(&p99[0]),
        median(&p99[1]),
        paired(&p99)
    );
}

fn resident_kib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmRSS:"));
    line.and_then(|l| l.split_whitespace().nth(1)?.parse().ok()).unwrap_or(f64::NAN)
}

/// Resident memory over switches between two libraries, and for each distinct library.
pub(crate) fn memory(runtime: &Runtime) {
    let (host, directory) = loaded(runtime, "policy_bias", "bias", "inline");
    let rr = artifact("policy_round_robin");
    std::fs::copy(&rr, directory.path().join(rr.file_name().expect("a name"))).expect("copied");
    let mut events = host.events();
    runtime.block_on(async {
        let switch = async |i: usize| {
            let policy = if i.is_multiple_of(2) { "bias" } else { "round-robin" };
            let json = format!(r#"{{ "policy": "{policy}", "lane": "inline" }}"#);
            let mut switched = std::pin::pin!(host.switch(&json));
            loop {
                tokio::select! {
                    done = &mut switched => break drop(done.expect("switched")),
                    () = tokio::time::sleep(Duration::from_micros(100)) => drop(host.bind(round(4, 2, 4)).await),
                }
            }
        };
        for i in 0..200 {
            switch(i).await;
        }
        let mut before = resident_kib();
        for thousand in 1..=5 {
            for i in 0..1_000 {
                switch(i).await;
            }
            let after = resident_kib();
            println!("switches between two libraries, thousand {thousand}: {:+.0} KiB", after - before);
            before = after;
        }
        while events.try_next().is_some() {}
        let bytes = std::fs::read(artifact("policy_bias")).expect("built");
        let library = directory.path().join(artifact("policy_bias").file_name().expect("a name"));
        switch(0).await;
        let (mut generation, before) = (host.active().generation, resident_kib());
        const DISTINCT: u64 = 40;
        for i in 0..DISTINCT {
            let mut other = bytes.clone();
            other.extend_from_slice(&(i + 1_000_000).to_le_bytes());
            rename_in(&library, &other);
            while host.active().generation == generation {
                let _ = host.bind(round(4, 2, 4)).await;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            generation = host.active().generation;
        }
        let each = (resident_kib() - before) / DISTINCT as f64;
        println!("each distinct library: {each:.0} KiB (the file has {} KiB)", bytes.len() / 1024);
    });
}
