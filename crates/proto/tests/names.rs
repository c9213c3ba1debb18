//! Names as JSON text: any bytes but NUL and slash, without loss and without a second way to say it.

use ftp_proto::{decode_name, encode_name};
use proptest::prelude::*;

proptest! {
    #[test]
    fn any_name_comes_back_as_it_was(raw in prop::collection::vec(1..=255u8, 0..300)) {
        let text = encode_name(&raw);
        prop_assert_eq!(decode_name(&text).unwrap(), raw.clone());
        let json = serde_json::to_string(&text).unwrap();
        prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }

    #[test]
    fn valid_utf8_is_its_own_wire_form(name in "[^\0]{0,80}") {
        prop_assert_eq!(encode_name(name.as_bytes()), name.as_str());
        prop_assert_eq!(decode_name(&name).unwrap(), name.as_bytes());
    }

    #[test]
    fn different_names_have_different_wire_forms(
        a in prop::collection::vec(1..=255u8, 0..6),
        b in prop::collection::vec(1..=255u8, 0..6),
    ) {
        prop_assert_eq!(encode_name(&a) == encode_name(&b), a == b);
    }

    #[test]
    fn any_text_is_decoded_or_refused_without_a_nul(text in any::<String>()) {
        if let Ok(raw) = decode_name(&text) {
            prop_assert!(!raw.contains(&0));
        }
    }
}

#[test]
fn escapes_are_strict() {
    assert_eq!(decode_name("a\0ffb").unwrap(), b"a\xffb");
    for wrong in ["\0", "\0f", "a\0FFb", "\0zz", "\u{0}7f", "\u{0}00", "\0é", "\0\0ff"] {
        assert!(decode_name(wrong).is_err(), "{wrong:?}");
    }
}
