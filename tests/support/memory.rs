//! Reading the memory of a process from outside, and looking for private keys.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};

use aws_lc_rs::agreement::{ECDH_P256, PrivateKey};
use base64ct::{Base64, Base64UrlUnpadded, Encoding};

/// Everything that the process can write to: heap, stacks, data.
pub fn memory(process: u32) -> Vec<Vec<u8>> {
    let process = format!("/proc/{process}");
    let maps = fs::read_to_string(format!("{process}/maps")).unwrap();
    let mut memory = File::open(format!("{process}/mem")).unwrap();
    let mut areas = Vec::new();
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let (range, mode) = (words.next().unwrap(), words.next().unwrap());
        let (begin, end) = range.split_once('-').unwrap();
        let [begin, end] = [begin, end].map(|hex| u64::from_str_radix(hex, 16).unwrap());
        if mode.starts_with("rw") {
            let mut area = vec![0; usize::try_from(end - begin).unwrap()];
            memory.seek(SeekFrom::Start(begin)).unwrap();
            // The system keeps a few pages of a process to itself.
            if memory.read_exact(&mut area).is_ok() {
                areas.push(area);
            }
        }
    }
    assert!(areas.iter().map(Vec::len).sum::<usize>() > 1024 * 1024);
    areas
}

/// Whether 32 octets could be a random number: not made of small numbers, addresses and text. One word of the four may look
/// like them, as it does by chance in one key of six hundred; two do in one of a million.
fn could_be_random(window: &[u8]) -> bool {
    let ordinary =
        |word: &[u8]| word[6] | word[7] == 0 || word.iter().all(|octet| octet.is_ascii_graphic() || *octet == b' ');
    window.chunks(8).filter(|word| ordinary(word)).count() <= 1
}

pub fn public_key(scalar: &[u8]) -> Option<Vec<u8>> {
    let key = PrivateKey::from_private_key(&ECDH_P256, scalar).ok()?;
    Some(key.compute_public_key().ok()?.as_ref().to_vec())
}

/// The private number of this public key, in big-endian order, wherever it is: the library holds it as four words,
/// the lowest first.
pub fn find_scalar(memory: &[Vec<u8>], point: &[u8]) -> Option<Vec<u8>> {
    // The same number may be there more than once, and the same garbage even more often.
    let mut tried = BTreeSet::new();
    for area in memory {
        for at in (0..area.len().saturating_sub(31)).step_by(8) {
            let window = &area[at..at + 32];
            if could_be_random(window) && tried.insert(window) {
                let scalar: Vec<u8> = window.iter().rev().copied().collect();
                if public_key(&scalar).as_deref() == Some(point) {
                    return Some(scalar);
                }
            }
        }
    }
    None
}

/// Every form in which the number, or half of it, may have been left, and its name.
pub fn traces(scalar: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let reversed: Vec<u8> = scalar.iter().rev().copied().collect();
    let mut traces = Vec::new();
    for half in [&scalar[..16], &scalar[16..], &reversed[..16], &reversed[16..]] {
        let joined = |between: &str, form: fn(&u8) -> String| {
            half.iter().map(form).collect::<Vec<_>>().join(between).into_bytes()
        };
        // Also what a structure in DER around it holds.
        traces.push(("octets", half.to_vec()));
        traces.push(("hexadecimal", joined("", |octet| format!("{octet:02x}"))));
        traces.push(("upper-case hexadecimal", joined("", |octet| format!("{octet:02X}"))));
        traces.push(("hexadecimal with colons", joined(":", |octet| format!("{octet:02x}"))));
        traces.push(("upper-case hexadecimal with colons", joined(":", |octet| format!("{octet:02X}"))));
        traces.push(("numbers", joined(",", |octet| octet.to_string())));
        for before in 0..3 {
            // As it reads behind so many octets of something else: only whole groups of its own.
            let start = (3 - before) % 3;
            let whole = &half[start..start + (half.len() - start) / 3 * 3];
            traces.push(("base64", Base64::encode_string(whole).into_bytes()));
            traces.push(("base64 for addresses", Base64UrlUnpadded::encode_string(whole).into_bytes()));
        }
    }
    traces.sort();
    traces.dedup();
    traces
}

/// The traces that are somewhere in these areas, by their names.
pub fn found<'a>(
    areas: impl IntoIterator<Item = &'a [u8]>,
    traces: &[(&'static str, Vec<u8>)],
) -> BTreeSet<&'static str> {
    let index = |octets: &[u8]| usize::from(octets[0]) << 8 | usize::from(octets[1]);
    let mut begins = vec![false; 1 << 16];
    traces.iter().for_each(|(_, trace)| begins[index(trace)] = true);
    let mut found = BTreeSet::new();
    for area in areas {
        for (at, pair) in area.windows(2).enumerate() {
            if begins[index(pair)] {
                found.extend(traces.iter().filter(|(_, trace)| area[at..].starts_with(trace)).map(|(name, _)| *name));
            }
        }
    }
    found
}
