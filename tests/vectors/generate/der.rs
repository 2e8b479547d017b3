//! DER, octet by octet. Knows nothing of what it encodes, and can encode what must not be.

/// One value: identifier octet, definite length in its shortest form, content.
pub fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let [.., high, middle, low] = content.len().to_be_bytes();
    let mut octets = vec![tag];
    match content.len() {
        0..=0x7f => octets.push(low),
        0x80..=0xff => octets.extend([0x81, low]),
        0x100..=0xffff => octets.extend([0x82, middle, low]),
        _ => octets.extend([0x83, high, middle, low]),
    }
    octets.extend(content);
    octets
}

pub fn seq<T: AsRef<[u8]>>(parts: &[T]) -> Vec<u8> {
    tlv(0x30, &concat(parts))
}

pub fn set<T: AsRef<[u8]>>(parts: &[T]) -> Vec<u8> {
    tlv(0x31, &concat(parts))
}

/// Context-specific and constructed: EXPLICIT tags, and IMPLICIT ones of what is constructed.
pub fn ctx<T: AsRef<[u8]>>(number: u8, parts: &[T]) -> Vec<u8> {
    tlv(0xa0 | number, &concat(parts))
}

/// Context-specific and primitive: IMPLICIT tags of what is primitive.
pub fn prim(number: u8, content: &[u8]) -> Vec<u8> {
    tlv(0x80 | number, content)
}

/// An INTEGER with the given content octets.
pub fn int(content: &[u8]) -> Vec<u8> {
    tlv(0x02, content)
}

/// An INTEGER that is not negative.
pub fn number(value: u64) -> Vec<u8> {
    let octets = value.to_be_bytes();
    let from = octets.iter().position(|octet| *octet != 0).unwrap_or(7);
    let significant = &octets[from..];
    match significant[0] {
        0x80.. => int(&[&[0], significant].concat()),
        _ => int(significant),
    }
}

pub fn enumerated(value: u8) -> Vec<u8> {
    tlv(0x0a, &[value])
}

pub fn boolean(value: bool) -> Vec<u8> {
    tlv(0x01, &[if value { 0xff } else { 0 }])
}

pub fn null() -> Vec<u8> {
    tlv(0x05, &[])
}

pub fn octets(content: &[u8]) -> Vec<u8> {
    tlv(0x04, content)
}

/// A BIT STRING of whole octets.
pub fn bits(content: &[u8]) -> Vec<u8> {
    tlv(0x03, &[&[0], content].concat())
}

pub fn utf8(text: &str) -> Vec<u8> {
    tlv(0x0c, text.as_bytes())
}

pub fn ia5(text: &str) -> Vec<u8> {
    tlv(0x16, text.as_bytes())
}

/// A GeneralizedTime with the given characters.
pub fn time(text: &str) -> Vec<u8> {
    tlv(0x18, text.as_bytes())
}

pub fn oid(text: &str) -> Vec<u8> {
    let arcs: Vec<u64> = text.split('.').map(|arc| arc.parse().unwrap()).collect();
    let mut content = Vec::new();
    for arc in [&[arcs[0] * 40 + arcs[1]], &arcs[2..]].concat() {
        let groups = (0..).take_while(|group| *group == 0 || arc >> (7 * group) != 0).count();
        for group in (0..groups).rev() {
            let more = if group == 0 { 0 } else { 0x80 };
            content.push((arc >> (7 * group)).to_le_bytes()[0] & 0x7f | more);
        }
    }
    tlv(0x06, &content)
}

fn concat<T: AsRef<[u8]>>(parts: &[T]) -> Vec<u8> {
    parts.iter().flat_map(|part| part.as_ref().iter().copied()).collect()
}
