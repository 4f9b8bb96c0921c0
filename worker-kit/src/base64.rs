//! Base64 with padding (RFC 4648, section 4): what [`Bytes`](crate::Bytes) is in texts. One text for each run of bytes: what
//! is not the encoding of anything is refused.

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The value of each digit; over 63 for all that is none.
const VALUES: [u8; 256] = {
    let mut values = [u8::MAX; 256];
    let mut at = 0;
    while at < DIGITS.len() {
        values[DIGITS[at] as usize] = at as u8;
        at += 1;
    }
    values
};

pub(crate) fn encode(bytes: &[u8]) -> String {
    let mut text = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
    let (whole, rest) = bytes.as_chunks::<3>();
    for &[a, b, c] in whole {
        let bits = u32::from_be_bytes([0, a, b, c]);
        text.extend([18, 12, 6, 0].map(|shift| DIGITS[(bits >> shift & 63) as usize]));
    }
    match *rest {
        [a] => text.extend([DIGITS[(a >> 2) as usize], DIGITS[(a << 4 & 63) as usize], b'=', b'=']),
        [a, b] => {
            let bits = u16::from_be_bytes([a, b]);
            let digits = [bits >> 10, bits >> 4, bits << 2].map(|bits| DIGITS[(bits & 63) as usize]);
            text.extend(digits);
            text.push(b'=');
        }
        _ => {}
    }
    text.into_iter().map(char::from).collect()
}

/// None where it is no base64.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let (groups, []) = text.as_bytes().as_chunks::<4>() else { return None };
    let mut bytes = Vec::with_capacity(groups.len() * 3);
    let Some((last, whole)) = groups.split_last() else { return Some(bytes) };
    let value = |digit: u8| Some(VALUES[digit as usize]).filter(|&value| value < 64);
    for &[a, b, c, d] in whole {
        let bits = [a, b, c, d].map(|digit| VALUES[digit as usize]);
        if bits.iter().any(|&bits| bits > 63) {
            return None;
        }
        bytes.extend([bits[0] << 2 | bits[1] >> 4, bits[1] << 4 | bits[2] >> 2, bits[2] << 6 | bits[3]]);
    }
    let [a, b] = [value(last[0])?, value(last[1])?];
    bytes.push(a << 2 | b >> 4);
    // The bits of the last digit that belong to no byte are 0: else several texts were one run of bytes.
    match (last[2], last[3]) {
        (b'=', b'=') => (b << 4 == 0).then_some(bytes),
        (c, b'=') => {
            let c = value(c)?;
            bytes.push(b << 4 | c >> 2);
            (c << 6 == 0).then_some(bytes)
        }
        (c, d) => {
            let (c, d) = (value(c)?, value(d)?);
            bytes.extend([b << 4 | c >> 2, c << 6 | d]);
            Some(bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_the_standard() {
        let vectors = ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"];
        for (len, text) in vectors.into_iter().enumerate() {
            assert_eq!(encode(&b"foobar"[..len]), text);
            assert_eq!(decode(text).as_deref(), Some(&b"foobar"[..len]));
        }
    }

    #[test]
    fn all_bytes_come_back() {
        for len in 0..260 {
            let bytes: Vec<u8> = (0..len).map(|n| (n * 89 % 256) as u8).collect();
            assert_eq!(decode(&encode(&bytes)), Some(bytes));
        }
    }

    #[test]
    fn what_is_no_base64_is_refused() {
        for bad in ["A", "AA", "AAA", "A===", "====", "AA=A", "AB==", "AAB=", "A=AA", "Zm9v\n", "Zm-_", "AAA=AAAA"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }
}
