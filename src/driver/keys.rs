//! The texts of keys, each with the number by which the machine knows it for as long as a job or a worker has it.

use crate::supervisor::LimitKey;
use std::collections::HashMap;
use std::sync::Arc;

/// An empty table longer than this gives its memory back.
const KEPT: usize = 1024;

#[derive(Default)]
pub(super) struct Keys {
    numbers: HashMap<Arc<str>, LimitKey>,
    /// By number.
    texts: Vec<Option<Arc<str>>>,
    vacant: Vec<LimitKey>,
}

impl Keys {
    /// The number of the key with this text.
    pub(super) fn number(&mut self, text: Box<str>) -> LimitKey {
        if let Some(&number) = self.numbers.get(&*text) {
            return number;
        }
        let text: Arc<str> = text.into();
        let number = self.vacant.pop().unwrap_or_else(|| {
            self.texts.push(None);
            LimitKey((self.texts.len() - 1) as u32)
        });
        self.texts[number.0 as usize] = Some(Arc::clone(&text));
        self.numbers.insert(text, number);
        number
    }

    pub(super) fn text(&self, number: LimitKey) -> Option<&Arc<str>> {
        self.texts.get(number.0 as usize)?.as_ref()
    }

    /// The machine has forgotten the key.
    pub(super) fn forget(&mut self, number: LimitKey) {
        let Some(text) = self.texts.get_mut(number.0 as usize).and_then(Option::take) else { return };
        self.numbers.remove(&text);
        self.vacant.push(number);
        if self.numbers.is_empty() && self.texts.len() > KEPT {
            *self = Keys::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_one_number_until_it_is_forgotten() {
        let mut keys = Keys::default();
        let [first, second] = ["first", "second"].map(|text| keys.number(text.into()));
        assert!(first != second && keys.number("first".into()) == first);
        keys.forget(first);
        assert_eq!((keys.text(first), keys.text(second).map(|text| &**text)), (None, Some("second")));
        assert_eq!(keys.number("third".into()), first, "its number is given again");
        assert_ne!(keys.number("first".into()), first);
    }

    #[test]
    fn only_many_forgotten_keys_give_their_memory_back() {
        for (count, kept) in [(KEPT, KEPT), (KEPT + 1, 0)] {
            let mut keys = Keys::default();
            let numbers: Vec<_> = (0..count).map(|n| keys.number(n.to_string().into())).collect();
            numbers.into_iter().for_each(|number| keys.forget(number));
            assert_eq!([keys.texts.len(), keys.vacant.len(), keys.numbers.len()], [kept, kept, 0], "{count} keys");
        }
    }
}
