//! What a fork server and its pool say beside the protocol of workers: see `docs/protocol.md`.

/// The packet that asks a fork server for a worker. With it come four descriptors: the worker's standard input, output and
/// error, and the fork server's end of the leash.
pub const FORK_REQUEST: [u8; 4] = *b"fork";

/// A packet that a fork server writes to a leash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeashMessage {
    /// The worker has this process id; a descriptor of its process comes with it.
    Forked(u32),
    /// There is no worker, and why.
    Failed(String),
    /// The worker has ended, and so has its process group. The status is that of waitpid(2); none where it is not known.
    Ended(Option<i32>),
}

/// The longest packet.
pub const LONGEST_LEASH_MESSAGE: usize = 4096;

impl LeashMessage {
    /// The packet.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            LeashMessage::Forked(pid) => [&[0], &pid.to_le_bytes()[..]].concat(),
            LeashMessage::Failed(why) => {
                let mut end = why.len().min(LONGEST_LEASH_MESSAGE - 1);
                while !why.is_char_boundary(end) {
                    end -= 1;
                }
                [&[1], &why.as_bytes()[..end]].concat()
            }
            LeashMessage::Ended(None) => vec![2],
            LeashMessage::Ended(Some(status)) => [&[2], &status.to_le_bytes()[..]].concat(),
        }
    }

    /// What the packet says, if it is one.
    pub fn decode(packet: &[u8]) -> Option<Self> {
        let (&kind, rest) = packet.split_first()?;
        match (kind, rest.len()) {
            (0, 4) => Some(LeashMessage::Forked(u32::from_le_bytes(rest.try_into().ok()?))),
            (1, _) => Some(LeashMessage::Failed(String::from_utf8_lossy(rest).into_owned())),
            (2, 0) => Some(LeashMessage::Ended(None)),
            (2, 4) => Some(LeashMessage::Ended(Some(i32::from_le_bytes(rest.try_into().ok()?)))),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_arrives() {
        for message in [
            LeashMessage::Forked(0x0102_0304),
            LeashMessage::Failed("no more processes".into()),
            LeashMessage::Failed(String::new()),
            LeashMessage::Ended(None),
            LeashMessage::Ended(Some(-7)),
        ] {
            assert_eq!(LeashMessage::decode(&message.encode()), Some(message));
        }
        assert_eq!(LeashMessage::Forked(0x0102_0304).encode(), [0, 4, 3, 2, 1]);
        assert_eq!(LeashMessage::Ended(Some(256)).encode(), [2, 0, 1, 0, 0]);
    }

    #[test]
    fn long_words_are_cut_between_two_characters() {
        let packet = LeashMessage::Failed("ü".repeat(LONGEST_LEASH_MESSAGE)).encode();
        assert_eq!(packet.len(), LONGEST_LEASH_MESSAGE - 1);
        assert!(matches!(LeashMessage::decode(&packet), Some(LeashMessage::Failed(why)) if why.ends_with('ü')));
    }

    #[test]
    fn anything_else_is_none_of_these() {
        for packet in [&[][..], &[0], &[0, 1, 2, 3], &[2, 1], &[2, 1, 2, 3, 4, 5], &[3], &[255, 0, 0, 0, 0]] {
            assert_eq!(LeashMessage::decode(packet), None, "{packet:?}");
        }
    }
}
