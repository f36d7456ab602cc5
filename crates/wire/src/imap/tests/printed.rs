//! parse ∘ print is nothing.

use proptest::prelude::*;

use super::{generate, request};
use crate::imap::code::Code;
use crate::imap::parse::{AppendHead, append_head};
use crate::imap::syntax::{Cursor, Refusal};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn requests(r in generate::request()) {
        let text = format!("a1 {r}");
        prop_assert_eq!(request(text.as_bytes()), Some(r), "{}", text);
    }

    #[test]
    fn appends(append in generate::append()) {
        let text = append.to_string();
        let (head, size) = text.rsplit_once('{').expect("a literal");
        let mut c = Cursor(head.as_bytes());
        prop_assert!(c.eat_word("APPEND"));
        let want = AppendHead::MessageComes { mailbox: append.mailbox, flags: append.flags, date: append.date };
        prop_assert_eq!(append_head(&mut c), Ok(want));
        prop_assert_eq!(size, format!("{}}}", append.size));
    }

    #[test]
    fn a_command_cut_short_is_not_another_one(r in generate::request(), cut in 0usize..200) {
        // Whatever is left of a command must not panic, and where it is a command, it prints as one.
        let text = format!("a1 {r}");
        let cut = text.len().min(cut);
        if let Some(short) = request(&text.as_bytes()[..cut]) {
            let again = format!("x {short}");
            prop_assert!(request(again.as_bytes()).is_some());
        }
    }
}

#[test]
fn a_refusal_says_why() {
    let mut c = Cursor(b" \"a&b\" ");
    assert!(matches!(append_head(&mut c), Err(Refusal::No(Code::Cannot, _))));
}
