//! The command for a line.

/// Puts the line, which is the one of that number, into the command.
pub(crate) fn of_line(template: &[u8], line: &[u8], number: u64) -> Vec<u8> {
    if template.is_empty() {
        return line.to_vec();
    }
    let slash = line.iter().rposition(|&byte| byte == b'/');
    let name = &line[slash.map_or(0, |at| at + 1)..];
    let without_extension = |path: &[u8]| match path.iter().rposition(|&byte| byte == b'.' || byte == b'/') {
        Some(at) if path[at] == b'.' => path[..at].to_vec(),
        _ => path.to_vec(),
    };
    let folder = slash.map_or(&b"."[..], |at| &line[..at.max(1)]);
    let replacements: [(&[u8], Vec<u8>); 6] = [
        (b"{}", quoted(line)),
        (b"{.}", quoted(&without_extension(line))),
        (b"{/.}", quoted(&without_extension(name))),
        (b"{//}", quoted(folder)),
        (b"{/}", quoted(name)),
        (b"{#}", number.to_string().into_bytes()),
    ];
    let (mut command, mut rest, mut replaced) = (Vec::new(), template, false);
    while let Some((&first, after)) = rest.split_first() {
        if let Some((mark, with)) = replacements.iter().find(|(mark, _)| rest.starts_with(mark)) {
            command.extend_from_slice(with);
            rest = &rest[mark.len()..];
            replaced = true;
        } else {
            command.push(first);
            rest = after;
        }
    }
    if !replaced {
        command.push(b' ');
        command.extend(quoted(line));
    }
    command
}

/// As one word of the shell's, as GNU parallel writes it.
fn quoted(text: &[u8]) -> Vec<u8> {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.+/".contains(byte);
    if !text.is_empty() && text.iter().all(is_plain) {
        return text.to_vec();
    }
    let mut word = vec![b'\''];
    for &byte in text {
        match byte {
            b'\'' => word.extend_from_slice(b"'\"'\"'"),
            byte => word.push(byte),
        }
    }
    word.push(b'\'');
    word
}
