//! What must hold of octets before any type is made of them: DER throughout, and within bounds.
//!
//! The typed decoder that follows allocates as it goes; this walk does not, and it bounds how much there can be.

use der::{Decode, Header, Reader, SliceReader, Tag};

/// How deep constructed values may nest. A certificate of the profile needs 9.
pub(super) const MAX_DEPTH: usize = 16;

/// How many values there may be altogether. A certificate of the profile with every approval needs about 120.
pub(super) const MAX_VALUES: usize = 1024;

/// Why octets were refused before being looked at more closely.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Flaw {
    /// Not DER.
    #[error("{0}")]
    Encoding(String),
    /// DER, but more of it than can be right.
    #[error("{0}")]
    Bounds(String),
}

/// Checks that `octets` are exactly one DER value: definite and minimal lengths, canonical primitive values, nothing
/// after the end, and no more nesting and no more values than the bounds allow.
pub(super) fn check(octets: &[u8]) -> Result<(), Flaw> {
    let mut reader = SliceReader::new(octets).map_err(|error| encoding(&error))?;
    let mut values = 0;
    value(&mut reader, 0, &mut values)?;
    match reader.is_finished() {
        true => Ok(()),
        false => Err(Flaw::Encoding(format!("octets follow the end, at offset {}", reader.position()))),
    }
}

/// One value, and recursively (at most [`MAX_DEPTH`] deep) what it is made of.
fn value(reader: &mut SliceReader<'_>, depth: usize, values: &mut usize) -> Result<(), Flaw> {
    *values += 1;
    if *values > MAX_VALUES {
        return Err(Flaw::Bounds(format!("more than {MAX_VALUES} values")));
    }
    let header = Header::decode(reader).map_err(|error| encoding(&error))?;
    let content = reader.read_slice(header.length()).map_err(|error| encoding(&error))?;
    if !header.is_constructed() {
        return primitive(header.tag(), content);
    }
    if depth == MAX_DEPTH {
        return Err(Flaw::Bounds(format!("nested deeper than {MAX_DEPTH}")));
    }
    let mut inner = SliceReader::new(content).map_err(|error| encoding(&error))?;
    while !inner.is_finished() {
        value(&mut inner, depth + 1, values)?;
    }
    Ok(())
}

fn primitive(tag: Tag, content: &[u8]) -> Result<(), Flaw> {
    let canonical = match tag {
        Tag::Boolean => matches!(content, [0x00 | 0xff]),
        // Minimal two's complement: the first nine bits are not all the same.
        Tag::Integer | Tag::Enumerated => match content {
            [] => false,
            [_] => true,
            [first, second, ..] => !((*first == 0 && *second < 0x80) || (*first == 0xff && *second >= 0x80)),
        },
        Tag::Null => content.is_empty(),
        Tag::ObjectIdentifier => minimal_arcs(content),
        Tag::BitString => match content {
            [0, ..] => true,
            [unused @ 1..=7, .., last] => last.trailing_zeros() >= u32::from(*unused),
            _ => false,
        },
        _ => true,
    };
    match canonical {
        true => Ok(()),
        false => Err(Flaw::Encoding(format!("{tag} is not in its canonical form"))),
    }
}

/// Whether `content` is a list of base 128 numbers without leading zeros, the last of them complete. The decoder of
/// object identifiers would let `2.5.29.55` be written in any number of ways.
fn minimal_arcs(content: &[u8]) -> bool {
    let mut first_of_arc = true;
    for octet in content {
        if first_of_arc && *octet == 0x80 {
            return false;
        }
        first_of_arc = *octet < 0x80;
    }
    first_of_arc && !content.is_empty()
}

fn encoding(error: &der::Error) -> Flaw {
    Flaw::Encoding(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(depth: usize) -> Vec<u8> {
        (0..depth).fold(vec![0x05, 0x00], |inner, _| {
            let mut outer = vec![0x30];
            match inner.len() {
                len @ ..=127 => outer.push(u8::try_from(len).unwrap()),
                len => outer.extend([0x82, u8::try_from(len / 256).unwrap(), u8::try_from(len % 256).unwrap()]),
            }
            outer.extend(inner);
            outer
        })
    }

    #[test]
    fn depth_is_bounded() {
        assert_eq!(check(&nested(MAX_DEPTH)), Ok(()));
        assert!(matches!(check(&nested(MAX_DEPTH + 1)), Err(Flaw::Bounds(_))));
    }

    #[test]
    fn number_of_values_is_bounded() {
        let many = |count: usize| {
            let content = [0x05, 0x00].repeat(count);
            let len = u16::try_from(content.len()).unwrap().to_be_bytes();
            [vec![0x30, 0x82, len[0], len[1]], content].concat()
        };
        assert_eq!(check(&many(MAX_VALUES - 1)), Ok(()));
        assert!(matches!(check(&many(MAX_VALUES)), Err(Flaw::Bounds(_))));
    }

    #[test]
    fn only_der_passes() {
        for bad in [
            &[][..],
            &[0x30],
            &[0x30, 0x80, 0x00, 0x00],
            &[0x30, 0x81, 0x00],
            &[0x30, 0x82, 0x00, 0x02, 0x05, 0x00],
            &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
            &[0x30, 0x02, 0x05],
            &[0x05, 0x00, 0x00],
            &[0x05, 0x01, 0x00],
            &[0x01, 0x01, 0x01],
            &[0x01, 0x02, 0xff, 0xff],
            &[0x02, 0x00],
            &[0x02, 0x02, 0x00, 0x7f],
            &[0x02, 0x02, 0xff, 0x80],
            &[0x0a, 0x02, 0x00, 0x01],
            &[0x03, 0x00],
            &[0x03, 0x01, 0x01],
            &[0x03, 0x02, 0x08, 0x00],
            &[0x03, 0x02, 0x04, 0x0f],
            &[0x24, 0x04, 0x04, 0x02, 0x00, 0x00],
            &[0x06, 0x00],
            &[0x06, 0x04, 0x55, 0x1d, 0x80, 0x37],
            &[0x06, 0x03, 0x80, 0x55, 0x1d],
            &[0x06, 0x03, 0x55, 0x1d, 0x81],
            &[0x9f, 0x1e, 0x00],
            &[0x1f, 0x05, 0x00],
        ] {
            assert!(matches!(check(bad), Err(Flaw::Encoding(_))), "{bad:02x?}");
        }
        for good in [
            &[0x05, 0x00][..],
            &[0x30, 0x00],
            &[0x01, 0x01, 0xff],
            &[0x02, 0x02, 0x00, 0x80],
            &[0x02, 0x01, 0x80],
            &[0x03, 0x01, 0x00],
            &[0x03, 0x02, 0x04, 0xf0],
            &[0x06, 0x03, 0x55, 0x1d, 0x37],
            &[0x06, 0x04, 0x2a, 0x86, 0x48, 0x00],
            &[0x9f, 0x1f, 0x00],
        ] {
            assert_eq!(check(good), Ok(()), "{good:02x?}");
        }
    }
}
