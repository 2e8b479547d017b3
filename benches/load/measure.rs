//! Numbers: durations in order, and what the system says of a process.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};

/// Clock ticks of `/proc/PID/stat` in a second: fixed on Linux, whatever the kernel's own rate.
const TICKS: f64 = 100.0;

/// Durations, or differences of durations, in milliseconds.
#[derive(Debug, Default, Clone)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn add(&mut self, duration: Duration) {
        self.0.push(duration.as_secs_f64() * 1000.0);
    }

    pub(crate) fn add_ms(&mut self, milliseconds: f64) {
        self.0.push(milliseconds);
    }

    pub(crate) fn append(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The value that this share of all values (in thousandths) does not exceed; 0 if there are none.
    pub(crate) fn quantile(&self, thousandths: usize) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (sorted.len() * thousandths).div_ceil(1000).max(1);
        rounded(sorted.get(rank - 1).copied().unwrap_or_default())
    }

    pub(crate) fn p50(&self) -> f64 {
        self.quantile(500)
    }

    pub(crate) fn p99(&self) -> f64 {
        self.quantile(990)
    }

    /// 0 if there are none.
    pub(crate) fn mean(&self) -> f64 {
        rounded(self.0.iter().sum::<f64>() / number(self.len()).max(1.0))
    }

    pub(crate) fn max(&self) -> f64 {
        self.quantile(1000)
    }

    /// Median, p99, mean, greatest and count.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "p50": self.p50(),
            "p99": self.p99(),
            "mean": self.mean(),
            "max": self.max(),
            "count": self.len(),
        })
    }
}

/// To the microsecond, or three digits after the point.
pub(crate) fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// User and system time that a process has used.
pub(crate) fn cpu(process: u32) -> anyhow::Result<Duration> {
    let stat = read(process, "stat")?;
    // The name, in parentheses, can hold anything.
    let fields = stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect::<Vec<_>>());
    let ticks = |place: usize| -> Option<f64> { fields.as_ref()?.get(place)?.parse().ok() };
    let (user, system) = ticks(11).zip(ticks(12)).context("an unknown form of /proc/PID/stat")?;
    Ok(Duration::from_secs_f64((user + system) / TICKS))
}

/// Octets of memory that a process has: now (`VmRSS`) or at most so far (`VmHWM`).
pub(crate) fn memory(process: u32, field: &str) -> anyhow::Result<u64> {
    let status = read(process, "status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let kibi: u64 = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok()).context("no memory")?;
    Ok(kibi * 1024)
}

fn read(process: u32, file: &str) -> anyhow::Result<String> {
    let path = format!("/proc/{process}/{file}");
    std::fs::read_to_string(&path).with_context(|| format!("cannot read `{path}`"))
}

/// Octets of a file; none if it is not there.
pub(crate) fn octets(file: &Path) -> u64 {
    std::fs::metadata(file).map_or(0, |metadata| metadata.len())
}

/// In MiB, for people.
pub(crate) fn mebi(octets: u64) -> f64 {
    let kibi = u32::try_from(octets / 1024).unwrap_or(u32::MAX);
    rounded(f64::from(kibi) / 1024.0)
}

/// A count, as a number that can be divided by.
pub(crate) fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
